//! What many identities say together of one repository.

use std::collections::BTreeMap;

use super::readiness::Meaning;
use crate::identity::{PasswordFingerprint, Reading};
use crate::names::RepositoryKey;

/// Of everything that means one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// Location and backend; the smallest, so that no order of arrival shows.
    shown: Option<(Box<str>, &'static str)>,
    /// The smallest of the first doubts about those with other possible readings.
    ambiguous: Option<Box<str>>,
    readings: Seen<Reading>,
    passwords: Seen<PasswordFingerprint>,
}

impl Outlook {
    pub fn add(&mut self, meaning: &Meaning) {
        let identity = &meaning.identity;
        let shown = (identity.location.as_str(), identity.backend);
        if self.shown.as_ref().is_none_or(|(location, backend)| shown < (&**location, *backend)) {
            self.shown = Some((shown.0.into(), shown.1));
        }
        if identity.ambiguous {
            see(&mut self.ambiguous, identity.warnings.first().map_or("", String::as_str));
        }
        self.readings.add(Some(identity.reading));
        self.passwords.add(meaning.password);
    }

    /// Another part of what means the same key.
    pub fn merge(&mut self, other: &Self) {
        if let Some(shown) = &other.shown
            && self.shown.as_ref().is_none_or(|known| shown < known)
        {
            self.shown = Some(shown.clone());
        }
        if let Some(warning) = &other.ambiguous {
            see(&mut self.ambiguous, warning);
        }
        self.readings.merge(other.readings);
        self.passwords.merge(other.passwords);
    }
}

/// Of all keys of one repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Backend and location: those of the repository's own key, else of the first other one.
    pub shown: Option<(&'static str, Box<str>)>,
    /// Why it can be read in more than one way; empty where nothing more is known.
    pub ambiguous: Option<Box<str>>,
    /// Secrets with two passwords point at it.
    pub passwords_differ: bool,
}

impl View {
    pub fn of(own: &RepositoryKey, outlooks: &BTreeMap<RepositoryKey, Outlook>) -> Self {
        let shown = outlooks.get(own).into_iter().chain(outlooks.values()).find_map(|outlook| outlook.shown.as_ref());
        let mut view = Self { shown: shown.map(|(location, backend)| (*backend, location.clone())), ..Self::default() };
        let mut passwords = Seen::default();
        for outlook in outlooks.values() {
            if let Some(warning) = &outlook.ambiguous {
                see(&mut view.ambiguous, warning);
            }
            passwords.merge(outlook.passwords);
        }
        if view.ambiguous.is_none() && outlooks.values().any(|outlook| outlook.readings.differ) {
            view.ambiguous = Some(READ_DIFFERENTLY.into());
        }
        view.passwords_differ = passwords.differ;
        view
    }
}

const READ_DIFFERENTLY: &str =
    "Secrets that point at it differ in what its identity leaves out, such as the user or TLS";

/// Keeps the smallest.
fn see(known: &mut Option<Box<str>>, warning: &str) {
    if known.as_deref().is_none_or(|known| warning < known) {
        *known = Some(warning.into());
    }
}

/// Values seen: enough to tell that there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen<T> {
    first: Option<T>,
    differ: bool,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { first: None, differ: false }
    }
}

impl<T: Copy + PartialEq> Seen<T> {
    fn add(&mut self, value: Option<T>) {
        match (self.first, value) {
            (None, seen) => self.first = seen,
            (Some(first), Some(seen)) => self.differ |= first != seen,
            (Some(_), None) => {}
        }
    }
    fn merge(&mut self, other: Self) {
        self.add(other.first);
        self.differ |= other.differ;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, Reach};

    fn meaning(location: &str, warning: &str) -> Meaning {
        let identity = Identity {
            key: RepositoryKey::of_tuple(["s3", "bucket"]),
            backend: "s3",
            location: location.to_owned(),
            reach: Reach::Shared,
            ambiguous: true,
            warnings: vec![warning.to_owned()],
            reading: Reading::default(),
        };
        Meaning { identity, not_ready: None, password: None }
    }

    #[test]
    fn of_several_texts_the_smallest_is_shown_whatever_came_first() {
        let [one, two] = [meaning("s3://a", "doubt 2"), meaning("s3://b", "doubt 1")];
        for order in [[&one, &two], [&two, &one]] {
            let mut added = Outlook::default();
            let mut merged = Outlook::default();
            for meaning in order {
                added.add(meaning);
                let mut part = Outlook::default();
                part.add(meaning);
                merged.merge(&part);
            }
            assert_eq!(added, merged);
            assert_eq!((added.shown, added.ambiguous), (Some(("s3://a".into(), "s3")), Some("doubt 1".into())));
        }
    }
}
