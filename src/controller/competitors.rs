//! Pure: which policies compete for each repository, as these policies were last told.

use std::collections::BTreeMap;

use crate::names::{PolicyName, RepositoryId};

#[derive(Debug, Default)]
pub struct Competitors {
    /// Who wins comes first.
    of: BTreeMap<RepositoryId, Vec<PolicyName>>,
    /// For how many repositories a policy competes.
    counts: BTreeMap<PolicyName, usize>,
}

impl Competitors {
    /// Takes down who competes for a repository now. Returns those to whom that is news: all who did and all who do, or
    /// nobody where nothing has changed. A ledger that says the same as before says nothing to a policy that is new.
    pub fn note(&mut self, id: RepositoryId, now: Vec<PolicyName>) -> Vec<PolicyName> {
        let before = self.of.remove(&id).unwrap_or_default();
        let news = if before == now { Vec::new() } else { before.iter().chain(&now).cloned().collect() };
        for name in before {
            if let Some(count) = self.counts.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&name);
                }
            }
        }
        for name in &now {
            *self.counts.entry(name.clone()).or_default() += 1;
        }
        if !now.is_empty() {
            self.of.insert(id, now);
        }
        news
    }

    pub fn competes(&self, name: &PolicyName) -> bool {
        self.counts.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<PolicyName> {
        of.iter().map(|name| PolicyName::from(*name)).collect()
    }

    #[test]
    fn whoever_comes_goes_or_changes_places_is_told_once() {
        let (mut competitors, id) = (Competitors::default(), "0123456789abcdef".parse().unwrap());
        assert_eq!(competitors.note(id, names(&["a"])), names(&["a"]));
        assert!(competitors.note(id, names(&["a"])).is_empty());
        assert_eq!(competitors.note(id, names(&["b", "a"])), names(&["a", "b", "a"]));
        assert_eq!(competitors.note(id, names(&["a", "b"])), names(&["b", "a", "a", "b"]));
        assert_eq!(competitors.note(id, Vec::new()), names(&["a", "b"]));
        assert!(competitors.of.is_empty() && competitors.counts.is_empty());
    }

    #[test]
    fn a_policy_competes_as_long_as_it_does_for_any_repository() {
        let mut competitors = Competitors::default();
        let (one, other) = ("0123456789abcdef".parse().unwrap(), "fedcba9876543210".parse().unwrap());
        competitors.note(one, names(&["a"]));
        competitors.note(other, names(&["b", "a"]));
        competitors.note(one, names(&["b"]));
        assert!(names(&["a", "b"]).iter().all(|name| competitors.competes(name)));
        competitors.note(other, names(&["b"]));
        assert!(!competitors.competes(&"a".into()) && competitors.competes(&"b".into()));
    }
}
