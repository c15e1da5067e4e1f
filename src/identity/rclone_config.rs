//! Rclone's configuration file and remote syntax, as text: what a remote is called and which options it has.
//! The values may be credentials: nothing here is kept, shown or compared.

use std::collections::BTreeMap;

/// A real configuration has a handful; the bound keeps a hostile one from filling the memory of the hub.
const SECTIONS_MAX: usize = 256;
/// Likewise for the options of one remote; rclone's longest list has about 60.
const OPTIONS_MAX: usize = 256;

pub(super) type Options = BTreeMap<String, String>;

/// Sections by name. Neither `Debug` nor `Clone`: it holds credentials.
pub(super) struct Config(pub BTreeMap<String, Options>);

impl Config {
    /// None where nothing can be read from it: empty, encrypted, or beyond all bounds.
    pub fn parse(text: &str) -> Option<Self> {
        let mut sections: BTreeMap<String, Options> = BTreeMap::new();
        let mut current: Option<String> = None;
        for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with("RCLONE_ENCRYPT_V") {
                return None;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                current = Some(name.trim().to_owned());
                sections.entry(name.trim().to_owned()).or_default();
            } else if let (Some(name), Some(at)) = (&current, line.find(['=', ':'])) {
                let options = sections.entry(name.clone()).or_default();
                if options.len() < OPTIONS_MAX {
                    options.insert(line[..at].trim().to_lowercase(), line[at + 1..].trim().to_owned());
                }
            }
            if sections.len() > SECTIONS_MAX {
                return None;
            }
        }
        (!sections.is_empty()).then_some(Self(sections))
    }
}

/// `name:path`, `name,option=value:path`, `:type,option=value:path`, or a path of the local file system.
/// No `Debug`: the options may be credentials.
pub(super) struct RemoteText {
    pub root: Root,
    pub options: Options,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Local,
    Named(String),
    /// A remote made on the spot, of this type.
    Typed(String),
}

impl RemoteText {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let local = || Self { root: Root::Local, options: Options::new(), path: text.to_owned() };
        let (typed, body) = match text.strip_prefix(':') {
            Some(body) => (true, body),
            None => (false, text),
        };
        let name_end = body.find([':', ',', '/']).unwrap_or(body.len());
        let (name, rest) = body.split_at(name_end);
        if !typed && !rest.starts_with([':', ',']) {
            return Ok(local());
        }
        if name.is_empty() || name.trim() != name {
            return Err("has no remote name before its colon");
        }
        let (options, rest) = parse_options(rest)?;
        let root = if typed { Root::Typed(name.to_lowercase()) } else { Root::Named(name.to_owned()) };
        Ok(Self { root, options, path: rest.to_owned() })
    }
}

const UNFINISHED: &str = "has options that end before a colon";

/// `,key=value,flag,key="a ""quoted"" value":` and what is behind it.
fn parse_options(mut rest: &str) -> Result<(Options, &str), &'static str> {
    let mut options = Options::new();
    while let Some(body) = rest.strip_prefix(',') {
        let key_end = body.find(['=', ',', ':']).ok_or(UNFINISHED)?;
        let key = body[..key_end].trim().to_lowercase();
        let (value, after) = match body[key_end..].strip_prefix('=') {
            Some(value) => parse_value(value)?,
            None => ("true".to_owned(), &body[key_end..]),
        };
        if key.is_empty() || options.len() >= OPTIONS_MAX {
            return Err("has an option without a name, or far too many");
        }
        options.insert(key, value);
        rest = after;
    }
    rest.strip_prefix(':').map(|path| (options, path)).ok_or(UNFINISHED)
}

fn parse_value(text: &str) -> Result<(String, &str), &'static str> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = text.find([',', ':']).ok_or(UNFINISHED)?;
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut rest = &text[1..];
    loop {
        let end = rest.find(quote).ok_or("has a quote that is not closed")?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(quote) {
            Some(doubled) => {
                value.push(quote);
                rest = doubled;
            }
            None => return Ok((value, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sections_and_options_are_read_as_rclone_does() {
        let config =
            Config::parse("# c\n[ r1 ]\nType = s3\nurl = https://h:1/\n; x\n[r2]\ntype: b2\n[r1]\nType=swift").unwrap();
        assert_eq!(config.0["r1"]["type"], "swift");
        assert_eq!(config.0["r1"]["url"], "https://h:1/");
        assert_eq!(config.0["r2"]["type"], "b2");
        assert!(Config::parse("RCLONE_ENCRYPT_V0:\nabc").is_none());
        assert!(Config::parse("").is_none());
    }

    #[test]
    fn remotes_are_split_as_rclone_does() {
        let remote = RemoteText::parse(r#":s3,env_auth,endpoint="http://a:1,""b""":bk/x:y"#).unwrap();
        assert_eq!(remote.root, Root::Typed("s3".into()));
        assert_eq!(remote.options["env_auth"], "true");
        assert_eq!(remote.options["endpoint"], r#"http://a:1,"b""#);
        assert_eq!(remote.path, "bk/x:y");
        assert_eq!(RemoteText::parse("r1:").unwrap().root, Root::Named("r1".into()));
        assert_eq!(RemoteText::parse("/data/a:b").unwrap().root, Root::Local);
        assert_eq!(RemoteText::parse("data").unwrap().root, Root::Local);
        for text in [":", ":s3", ":s3,a=", "r,a='x:p", "r,=x:p", " r:p"] {
            assert!(RemoteText::parse(text).is_err(), "{text}");
        }
    }
}
