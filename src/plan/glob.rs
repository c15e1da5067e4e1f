//! The glob of policies: `*` is any run of characters, `?` exactly one, everything else is literal.

/// Does the pattern match the whole text? Case-sensitive. Takes at most |pattern| × |text| steps, whatever they hold.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Behind the last `*`, and the text from where that star has not swallowed anything yet.
    let mut retry = None;
    loop {
        match (pattern.next(), text.clone().next()) {
            (Some('*'), _) => {
                retry = Some((pattern.clone(), text.clone()));
                continue;
            }
            (None, None) => return true,
            (Some(expected), Some(found)) if expected == '?' || expected == found => {
                text.next();
                continue;
            }
            _ => {}
        }
        // The last star swallows one more character.
        let Some((behind, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        pattern = behind.clone();
        text = from.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_take_any_run_and_question_marks_exactly_one() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("prod-*", "prod-db", true),
            ("prod-*", "prod-", true),
            ("prod-*", "prod", false),
            ("*-backup", "mysql-backup", true),
            ("*-backup", "mysql-backup-2", false),
            ("app-?-data", "app-1-data", true),
            ("app-?-data", "app-12-data", false),
            ("app-?-data", "app--data", false),
            ("*-prod-*", "us-prod-db", true),
            ("*-prod-*", "us-prod", false),
            ("a*b*c", "a-b-b-c", true),
            ("a**c", "ac", true),
            ("?", "é", true),
            ("?*", "", false),
            ("*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn every_other_character_is_literal_and_case_counts() {
        for text in ["[ab]", "{a,b}", "!a", "\\", "a.b", "[!a]", "\\*"] {
            assert!(matches(text, text), "{text}");
        }
        assert!(!matches("[ab]", "a"));
        assert!(!matches("{a,b}", "a"));
        assert!(!matches("!a", "b"));
        assert!(!matches("\\*", "*"));
        assert!(!matches("Prod-*", "prod-db"));
        assert!(!matches("a.b", "axb"));
    }
}
