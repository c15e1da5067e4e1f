//! Which ids mean one repository: by the operator's word, or by the unique id that Kopia itself reported.

use std::collections::{BTreeMap, BTreeSet};

use super::result::Problem;
use crate::names::RepositoryId;

/// What the ledger says of one id, as far as it ties it to others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Links<'a> {
    pub unique_id: Option<&'a str>,
    pub same_as: Option<&'a str>,
    pub distinct_from: Option<&'a str>,
}

/// Ids that mean one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub ids: BTreeSet<RepositoryId>,
    /// Nobody said so: they were found to share a unique id.
    pub by_unique_id: bool,
    /// Of the links of these ids.
    pub problems: Vec<Problem>,
}

/// Divides ids into groups. `ids` holds every repository and every KopiaRepository that is tied to any of them.
///
/// `sameAs` joins, through chains. `distinctFrom` keeps what `sameAs` joined on either side apart. One unique id joins
/// what is not kept apart, each id with the smallest that it may join. Where the two words contradict, `sameAs` wins.
pub fn groups(ids: &BTreeMap<RepositoryId, Links<'_>>) -> Vec<Group> {
    let mut classes = Classes { parent: ids.keys().map(|id| (*id, *id)).collect() };
    let mut problems = Vec::new();
    let mut target = |id: RepositoryId, field: &str, text: &str| match text.parse::<RepositoryId>() {
        Ok(other) if ids.contains_key(&other) => Some(other),
        _ => {
            problems.push((
                id,
                "UnknownTarget",
                format!("{field}: {text:?} is neither a repository nor a KopiaRepository; it is ignored"),
            ));
            None
        }
    };
    let mut apart = Vec::new();
    for (id, links) in ids {
        if let Some(other) = links.same_as.and_then(|text| target(*id, "spec.sameAs", text)) {
            classes.join(*id, other);
        }
        if let Some(other) = links.distinct_from.and_then(|text| target(*id, "spec.distinctFrom", text)) {
            apart.push((*id, other));
        }
    }
    apart.retain(|(id, other)| {
        let contradiction = classes.find(*id) == classes.find(*other);
        if contradiction {
            let message =
                format!("spec.distinctFrom names {other}, which sameAs makes the same repository; sameAs holds");
            problems.push((*id, "Contradiction", message));
        }
        !contradiction
    });
    let joined = classes.join_by_unique_id(ids, &apart);
    collect(ids.keys(), &mut classes, &joined, problems)
}

fn collect<'a>(
    ids: impl Iterator<Item = &'a RepositoryId>,
    classes: &mut Classes,
    joined: &[RepositoryId],
    problems: Vec<(RepositoryId, &'static str, String)>,
) -> Vec<Group> {
    let mut groups: BTreeMap<RepositoryId, Group> = BTreeMap::new();
    for id in ids {
        let group = groups.entry(classes.find(*id)).or_insert_with(|| Group {
            ids: BTreeSet::new(),
            by_unique_id: false,
            problems: Vec::new(),
        });
        group.ids.insert(*id);
    }
    for id in joined {
        if let Some(group) = groups.get_mut(&classes.find(*id)) {
            group.by_unique_id = true;
        }
    }
    for (id, reason, message) in problems {
        if let Some(group) = groups.get_mut(&classes.find(id)) {
            group.problems.push(Problem { object: id.ledger_name(), reason, message });
        }
    }
    groups.into_values().collect()
}

/// Disjoint sets of ids; the smallest id of each stands for it.
struct Classes {
    parent: BTreeMap<RepositoryId, RepositoryId>,
}

impl Classes {
    fn find(&mut self, id: RepositoryId) -> RepositoryId {
        let mut root = id;
        while let Some(parent) = self.parent.get(&root)
            && *parent != root
        {
            root = *parent;
        }
        self.parent.insert(id, root);
        root
    }

    fn join(&mut self, left: RepositoryId, right: RepositoryId) {
        let (left, right) = (self.find(left), self.find(right));
        self.parent.insert(left.max(right), left.min(right));
    }

    /// The ids that were joined to another by it.
    fn join_by_unique_id(
        &mut self,
        ids: &BTreeMap<RepositoryId, Links<'_>>,
        apart: &[(RepositoryId, RepositoryId)],
    ) -> Vec<RepositoryId> {
        let mut sharing: BTreeMap<&str, Vec<RepositoryId>> = BTreeMap::new();
        for (id, links) in ids {
            if let Some(unique_id) = links.unique_id {
                sharing.entry(unique_id).or_default().push(*id);
            }
        }
        let mut joined = Vec::new();
        for ids in sharing.into_values() {
            // Of each class met so far its first id; ids come in ascending order, so the smallest come first.
            let mut met: Vec<RepositoryId> = Vec::new();
            for id in ids {
                if met.iter().any(|first| self.find(*first) == self.find(id)) {
                    continue;
                }
                match met.iter().copied().find(|first| !self.kept_apart(*first, id, apart)) {
                    Some(first) => {
                        self.join(first, id);
                        joined.push(id);
                    }
                    None => met.push(id),
                }
            }
        }
        joined
    }

    fn kept_apart(&mut self, left: RepositoryId, right: RepositoryId, apart: &[(RepositoryId, RepositoryId)]) -> bool {
        let pair = BTreeSet::from([self.find(left), self.find(right)]);
        apart.iter().any(|(one, other)| BTreeSet::from([self.find(*one), self.find(*other)]) == pair)
    }
}
