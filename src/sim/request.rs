//! Reads the address of a request: which kind, object and part, and with which options.

use super::failure::Failure;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Version,
    /// `/readyz`, `/livez`, `/healthz`
    Health,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    Kinds {
        group: String,
        version: String,
    },
    OpenApiIndex,
    OpenApi {
        group: String,
        version: String,
    },
    Objects(Target),
    Unknown,
}

/// Objects of one kind, or one of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Target {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Route {
    pub(super) fn parse(path: &str) -> Self {
        let parts: Vec<String> =
            path.split('/').filter(|part| !part.is_empty()).map(|part| decode(part, false)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["version"] => Self::Version,
            ["readyz" | "livez" | "healthz", ..] => Self::Health,
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["apis", group] => Self::Group((*group).to_owned()),
            ["api", version] => Self::Kinds { group: String::new(), version: (*version).to_owned() },
            ["apis", group, version] => Self::Kinds { group: (*group).to_owned(), version: (*version).to_owned() },
            ["openapi", "v3"] => Self::OpenApiIndex,
            ["openapi", "v3", "api", version] => Self::OpenApi { group: String::new(), version: (*version).to_owned() },
            ["openapi", "v3", "apis", group, version] => {
                Self::OpenApi { group: (*group).to_owned(), version: (*version).to_owned() }
            }
            ["api", version, rest @ ..] => Target::parse("", version, rest).map_or(Self::Unknown, Self::Objects),
            ["apis", group, version, rest @ ..] => {
                Target::parse(group, version, rest).map_or(Self::Unknown, Self::Objects)
            }
            _ => Self::Unknown,
        }
    }
}

impl Target {
    fn parse(group: &str, version: &str, rest: &[&str]) -> Option<Self> {
        let target = |namespace: Option<&str>, plural: &str, rest: &[&str]| {
            let own = |text: &&str| (*text).to_owned();
            (rest.len() <= 2).then(|| Self {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: plural.to_owned(),
                namespace: namespace.map(str::to_owned),
                name: rest.first().map(own),
                subresource: rest.get(1).map(own),
            })
        };
        match rest {
            // `/namespaces/NAME/status` is a part of the namespace itself.
            ["namespaces", _, "status" | "finalize"] => target(None, "namespaces", &rest[1..]),
            ["namespaces", namespace, plural, rest @ ..] => target(Some(namespace), plural, rest),
            [plural, rest @ ..] => target(None, plural, rest),
            [] => None,
        }
    }
    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name, true), decode(value, true))
                })
                .collect(),
        )
    }
    /// Empty counts as not given.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }
    /// Narrows by one more field.
    pub(super) fn add_field_selector(&mut self, more: &str) {
        match self.0.iter_mut().find(|(name, _)| name == "fieldSelector") {
            Some((_, selector)) if !selector.is_empty() => *selector = format!("{selector},{more}"),
            Some((_, selector)) => more.clone_into(selector),
            None => self.0.push(("fieldSelector".to_owned(), more.to_owned())),
        }
    }
    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True" | "t"))
    }
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refused = |_| Failure::bad_request(format!("invalid {name}: {text:?} is no number"));
        text.parse().map(Some).map_err(refused)
    }
    pub(super) fn resource_version(&self) -> Result<Option<u64>, Failure> {
        let Some(text) = self.get("resourceVersion").filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Failure::bad_request(format!("invalid resource version: resourceVersion: Invalid value: {text:?}"))
        })
    }
}

/// Percent-decodes; in a query `+` is a blank.
fn decode(text: &str, plus: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) if plus => bytes.push(b' '),
            (byte, _) => bytes.push(byte),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
