//! What the rest of the hub tells the observers: which MemberClusters there are, and to each what is wanted of its own
//! member, so that a thousand of them do not wake for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch::{Receiver, Sender};

use super::MemberConfig;
use crate::names::{MemberName, ObjectName};

/// All `MemberCluster`s.
pub type Configs = Receiver<Arc<BTreeMap<MemberName, MemberConfig>>>;

/// Objects of one kind in one member.
pub type Names = Arc<BTreeSet<ObjectName>>;

/// Objects of one kind in one member, each with a number that is another one where it has to be told of anew.
pub type Terms = Arc<BTreeMap<ObjectName, u32>>;

/// For all members.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Has to be complete before the supervisor starts: of two names for one cluster the older MemberCluster counts.
    pub configs: Configs,
    pub sheets: Arc<Sheets>,
}

/// What is asked of a member beside its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    pub volsync_namespace: Option<Arc<str>>,
    /// The rights that this takes are asked for, too.
    pub adopt_foreign: bool,
    /// Another value asks for a look at once.
    pub again: Option<Arc<str>>,
}

/// What is wanted of one member; each holds the whole current value.
#[derive(Clone, Debug)]
pub struct Sheet {
    pub looks: Receiver<Looks>,
    /// The Secrets that the plan needs.
    pub secrets: Receiver<Terms>,
    /// The CA ConfigMaps that the plan needs; only their versions are read.
    pub config_maps: Receiver<Names>,
}

/// A sheet for each member.
#[derive(Debug, Default)]
pub struct Sheets(Mutex<BTreeMap<MemberName, Written>>);

#[derive(Debug, Default)]
struct Written {
    looks: Sender<Looks>,
    secrets: Sender<Terms>,
    config_maps: Sender<Names>,
}

impl Sheets {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<MemberName, Written>> {
        // Each change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, member: &MemberName) -> Sheet {
        let mut sheets = self.lock();
        let Written { looks, secrets, config_maps } = sheets.entry(member.clone()).or_default();
        Sheet { looks: looks.subscribe(), secrets: secrets.subscribe(), config_maps: config_maps.subscribe() }
    }

    /// Writes the sheet of a member anew. Whoever reads it wakes for what is different.
    pub fn write(
        &self,
        member: &MemberName,
        looks: Looks,
        secrets: BTreeMap<ObjectName, u32>,
        config_maps: BTreeSet<ObjectName>,
    ) {
        let mut sheets = self.lock();
        let written = sheets.entry(member.clone()).or_default();
        let blank = looks == Looks::default() && secrets.is_empty() && config_maps.is_empty();
        replace(&written.looks, looks);
        replace(&written.secrets, Arc::new(secrets));
        replace(&written.config_maps, Arc::new(config_maps));
        // Of a member that is gone nothing is kept.
        if blank && written.looks.is_closed() {
            sheets.remove(member);
        }
    }
}

fn replace<T: PartialEq>(sheet: &Sender<T>, new: T) {
    sheet.send_if_modified(|current| {
        let changed = *current != new;
        *current = new;
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_wake_whose_sheet_is_different() {
        let sheets = Sheets::default();
        let (mut east, mut west) = (sheets.of(&"east".into()), sheets.of(&"west".into()));
        let secrets = || BTreeMap::from([(ObjectName::new("team", "repository"), 1)]);
        sheets.write(&"east".into(), Looks::default(), secrets(), BTreeSet::new());
        assert!(east.secrets.has_changed().is_ok_and(|changed| changed));
        assert!(west.secrets.has_changed().is_ok_and(|changed| !changed));
        assert!(east.looks.has_changed().is_ok_and(|changed| !changed), "another part of the sheet");
        assert_eq!(**east.secrets.borrow_and_update(), secrets());
        sheets.write(&"east".into(), Looks::default(), secrets(), BTreeSet::new());
        assert!(east.secrets.has_changed().is_ok_and(|changed| !changed), "the same once more");
        west.looks.mark_unchanged();
    }

    #[test]
    fn of_a_member_that_nobody_observes_a_blank_sheet_is_not_kept() {
        let sheets = Sheets::default();
        sheets.write(
            &"gone".into(),
            Looks { adopt_foreign: true, ..Looks::default() },
            BTreeMap::new(),
            BTreeSet::new(),
        );
        assert_eq!(sheets.lock().len(), 1, "one that is observed later is told");
        sheets.write(&"gone".into(), Looks::default(), BTreeMap::new(), BTreeSet::new());
        assert!(sheets.lock().is_empty());
    }
}
