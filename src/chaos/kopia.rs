//! The repository itself: whose name is recorded as its maintenance owner, and who was inside when. It judges.

use super::Millis;

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
    /// Faults have ceased, and it is not maintained.
    NotMaintained { after: Millis },
}

impl Violation {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TwoAtOnce { .. } => "TwoAtOnce",
            Self::EpochTwice { .. } => "EpochTwice",
            Self::NotMaintained { .. } => "NotMaintained",
        }
    }
}

/// One place in a store.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Kopia's recorded maintenance owner.
    pub owner: String,
    /// A foreign maintainer's clock is so far ahead that no other name sticks.
    pub owner_sticks: bool,
    pub inside: Vec<Inside>,
    /// Start of the newest run of whomever, by the clock of who made it.
    pub last_run: Option<Millis>,
    /// How many runs of whomever have begun.
    pub runs: u64,
    ledger_lost: bool,
    /// Owners of this hub that were ever recorded, as far as anything tells of them.
    owners: Vec<String>,
    /// Owners that were given an epoch a second time when nobody could know.
    unknowable: Vec<String>,
    pub violation: Option<Violation>,
}

impl Default for Repository {
    /// As a backup made it: the first owner is whoever connected first.
    fn default() -> Self {
        Self {
            owner: "root@laptop".to_owned(),
            owner_sticks: false,
            inside: Vec::new(),
            last_run: None,
            runs: 0,
            ledger_lost: false,
            owners: Vec::new(),
            unknowable: Vec::new(),
            violation: None,
        }
    }
}

impl Repository {
    /// The ledger was lost, or put back from a backup; `told` is the highest epoch that objects in members that can be
    /// reached bear.
    pub fn ledger_is_lost(&mut self, told: u64) {
        self.ledger_lost = true;
        if !self.owner.starts_with(HUBS) {
            self.forget(told);
        }
    }

    /// Of what neither the ledger nor the recorded owner nor an object tells, nothing in the world tells any more.
    fn forget(&mut self, told: u64) {
        self.owners.retain(|owner| epoch(owner).is_some_and(|epoch| epoch <= told));
    }

    /// Somebody else makes himself the owner.
    pub fn is_taken(&mut self, by: &str, sticks: bool, told: u64) {
        by.clone_into(&mut self.owner);
        self.owner_sticks = sticks;
        if self.ledger_lost {
            self.forget(told);
        }
    }

    /// `maintenance set --owner`. Once the ledger is lost nobody can know an epoch that only members tell of that can't be
    /// reached; the highest of these is `hidden`.
    pub fn set_owner(&mut self, owner: &str, now: Millis, hidden: u64) {
        let known = |epoch: u64| !self.ledger_lost || epoch > hidden;
        if !epoch(owner).is_some_and(known) {
            // Nor later, when the member can be reached: the epoch has been given.
            self.unknowable.push(owner.to_owned());
        }
        if self.owner_sticks {
            return;
        }
        owner.clone_into(&mut self.owner);
        if self.owners.iter().any(|known| known == owner) {
            return;
        }
        let twin = self.owners.iter().find(|known| epoch(known) == epoch(owner));
        if let Some(first) = twin.filter(|_| !self.unknowable.iter().any(|it| it == owner)) {
            let violation = Violation::EpochTwice { at: now, first: first.clone(), second: owner.to_owned() };
            self.violation.get_or_insert(violation);
        }
        self.owners.push(owner.to_owned());
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
