//! What the model knows of the ledger, the members, their Jobs and the recorded owner.

use super::super::tests::{START, at, own};
use super::super::*;
use crate::names::RepositoryId;

pub(super) type Site = u8;
pub(super) type Epoch = u8;
/// One of the ids by which the repository is known, or which of two repositories.
pub(super) type Alias = u8;
/// A grant as Kopia's owner names it.
pub(super) type Holder = (Site, Epoch, Alias);
/// Ticks since; what lies ahead is negative.
pub(super) type Age = i16;

pub(super) const SITES: [Site; 2] = [0, 1];
/// All aliases, as a mask.
pub(super) const BOTH: u8 = 0b11;

/// What the Secret of the second member means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Second {
    /// The same repository by the same name: there is one id.
    Alike,
    /// The same repository by another name. Kopia's unique id tells, once both have told theirs.
    Renamed,
    /// A copy of it, with its unique id and its owner. It is taken for the same until an operator says otherwise.
    Mirror,
}
/// A minute of the protocol is a second of the hub's clock here.
pub(super) const FACTOR: u32 = 60;
/// Seconds of that clock in a tick.
pub(super) const TICK: i64 = 5;
/// All but the waits of days are shorter.
pub(super) const SHORT: Age = 7;
/// All waits are shorter.
pub(super) const LONG: Age = 2_400;
/// A permit's ten minutes.
pub(super) const PERMIT: Age = 2;
/// And the deadline of a claim Job on top.
pub(super) const CLAIM_OVER: Age = 5;
/// How long a run may be past the fence: its deadline.
pub(super) const RUN_OVER: Age = 1;
pub(super) const DEADLINE_SECONDS: u32 = 300;
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) site: Site,
    pub(super) epoch: Epoch,
    pub(super) phase: Phase,
    pub(super) since: Age,
    pub(super) until: Option<Age>,
    pub(super) highest: Epoch,
    pub(super) from: Option<Holder>,
    /// By site.
    pub(super) drain: [Option<Drained>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Drained {
    /// A mask of aliases.
    pub(super) ids: u8,
    /// Age of the first clear list.
    pub(super) clear: Option<Age>,
}

/// What the ledger has of one id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    Nothing,
    Granted(Record),
    /// What is left of a grant that the first id's has taken over.
    Merged {
        from: Option<Holder>,
        highest: Epoch,
    },
}

/// What a replica believes of the hub's own objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Belief {
    /// By alias.
    pub(super) ledger: [Entry; 2],
    /// Of which aliases the unique id is recorded.
    pub(super) told: [bool; 2],
    /// An operator has said that they are two.
    pub(super) distinct: bool,
    pub(super) wish: Wish,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) away: bool,
    /// By alias.
    pub(super) there: [There; 2],
}

/// What stands in a member under one id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct There {
    pub(super) cron: Option<Cron>,
    /// The epoch of a CronJob that was deleted before its controller knew that it had been suspended.
    pub(super) ghost: Option<Epoch>,
    pub(super) run: Option<Run>,
    /// The latest run was turned away: its epoch, and the owner that it found.
    pub(super) refused: Option<(Epoch, Option<Holder>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cron {
    pub(super) epoch: Epoch,
    pub(super) suspended: bool,
    /// The controller may still start a Job, although it is suspended.
    pub(super) unnoticed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) epoch: Epoch,
    /// Age since the owner check; none: it has not come so far.
    pub(super) inside: Option<Age>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub(super) holder: Holder,
    pub(super) replaces: Option<Holder>,
    /// Age of the attempt that it belongs to, as its annotation has it.
    pub(super) attempt: Age,
    pub(super) age: Age,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Made,
    /// The recorded owner was read and is what the permit says.
    Read(Option<Holder>),
    /// The owner was set, and read back so many times.
    Set(Option<Holder>, u8),
    Claimed(Option<Holder>),
    Refused(Option<Holder>),
    Ineffective,
    Failed {
        may_be_owner: bool,
    },
}

impl Stage {
    pub(super) fn is_over(self) -> bool {
        !matches!(self, Self::Made | Self::Read(_) | Self::Set(..))
    }
}

/// What the planner wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wish {
    Objects(Site),
    /// `Held`: nothing new is pushed.
    Keep,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) hub: Belief,
    /// Of the repository, and of its mirror.
    pub(super) owners: [Option<Holder>; 2],
    pub(super) members: [Member; 2],
    pub(super) claims: Vec<Claim>,
    /// Age of the latest consistent list and whether it was clear, as the hub remembers it: by alias, then by site.
    pub(super) lists: [Lists; 2],
    /// What a replica believes that was stopped while it led.
    pub(super) asleep: Option<Belief>,
    pub(super) left: Faults,
}

pub(super) type Lists = [Option<(Age, bool)>; 2];

/// How much may still go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    pub(super) wishes: u8,
    pub(super) partitions: u8,
    pub(super) failures: u8,
    /// An owner that is set and does not stick, because a former owner's clock is ahead.
    pub(super) clocks: u8,
    pub(super) foreigners: u8,
    pub(super) sleeps: u8,
    pub(super) losses: u8,
    pub(super) lies: u8,
    /// Operators that say that both are two.
    pub(super) splits: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Decide {
        alias: Alias,
        lying: bool,
    },
    SleeperActs {
        alias: Alias,
        lying: bool,
    },
    FallAsleep,
    HubForgets,
    Wish(Wish),
    /// The hub learns a unique id, or an operator says that both are one.
    Told(Alias),
    /// An operator says that they are two.
    Distinct,
    Partition(Site),
    Heal(Site),
    StartRun(Site, Alias),
    CheckOwner(Site, Alias),
    EndRun(Site, Alias),
    Claim(usize),
    ClaimDies(usize, bool),
    ClaimDoesNotStick(usize),
    ClaimIsTidied(usize),
    ForeignOwner,
    LoseLedger(Alias),
    Tick,
    Leap,
}

