//! Where objects of a repository were seen, and which repositories copy a Secret or CA.

use std::collections::{BTreeMap, BTreeSet};

use crate::member::event::ReferencedKind;
use crate::names::{MemberName, PlacedName, RepositoryId};

/// A Secret, or the ConfigMap of a CA.
type Used = (ReferencedKind, PlacedName);

#[derive(Debug, Default)]
pub struct Index {
    /// How many objects, Jobs and Pods were seen in each member.
    places: BTreeMap<RepositoryId, BTreeMap<MemberName, usize>>,
    uses: BTreeMap<Used, BTreeSet<RepositoryId>>,
    used_by: BTreeMap<RepositoryId, Vec<Used>>,
}

impl Index {
    /// Repositories of which anything was seen anywhere.
    pub fn ids(&self) -> impl Iterator<Item = RepositoryId> {
        self.places.keys().copied()
    }

    pub fn members(&self, id: RepositoryId) -> impl Iterator<Item = &MemberName> {
        self.places.get(&id).into_iter().flat_map(BTreeMap::keys)
    }

    pub fn ids_in(&self, member: &MemberName) -> impl Iterator<Item = RepositoryId> {
        self.places.iter().filter(|(_, members)| members.contains_key(member)).map(|(id, _)| *id)
    }

    /// An object was seen of `after` that was one of `before`. Says which are touched.
    pub fn moved(
        &mut self,
        member: &MemberName,
        before: Option<RepositoryId>,
        after: Option<RepositoryId>,
    ) -> BTreeSet<RepositoryId> {
        if before != after {
            if let Some(id) = after {
                *self.places.entry(id).or_default().entry(member.clone()).or_default() += 1;
            }
            if let Some(id) = before {
                self.left(member, id);
            }
        }
        before.into_iter().chain(after).collect()
    }

    fn left(&mut self, member: &MemberName, id: RepositoryId) {
        let Some(members) = self.places.get_mut(&id) else { return };
        if let Some(count) = members.get_mut(member) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                members.remove(member);
            }
        }
        if members.is_empty() {
            self.places.remove(&id);
        }
    }

    /// True where that is not what it was.
    pub fn set_uses(&mut self, id: RepositoryId, now: Vec<Used>) -> bool {
        let before = self.used_by.get(&id).cloned().unwrap_or_default();
        if before == now {
            return false;
        }
        for key in before {
            if let Some(ids) = self.uses.get_mut(&key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.uses.remove(&key);
                }
            }
        }
        for key in &now {
            self.uses.entry(key.clone()).or_default().insert(id);
        }
        if now.is_empty() {
            self.used_by.remove(&id);
        } else {
            self.used_by.insert(id, now);
        }
        true
    }

    pub fn used(&self) -> impl Iterator<Item = &Used> {
        self.uses.keys()
    }

    pub fn users(&self, kind: ReferencedKind, of: PlacedName) -> BTreeSet<RepositoryId> {
        self.uses.get(&(kind, of)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ObjectName, Place};

    #[test]
    fn a_member_is_a_place_as_long_as_anything_is_there() {
        let (mut index, member) = (Index::default(), MemberName::from("m"));
        let id: RepositoryId = "0123456789abcdef".parse().unwrap();
        index.moved(&member, None, Some(id));
        index.moved(&member, None, Some(id));
        index.moved(&member, Some(id), None);
        assert_eq!(index.members(id).count(), 1);
        index.moved(&member, Some(id), None);
        assert_eq!((index.members(id).count(), index.ids().count()), (0, 0));
    }

    #[test]
    fn what_is_no_longer_used_has_no_users() {
        let mut index = Index::default();
        let id: RepositoryId = "0123456789abcdef".parse().unwrap();
        let secret = PlacedName { place: Place::Hub, object: ObjectName::new("n", "s") };
        assert!(index.set_uses(id, vec![(ReferencedKind::Secret, secret.clone())]));
        assert!(!index.set_uses(id, vec![(ReferencedKind::Secret, secret.clone())]));
        assert_eq!(index.users(ReferencedKind::Secret, secret.clone()).len(), 1);
        assert!(index.set_uses(id, Vec::new()));
        assert!(index.users(ReferencedKind::Secret, secret).is_empty());
    }
}
