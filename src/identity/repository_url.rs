//! `KOPIA_REPOSITORY`: the two forms that the mover parses, with its regular expressions' every habit.

use super::path::normal_prefix;

/// What the mover takes from `KOPIA_REPOSITORY`. Other schemes are labels without a meaning: nothing of them is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RepositoryUrl {
    pub form: Form,
    /// From `s3://<anything>/<prefix>`, which the mover looks for anywhere in the text. Normalised as the mover does.
    pub prefix: Option<Prefix>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Form {
    /// Absent, empty, or of a scheme that the mover does not parse.
    #[default]
    Other,
    /// Begins with `s3://`.
    S3(S3Bucket),
    /// Begins with `filesystem://`.
    Filesystem(Option<Box<str>>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum S3Bucket {
    /// The mover finds no bucket in it, and fails.
    None,
    /// `cut`: the text up to the next slash has more than this bucket.
    Named { bucket: Box<str>, cut: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Prefix {
    Normal(Box<str>),
    /// Has characters that the mover refuses.
    Refused,
}

const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;

impl RepositoryUrl {
    pub fn parse(text: &str) -> Self {
        let form = if let Some(rest) = text.strip_prefix("s3://") {
            Form::S3(bucket_of(rest))
        } else if let Some(path) = text.strip_prefix("filesystem://") {
            let usable = path.starts_with('/') && !path.contains("../");
            Form::Filesystem(usable.then(|| path.into()))
        } else {
            Form::Other
        };
        Self { form, prefix: prefix_of(text) }
    }
}

/// The longest head of 3 to 63 bytes from `a-z0-9.-` that begins and ends with a letter or digit.
fn bucket_of(rest: &str) -> S3Bucket {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let run = rest.bytes().take(*BUCKET_BYTES.end()).take_while(|byte| inner(*byte)).count();
    let head = rest[..run].trim_end_matches(['.', '-']);
    let begins_well = head.bytes().next().is_some_and(edge);
    if !begins_well || head.len() < *BUCKET_BYTES.start() || head.contains("..") || looks_like_ipv4(head) {
        return S3Bucket::None;
    }
    let cut = !matches!(rest.as_bytes().get(head.len()), None | Some(b'/'));
    S3Bucket::Named { bucket: head.into(), cut }
}

fn looks_like_ipv4(text: &str) -> bool {
    let mut groups = 0;
    text.split('.').all(|group| {
        groups += 1;
        !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit())
    }) && groups == 4
}

fn prefix_of(text: &str) -> Option<Prefix> {
    let found = text.match_indices("s3://").find_map(|(at, scheme)| {
        let (bucket, prefix) = text[at + scheme.len()..].split_once('/')?;
        (!bucket.is_empty() && !prefix.is_empty()).then_some(prefix)
    })?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    if !found.bytes().all(allowed) || found.contains("..") {
        return Some(Prefix::Refused);
    }
    Some(Prefix::Normal(normal_prefix(found).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(text: &str) -> (Option<String>, Option<String>) {
        let url = RepositoryUrl::parse(text);
        let bucket = match url.form {
            Form::S3(S3Bucket::Named { bucket, .. }) => Some(bucket.into()),
            _ => None,
        };
        let prefix = url.prefix.map(|prefix| match prefix {
            Prefix::Normal(text) => text.into(),
            Prefix::Refused => "refused".to_owned(),
        });
        (bucket, prefix)
    }

    fn case(text: &str, bucket: &str, prefix: &str) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        assert_eq!(s3(text), (some(bucket), some(prefix)), "{text}");
    }

    #[test]
    fn the_movers_regular_expressions_are_followed_into_their_traps() {
        case("s3://bkt", "bkt", "");
        case("s3://bkt/", "bkt", "");
        case("s3://bkt/a//b", "bkt", "a/b/");
        case("s3://mybucket_x/p", "mybucket", "p/");
        case("s3://host:9000/b/p", "host", "b/p/");
        case("s3://b0b//a//c", "b0b", "/a/c/");
        case("s3://ab/x", "", "x/");
        case("s3://My-Bucket/a", "", "a/");
        case("S3://bkt/a", "", "");
        case("s3://10.0.0.1/a", "", "a/");
        case("s3://a..b/a", "", "a/");
        case("s3://bkt-/a", "bkt", "a/");
        case("s3://bkt/a b", "bkt", "refused");
        case("s3://bkt/a/../b", "bkt", "refused");
        case("s3:///p", "", "");
        case(&format!("s3://{}", "a".repeat(70)), &"a".repeat(63), "");
        case("azure://c/s3://x/y", "", "y/");
    }

    #[test]
    fn only_absolute_file_system_paths_that_do_not_climb_are_taken() {
        let path = |text| RepositoryUrl::parse(text).form;
        assert_eq!(path("filesystem:///mnt/b"), Form::Filesystem(Some("/mnt/b".into())));
        assert_eq!(path("filesystem://mnt/b"), Form::Filesystem(None));
        assert_eq!(path("filesystem:///mnt/../b"), Form::Filesystem(None));
        assert_eq!(path("gcs://b/x"), Form::Other);
    }

    #[test]
    fn text_beyond_ascii_does_not_split_a_character() {
        assert_eq!(s3("s3://bktéé/é").0.as_deref(), Some("bkt"));
        assert_eq!(s3(&format!("s3://{}é", "a".repeat(62))).0, Some("a".repeat(62)));
    }
}
