//! What the model knows of the ledger, the members, their Jobs and the recorded owner.

use super::super::tests::{START, at, own};
use super::super::*;
use crate::names::RepositoryId;

pub(super) type Site = u8;
pub(super) type Epoch = u8;
/// A grant as Kopia's owner names it.
pub(super) type Holder = (Site, Epoch);
/// Ticks since; what lies ahead is negative.
pub(super) type Age = i16;

pub(super) const SITES: [Site; 2] = [0, 1];
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
    pub(super) drain: [Drained; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Drained {
    No,
    Waits,
    /// Age of the first clear list.
    Clear(Age),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) away: bool,
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
    pub(super) ledger: Option<Record>,
    pub(super) owner: Option<Holder>,
    pub(super) members: [Member; 2],
    pub(super) claims: Vec<Claim>,
    pub(super) wish: Wish,
    /// Age of the latest consistent list and whether it was clear, as the hub remembers it.
    pub(super) lists: [Option<(Age, bool)>; 2],
    /// What a replica believes that was stopped while it led.
    pub(super) asleep: Option<(Option<Record>, Wish)>,
    pub(super) left: Faults,
}

/// How much may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Decide { lying: bool },
    SleeperActs { lying: bool },
    FallAsleep,
    HubForgets,
    Wish(Wish),
    Partition(Site),
    Heal(Site),
    StartRun(Site),
    CheckOwner(Site),
    EndRun(Site),
    Claim(usize),
    ClaimDies(usize, bool),
    ClaimDoesNotStick(usize),
    ClaimIsTidied(usize),
    ForeignOwner,
    LoseLedger,
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

pub(super) fn former((member, epoch): Holder) -> Former {
    Former { cluster: name(member), epoch: epoch_of(epoch), id: own() }
}

pub(super) fn holder(former: &Former) -> Holder {
    (site(&former.cluster), u8::try_from(former.epoch).unwrap())
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

    pub(super) fn drain(&self, ids: &[RepositoryId]) -> Vec<Drain> {
        let entry = |member: &Site| {
            let clear_since = match self.drain[usize::from(*member)] {
                Drained::No => return None,
                Drained::Waits => None,
                Drained::Clear(age) => Some(time(age)),
            };
            let cluster = name(*member);
            Some(Drain { cluster, deadline_seconds: DEADLINE_SECONDS, ids: ids.to_vec(), clear_since })
        };
        SITES.iter().filter_map(entry).collect()
    }

    pub(super) fn of(grant: &Grant, drain: &[Drain]) -> Self {
        let of_site = |member: Site| drain.iter().find(|it| it.cluster == name(member));
        Self {
            site: site(&grant.cluster),
            epoch: u8::try_from(grant.epoch).unwrap(),
            phase: grant.phase,
            since: age(grant.since.unwrap()),
            until: grant.until.map(age),
            highest: u8::try_from(grant.highest_epoch).unwrap(),
            from: grant.from.as_ref().map(holder),
            drain: SITES.map(|member| match of_site(member) {
                None => Drained::No,
                Some(Drain { clear_since: None, .. }) => Drained::Waits,
                Some(Drain { clear_since: Some(since), .. }) => Drained::Clear(age(*since)),
            }),
        }
    }
}
