//! A glob of a policy, on a name.

use volsync_hub::plan::glob::matches;

use super::in_time;

/// A pattern in the first line, a name in what follows.
pub fn glob(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, ""));
    let matched = in_time("matching", || matches(pattern, name));
    assert_eq!(matched, plainly(pattern, name), "{pattern:?} on {name:?}");
    if !pattern.contains(['*', '?']) {
        assert_eq!(matched, pattern == name, "{pattern:?} on {name:?}");
    }
    assert!(matches(&format!("{pattern}*"), name) || !matched, "{pattern:?} with a star, on {name:?}");
}

/// The same by the book: which beginnings of the name does each beginning of the pattern match?
fn plainly(pattern: &str, name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for letter in pattern.chars() {
        if letter == '*' {
            let first = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
            reached[first..].fill(true);
            continue;
        }
        for at in (0..name.len()).rev() {
            reached[at + 1] = reached[at] && (letter == '?' || letter == name[at]);
        }
        reached[0] = false;
    }
    reached[name.len()]
}
