//! Where objects of a repository were seen, and which repositories copy a Secret or CA.

use std::collections::{BTreeMap, BTreeSet};

use crate::member::event::{ForeignKind, OwnedKind, ReferencedKind};
use crate::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId};

/// A Secret, or the ConfigMap of a CA.
type Used = (ReferencedKind, PlacedName);

/// Something of a repository that was seen in a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    Owned(OwnedKind, ObjectName),
    Job(ObjectName),
    Pod(ObjectName),
    /// Another tool's object that a hub has suspended for it.
    Adopted(ForeignKind, ObjectName),
}

#[derive(Debug, Default)]
pub struct Index {
    /// What was seen in each member, so that a look at one repository costs no look at the others.
    places: BTreeMap<RepositoryId, BTreeMap<MemberName, BTreeSet<Seen>>>,
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

    /// What of a repository was seen in a member, sorted.
    pub fn seen(&self, id: RepositoryId, member: &MemberName) -> impl Iterator<Item = &Seen> {
        self.places.get(&id).and_then(|members| members.get(member)).into_iter().flatten()
    }

    pub fn ids_in(&self, member: &MemberName) -> impl Iterator<Item = RepositoryId> {
        self.places.iter().filter(|(_, members)| members.contains_key(member)).map(|(id, _)| *id)
    }

    /// An object was seen of `after` that was one of `before`. Says which are touched.
    pub fn moved(
        &mut self,
        member: &MemberName,
        object: Seen,
        (before, after): (Option<RepositoryId>, Option<RepositoryId>),
    ) -> BTreeSet<RepositoryId> {
        if before != after {
            if let Some(id) = before {
                self.left(member, id, &object);
            }
            if let Some(id) = after {
                self.places.entry(id).or_default().entry(member.clone()).or_default().insert(object);
            }
        }
        before.into_iter().chain(after).collect()
    }

    fn left(&mut self, member: &MemberName, id: RepositoryId, object: &Seen) {
        let Some(members) = self.places.get_mut(&id) else { return };
        if let Some(seen) = members.get_mut(member) {
            seen.remove(object);
            if seen.is_empty() {
                members.remove(member);
            }
        }
        if members.is_empty() {
            self.places.remove(&id);
        }
    }

    /// Returns what nobody used before, or nobody uses any more.
    pub fn set_uses(&mut self, id: RepositoryId, now: Vec<Used>) -> BTreeSet<Used> {
        let mut changed = BTreeSet::new();
        let before = self.used_by.get(&id).cloned().unwrap_or_default();
        if before == now {
            return changed;
        }
        for key in before {
            if let Some(ids) = self.uses.get_mut(&key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.uses.remove(&key);
                    changed.insert(key);
                }
            }
        }
        for key in &now {
            let users = self.uses.entry(key.clone()).or_default();
            // One that was taken away a moment ago is used as before.
            if users.is_empty() && !changed.remove(key) {
                changed.insert(key.clone());
            }
            users.insert(id);
        }
        if now.is_empty() {
            self.used_by.remove(&id);
        } else {
            self.used_by.insert(id, now);
        }
        changed
    }

    /// What is copied of a kind in one place.
    pub fn used_in(&self, kind: ReferencedKind, place: &Place) -> impl Iterator<Item = &ObjectName> {
        let first = (kind, PlacedName { place: place.clone(), object: ObjectName::new("", "") });
        let here = self.uses.range(first..).take_while(move |((of, name), _)| *of == kind && name.place == *place);
        here.map(|((_, name), _)| &name.object)
    }

    pub fn users(&self, kind: ReferencedKind, of: PlacedName) -> BTreeSet<RepositoryId> {
        self.uses.get(&(kind, of)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Place;

    #[test]
    fn a_member_is_a_place_as_long_as_anything_is_there() {
        let (mut index, member) = (Index::default(), MemberName::from("m"));
        let id: RepositoryId = "0123456789abcdef".parse().unwrap();
        let (job, pod) = (Seen::Job(ObjectName::new("n", "a")), Seen::Pod(ObjectName::new("n", "a")));
        index.moved(&member, job.clone(), (None, Some(id)));
        index.moved(&member, pod.clone(), (None, Some(id)));
        index.moved(&member, job.clone(), (Some(id), Some(id)));
        assert_eq!(index.seen(id, &member).collect::<Vec<_>>(), [&job, &pod]);
        index.moved(&member, job, (Some(id), None));
        assert_eq!((index.members(id).count(), index.seen(id, &member).count()), (1, 1));
        index.moved(&member, pod, (Some(id), None));
        assert_eq!((index.members(id).count(), index.ids().count()), (0, 0));
    }

    #[test]
    fn what_is_no_longer_used_has_no_users() {
        let mut index = Index::default();
        let id: RepositoryId = "0123456789abcdef".parse().unwrap();
        let secret = PlacedName { place: Place::Hub, object: ObjectName::new("n", "s") };
        let used = (ReferencedKind::Secret, secret.clone());
        assert_eq!(index.set_uses(id, vec![used.clone()]), [used.clone()].into());
        assert!(index.set_uses(id, vec![used.clone()]).is_empty());
        let more = (ReferencedKind::ConfigMap, secret.clone());
        assert_eq!(index.set_uses(id, vec![used.clone(), more.clone()]), [more].into());
        assert_eq!(index.users(ReferencedKind::Secret, secret.clone()).len(), 1);
        assert_eq!(index.set_uses(id, Vec::new()).len(), 2);
        assert!(index.users(ReferencedKind::Secret, secret).is_empty());
    }
}