pub(super) fn epoch_of(epoch: Epoch) -> u64 {
    epoch.into()
}

pub(super) fn name(site: Site) -> MemberName {
    ["a", "b"][usize::from(site)].into()
}

pub(super) fn site(name: &MemberName) -> Site {
    u8::from(name.as_str() == "b")
}

pub(super) fn id(alias: Alias) -> RepositoryId {
    if alias == 0 { own() } else { "ffffffffffffffff".parse().unwrap() }
}

pub(super) fn alias(id: RepositoryId) -> Alias {
    u8::from(id != own())
}

pub(super) fn aliases(ids: u8) -> impl Iterator<Item = Alias> {
    (0..2).filter(move |alias| ids & 1 << alias != 0)
}

pub(super) fn mask(ids: &[RepositoryId]) -> u8 {
    ids.iter().map(|id| 1 << alias(*id)).sum()
}

pub(super) fn former((member, epoch, alias): Holder) -> Former {
    Former { cluster: name(member), epoch: epoch_of(epoch), id: id(alias) }
}

pub(super) fn holder(former: &Former) -> Holder {
    (site(&former.cluster), u8::try_from(former.epoch).unwrap(), alias(former.id))
}

pub(super) fn time(age: Age) -> Timestamp {
    at(-TICK * i64::from(age))
}

pub(super) fn age(time: Timestamp) -> Age {
    // What lies between two ticks counts as the later one.
    i16::try_from((START - time.as_second()).div_euclid(TICK)).unwrap()
}

pub(super) fn recorded(owner: Option<Holder>) -> Recorded {
    owner.map_or(Recorded::Foreign, |it| Recorded::Ours(former(it)))
}

impl Record {
    pub(super) fn grant(&self) -> Grant {
        Grant {
            cluster: name(self.site),
            cluster_uid: None,
            epoch: epoch_of(self.epoch),
            phase: self.phase,
            since: Some(time(self.since)),
            until: self.until.map(time),
            deadline_seconds: DEADLINE_SECONDS,
            highest_epoch: epoch_of(self.highest),
            from: self.from.map(former),
        }
    }

    pub(super) fn drain(&self) -> Vec<Drain> {
        let entry = |member: Site| {
            let drained = self.drain[usize::from(member)]?;
            let ids = aliases(drained.ids).map(id).collect();
            let clear_since = drained.clear.map(time);
            Some(Drain { cluster: name(member), deadline_seconds: DEADLINE_SECONDS, ids, clear_since })
        };
        SITES.iter().filter_map(|member| entry(*member)).collect()
    }

    pub(super) fn of(grant: &Grant, drain: &[Drain]) -> Self {
        let of_site = |member: Site| drain.iter().find(|it| it.cluster == name(member));
        let drained = |it: &Drain| Drained { ids: mask(&it.ids), clear: it.clear_since.map(age) };
        Self {
            site: site(&grant.cluster),
            epoch: u8::try_from(grant.epoch).unwrap(),
            phase: grant.phase,
            since: age(grant.since.unwrap()),
            until: grant.until.map(age),
            highest: u8::try_from(grant.highest_epoch).unwrap(),
            from: grant.from.as_ref().map(holder),
            drain: SITES.map(|member| of_site(member).map(drained)),
        }
    }

    /// Age of the attempt to claim. One of two old records is a tick older than the other where that makes a difference.
    pub(super) fn attempt(&self) -> Age {
        if self.since > LONG || self.since == SHORT + 1 { self.since - 1 } else { self.since }
    }

    pub(super) fn former(&self, alias: Alias) -> Holder {
        (self.site, self.epoch, alias)
    }

    pub(super) fn drains(&self, member: Site, alias: Alias) -> bool {
        self.drain[usize::from(member)].is_some_and(|it| it.ids & 1 << alias != 0)
    }
}

impl Entry {
    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Granted(record) => Some(record),
            Self::Nothing | Self::Merged { .. } => None,
        }
    }

    pub(super) fn record_mut(&mut self) -> Option<&mut Record> {
        match self {
            Self::Granted(record) => Some(record),
            Self::Nothing | Self::Merged { .. } => None,
        }
    }

    pub(super) fn merged(&self) -> Option<Merged> {
        match self {
            Self::Merged { from, highest } => Some(Merged {
                from: from.map(former),
                deadline_seconds: DEADLINE_SECONDS,
                highest_epoch: epoch_of(*highest),
            }),
            Self::Nothing | Self::Granted(_) => None,
        }
    }

    pub(super) fn highest(&self) -> Epoch {
        match self {
            Self::Nothing => 0,
            Self::Granted(record) => record.epoch.max(record.highest),
            Self::Merged { highest, .. } => *highest,
        }
    }
}

impl Belief {
    pub(super) fn record(&self, alias: Alias) -> Option<&Record> {
        self.ledger[usize::from(alias)].record()
    }

    /// Both ids are taken for one repository.
    pub(super) fn is_one(&self) -> bool {
        self.told == [true, true] && !self.distinct
    }

    /// By which ids a repository is planned; none: another id stands for it.
    pub(super) fn ids(&self, alias: Alias) -> Option<u8> {
        match (self.is_one(), alias) {
            (true, 0) => Some(BOTH),
            (true, _) => None,
            (false, _) => Some(1 << alias),
        }
    }
}
