//! What is known of one repository in one member, found by the index: a look at one costs no look at the others.

use super::index::Seen;
use super::member_state::MemberState;
use crate::member::event::{ForeignKind, ForeignObject, JobRecord, OwnedKind, OwnedObject, PodRecord};
use crate::names::ObjectName;

#[derive(Debug)]
pub struct Here<'a> {
    pub state: &'a MemberState,
    /// Of whatever hub.
    pub owned: Vec<(OwnedKind, &'a ObjectName, &'a OwnedObject)>,
    pub jobs: Vec<(&'a ObjectName, &'a JobRecord)>,
    pub pods: Vec<&'a PodRecord>,
    /// Other tools' objects that a hub, whichever, has suspended for it.
    pub adopted: Vec<(ForeignKind, &'a ObjectName, &'a ForeignObject)>,
}

impl<'a> Here<'a> {
    pub fn of<'s>(state: &'a MemberState, seen: impl Iterator<Item = &'s Seen>) -> Self {
        let mut here = Self { state, owned: Vec::new(), jobs: Vec::new(), pods: Vec::new(), adopted: Vec::new() };
        for object in seen {
            match object {
                Seen::Owned(kind, name) => {
                    let found = state.owned.get_key_value(&(*kind, name.clone()));
                    here.owned.extend(found.map(|((kind, name), object)| (*kind, name, object)));
                }
                Seen::Job(name) => here.jobs.extend(state.jobs.get_key_value(name)),
                Seen::Pod(name) => here.pods.extend(state.pods.get(name)),
                Seen::Adopted(kind, name) => {
                    let found = state.foreign.get_key_value(&(*kind, name.clone()));
                    here.adopted.extend(found.map(|((kind, name), object)| (*kind, name, object)));
                }
            }
        }
        here
    }

    /// Everything of a member, as if it were of one repository.
    #[cfg(test)]
    pub fn whole(state: &'a MemberState) -> Self {
        let owned = state.owned.iter().map(|((kind, name), object)| (*kind, name, object)).collect();
        Self {
            state,
            owned,
            jobs: state.jobs.iter().collect(),
            pods: state.pods.values().collect(),
            adopted: Vec::new(),
        }
    }

    /// Jobs and Pods that have not ended.
    pub fn live(&self) -> usize {
        self.jobs.iter().filter(|(_, job)| !job.is_terminal()).count()
            + self.pods.iter().filter(|pod| !pod.is_terminal()).count()
    }

    /// The newest Pod of a Job.
    pub fn pod_of(&self, job: &ObjectName) -> Option<&'a PodRecord> {
        self.pods.iter().copied().filter(|pod| pod.job.as_deref() == Some(&*job.name)).max_by_key(|pod| pod.created)
    }
}
