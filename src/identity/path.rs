//! Paths in one form, so that spellings of one place compare equal.

/// Runs of slashes become one, and one ends the prefix: what the mover does with an S3 prefix. Empty stays empty.
pub(crate) fn normal_prefix(prefix: &str) -> String {
    let mut normal = collapsed(prefix);
    if !normal.is_empty() && !normal.ends_with('/') {
        normal.push('/');
    }
    normal
}

pub(crate) fn collapsed(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !out.ends_with('/') {
            out.push(character);
        }
    }
    out
}

/// A cleaned path, and whether that took more than slashes and dots (`..` follows symbolic links on a real server).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clean {
    /// Absolute paths begin with `/`; the root is `/`, an empty relative path is empty. No slash at the end.
    pub path: String,
    pub climbs: bool,
}

/// Collapses slashes, drops `.`, resolves `..` by text.
pub(crate) fn clean(path: &str) -> Clean {
    let absolute = path.starts_with('/');
    let mut climbs = false;
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                climbs = true;
                if parts.last().is_some_and(|last| *last != "..") {
                    parts.pop();
                } else if !absolute {
                    parts.push("..");
                }
            }
            part => parts.push(part),
        }
    }
    let root = if absolute { "/" } else { "" };
    Clean { path: format!("{root}{}", parts.join("/")), climbs }
}

/// The rest of `path` below `base`, both cleaned and absolute; empty where they are equal.
pub(crate) fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(base.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
}

/// Decodes `%41` and other escapes of characters that need none, and writes the remaining escapes in upper case.
pub(crate) fn decode_unreserved(path: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let Some(byte) = escape(bytes, at) else {
            out.push(bytes[at]);
            at += 1;
            continue;
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend(format!("%{byte:02X}").bytes());
        }
        at += 3;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// All escapes decoded; nothing if the result is not UTF-8.
pub(crate) fn decode_all(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if let Some(byte) = escape(bytes, at) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = bytes.get(at..at + 3)? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? * 16 + digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_in_one_slash() {
        for (given, normal) in [("", ""), ("p", "p/"), ("p/", "p/"), ("a//b", "a/b/"), ("/a//c", "/a/c/"), ("/", "/")] {
            assert_eq!(normal_prefix(given), normal);
        }
    }

    #[test]
    fn paths_have_one_spelling() {
        for (given, cleaned) in [
            ("/a//b/", "/a/b"),
            ("./a/.", "a"),
            ("/", "/"),
            ("", ""),
            ("/../a", "/a"),
            ("../a", "../a"),
            ("a/../../b", "../b"),
        ] {
            assert_eq!(clean(given).path, cleaned);
        }
        assert!(clean("/a/../b").climbs && !clean("/a/./b").climbs);
    }

    #[test]
    fn only_whole_folders_lie_below_a_mount() {
        assert_eq!(below("/mnt/b", "/mnt/b"), Some(""));
        assert_eq!(below("/mnt/b/sub", "/mnt/b"), Some("sub"));
        assert_eq!(below("/mnt/bc", "/mnt/b"), None);
        assert_eq!(below("/a", "/"), Some("a"));
    }

    #[test]
    fn escapes_of_plain_characters_are_decoded_and_others_kept() {
        assert_eq!(decode_unreserved("/%61%7e%2F%c3%a9%zz%"), "/a~%2F%C3%A9%zz%");
        assert_eq!(decode_all("p%40ss").as_deref(), Some("p@ss"));
        assert_eq!(decode_all("%ff"), None);
    }
}
