//! The repository itself: whose name is recorded as its maintenance owner, and who was inside when. It judges.

use std::collections::BTreeSet;

use super::{ALIASES, Alias, Millis};

/// An epoch for each of the names.
type Told = [u64; ALIASES];

/// Owners of a hub begin with this.
const HUBS: &str = "volsync-hub-";

/// Of an owner of a hub.
fn epoch(owner: &str) -> Option<u64> {
    owner.strip_prefix(HUBS)?.split_once('@')?.0.parse().ok()
}

/// Who is past the fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Owner's name under which it passed.
    pub owner: String,
    /// The Pod; a foreign maintainer's runs have numbers of their own.
    pub run: u64,
    pub since: Millis,
    pub foreign: bool,
}

/// What must not happen, as the repository saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A run of the hub began while another run, of whomever, went on.
    TwoAtOnce { at: Millis, first: String, second: String },
    /// Two members have been the owner under one epoch.
    EpochTwice { at: Millis, first: String, second: String },
    /// The ledger says that a claim came through, and its owner was never the recorded one.
    NeverOwner { at: Millis, owner: String },
    /// Faults have ceased, and it is not maintained.
    NotMaintained { after: Millis },
}

impl Violation {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TwoAtOnce { .. } => "TwoAtOnce",
            Self::EpochTwice { .. } => "EpochTwice",
            Self::NeverOwner { .. } => "NeverOwner",
            Self::NotMaintained { .. } => "NotMaintained",
        }
    }
}

/// One place in a store, or its mirror in another.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Kopia's recorded maintenance owner.
    pub owner: String,
    /// The name by which its owner means it, if that is one of this hub.
    alias: Option<Alias>,
    /// A foreign maintainer's clock is so far ahead that no other name sticks.
    pub owner_sticks: bool,
    pub inside: Vec<Inside>,
    /// Start of the newest run of whomever, by the clock of who made it.
    pub last_run: Option<Millis>,
    /// How many runs of whomever have begun.
    pub runs: u64,
    /// Of which names the record was lost.
    lost: [bool; ALIASES],
    /// Every owner that was ever recorded.
    recorded: BTreeSet<String>,
    /// Owners of grants that were made by a ledger that is whole, or when the hub knew that it was lost, and asked everybody.
    knowing: BTreeSet<String>,
    /// Owners of this hub that were ever recorded, as far as anything tells of them, and by which name they meant the
    /// repository: until the hub knows that two names mean one, each has epochs of its own.
    owners: Vec<(Alias, String)>,
    /// Owners that were given an epoch a second time when nobody could know.
    unknowable: Vec<String>,
    pub violation: Option<Violation>,
}

impl Default for Repository {
    /// As a backup made it: the first owner is whoever connected first.
    fn default() -> Self {
        Self {
            owner: "root@laptop".to_owned(),
            alias: None,
            owner_sticks: false,
            inside: Vec::new(),
            last_run: None,
            runs: 0,
            lost: [false; ALIASES],
            recorded: BTreeSet::new(),
            knowing: BTreeSet::new(),
            owners: Vec::new(),
            unknowable: Vec::new(),
            violation: None,
        }
    }
}

impl Repository {
    /// The record of a name was lost, or put back from a backup; `told` is the highest epoch that objects in members that
    /// can be reached bear.
    pub fn ledger_is_lost(&mut self, alias: Alias, told: Told) {
        self.lost[alias] = true;
        self.forget(told);
    }

    /// Of what neither the ledger nor the recorded owner nor an object tells, nothing in the world tells any more.
    fn forget(&mut self, told: Told) {
        let (lost, recorded) = (self.lost, self.alias);
        let is_told = |(alias, owner): &(Alias, String)| {
            !lost[*alias] || recorded == Some(*alias) || epoch(owner).is_some_and(|epoch| epoch <= told[*alias])
        };
        self.owners.retain(is_told);
    }

    /// Somebody else makes himself the owner.
    pub fn is_taken(&mut self, by: &str, sticks: bool, told: Told) {
        by.clone_into(&mut self.owner);
        self.alias = None;
        self.owner_sticks = sticks;
        self.forget(told);
    }

    /// A copy of it in another place, as it is now: who works here does not work there.
    #[must_use]
    pub fn mirror(&self) -> Self {
        Self { inside: Vec::new(), ..self.clone() }
    }

    pub fn was_owned_by(&self, owner: &str) -> bool {
        self.recorded.contains(owner)
    }

    /// A grant is made. `asks`: the hub knows that the ledger can't tell what was before it, and has to ask all members.
    pub fn is_granted(&mut self, alias: Alias, owner: String, asks: bool) {
        if asks || !self.lost[alias] {
            self.knowing.insert(owner);
        }
    }

    /// The ledger says that this one has claimed it, which it has not, here or in a mirror.
    pub fn never_was_owned_by(&mut self, owner: &str, now: Millis) {
        let violation = Violation::NeverOwner { at: now, owner: owner.to_owned() };
        self.violation.get_or_insert(violation);
    }

    /// `maintenance set --owner`. A hub that does not know that the ledger is an old one can't know an epoch that only members
    /// tell of that can't be reached; the highest of these is `hidden`, and of the others `told`.
    pub fn set_owner(&mut self, (alias, owner): (Alias, &str), now: Millis, (told, hidden): (Told, Told)) {
        let known = |epoch: u64| !self.lost[alias] || epoch > hidden[alias] || self.knowing.contains(owner);
        if !epoch(owner).is_some_and(known) {
            // Nor later, when the member can be reached: the epoch has been given.
            self.unknowable.push(owner.to_owned());
        }
        if self.owner_sticks {
            return;
        }
        owner.clone_into(&mut self.owner);
        // What was recorded of another name's epochs is gone with the owner who told of them.
        self.alias = Some(alias);
        self.forget(told);
        self.recorded.insert(owner.to_owned());
        if self.owners.iter().any(|(of, known)| *of == alias && known == owner) {
            return;
        }
        let twin = self.owners.iter().find(|(of, known)| *of == alias && epoch(known) == epoch(owner));
        let knew = |owner: &str| !self.unknowable.iter().any(|it| it == owner);
        if let Some((_, first)) = twin.filter(|(_, first)| knew(first) && knew(owner)) {
            let violation = Violation::EpochTwice { at: now, first: first.clone(), second: owner.to_owned() };
            self.violation.get_or_insert(violation);
        }
        self.owners.push((alias, owner.to_owned()));
    }

    /// Past the fence. `clock` is what the clock of who enters says.
    pub fn enter(&mut self, entering: Inside, clock: Millis) {
        if let Some(other) = self.inside.first().filter(|_| !entering.foreign) {
            let violation =
                Violation::TwoAtOnce { at: entering.since, first: other.owner.clone(), second: entering.owner.clone() };
            self.violation.get_or_insert(violation);
        }
        self.last_run = Some(clock);
        self.runs += 1;
        self.inside.push(entering);
    }

    /// True: it was inside.
    pub fn leave(&mut self, run: u64) -> bool {
        let before = self.inside.len();
        self.inside.retain(|it| it.run != run);
        self.inside.len() < before
    }
}
