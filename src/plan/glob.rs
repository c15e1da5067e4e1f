//! The glob of policies: `*` is any run of characters, `?` exactly one, everything else is literal.

use glob::{MatchOptions, Pattern};

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: false, require_literal_leading_dot: false };

/// Does the pattern match the whole text? Case-sensitive.
pub fn matches(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if !pattern.contains(['*', '?']) {
        return pattern == text;
    }
    // What is written so always reads as a pattern.
    Pattern::new(&written(pattern)).is_ok_and(|pattern| pattern.matches_with(text, OPTIONS))
}

/// The pattern as the library takes it: its own brackets mean themselves here, and stars in a row are one.
fn written(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len() + 8);
    for letter in pattern.chars() {
        match letter {
            '[' => written.push_str("[[]"),
            ']' => written.push_str("[]]"),
            '*' if written.ends_with('*') => {}
            letter => written.push(letter),
        }
    }
    written
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
        for (pattern, text) in [("[ab]*", "[ab]c"), ("*]", "a]"), ("{a,b}?", "{a,b}c"), ("!*", "!a"), ("\\*", "\\a")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches("[ab]*", "ac"));
        assert!(!matches("[ab]", "a"));
        assert!(!matches("{a,b}", "a"));
        assert!(!matches("!a", "b"));
        assert!(!matches("\\*", "*"));
        assert!(!matches("Prod-*", "prod-db"));
        assert!(!matches("a.b", "axb"));
    }
}
