//! The repository itself: whose name is recorded as its maintenance owner, and who was inside when. It judges.

use super::Millis;

/// Owners of a hub begin with this.
const HUBS: &str = "volsync-hub-";

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
    ledger_lost: bool,
    /// Owners of this hub that were ever recorded, as far as anything tells of them.
    owners: Vec<String>,
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
            ledger_lost: false,
            owners: Vec::new(),
            violation: None,
        }
    }
}

impl Repository {
    /// The ledger was lost, or put back from a backup. Where somebody else is the owner, too, and the CronJob that bore an
    /// epoch is gone, nothing in the world tells of that epoch any more.
    pub fn ledger_is_lost(&mut self) {
        self.ledger_lost = true;
        if !self.owner.starts_with(HUBS) {
            self.owners.clear();
        }
    }

    /// Somebody else makes himself the owner.
    pub fn is_taken(&mut self, by: &str, sticks: bool) {
        by.clone_into(&mut self.owner);
        self.owner_sticks = sticks;
        if self.ledger_lost {
            self.owners.clear();
        }
    }

    /// `maintenance set --owner`
    pub fn set_owner(&mut self, owner: &str, now: Millis) {
        if self.owner_sticks {
            return;
        }
        owner.clone_into(&mut self.owner);
        if self.owners.iter().any(|known| known == owner) {
            return;
        }
        let epoch = |owner: &str| owner.split_once('@').map(|(user, _)| user.to_owned());
        let twin = self.owners.iter().find(|known| epoch(known) == epoch(owner));
        if let Some(first) = twin.filter(|_| epoch(owner).is_some_and(|it| it.starts_with(HUBS))) {
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
        self.inside.push(entering);
    }

    /// True: it was inside.
    pub fn leave(&mut self, run: u64) -> bool {
        let before = self.inside.len();
        self.inside.retain(|it| it.run != run);
        self.inside.len() < before
    }
}
