//! Which Secrets the plan depends on, counted by who refers to them.

use std::collections::BTreeMap;

use crate::names::PlacedName;

/// The Secrets that are wanted.
#[derive(Debug, Default)]
pub struct Wanted {
    secrets: BTreeMap<PlacedName, Want>,
    terms: u32,
}

#[derive(Clone, Copy, Debug)]
struct Want {
    users: u32,
    term: u32,
}

/// Changes of what is wanted before they are settled: what is put in again was never away.
#[derive(Default)]
pub struct Wants {
    changes: BTreeMap<PlacedName, i64>,
}

impl Wanted {
    pub fn contains(&self, secret: &PlacedName) -> bool {
        self.secrets.contains_key(secret)
    }

    pub fn iter(&self) -> impl Iterator<Item = &PlacedName> {
        self.secrets.keys()
    }

    /// From one on, sorted, each with its term: another one each time that it comes to be wanted.
    pub fn from(&self, first: PlacedName) -> impl Iterator<Item = (&PlacedName, u32)> {
        self.secrets.range(first..).map(|(secret, want)| (secret, want.term))
    }
}

impl Wants {
    pub fn less(&mut self, secrets: impl IntoIterator<Item = PlacedName>) {
        secrets.into_iter().for_each(|secret| *self.changes.entry(secret).or_default() -= 1);
    }

    pub fn more(&mut self, secrets: impl IntoIterator<Item = PlacedName>) {
        secrets.into_iter().for_each(|secret| *self.changes.entry(secret).or_default() += 1);
    }

    /// Newly wanted, and wanted no more.
    pub fn settle(self, wanted: &mut Wanted) -> (Vec<PlacedName>, Vec<PlacedName>) {
        let (mut newly, mut unwanted) = (Vec::new(), Vec::new());
        for (secret, change) in self.changes {
            let before = wanted.secrets.get(&secret).copied();
            let users = u32::try_from(before.map_or(0, |want| i64::from(want.users)) + change).unwrap_or(0);
            match (before, users) {
                (None, 0) => {}
                (Some(_), 0) => {
                    wanted.secrets.remove(&secret);
                    unwanted.push(secret);
                }
                (Some(Want { term, .. }), users) => drop(wanted.secrets.insert(secret, Want { users, term })),
                (None, users) => {
                    wanted.terms = wanted.terms.wrapping_add(1);
                    wanted.secrets.insert(secret.clone(), Want { users, term: wanted.terms });
                    newly.push(secret);
                }
            }
        }
        (newly, unwanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::placed;

    #[test]
    fn what_comes_to_be_wanted_again_has_another_term() {
        let (mut wanted, secret) = (Wanted::default(), placed("eu/team/repository"));
        let mut change = |more: i64| {
            let mut wants = Wants::default();
            wants.changes.insert(secret.clone(), more);
            wants.settle(&mut wanted);
            wanted.from(secret.clone()).next().map(|(_, term)| term)
        };
        let (first, second) = (change(1), change(1));
        assert_eq!(first, second, "another user of the same");
        assert_eq!(change(-2), None);
        assert_ne!(change(1), first);
    }
}
