//! What goes wrong, and when: made from a seed, and written down whole, so that faults can be taken out one by one.

use super::random::Random;
use super::{MINUTE, Millis, SECOND, SITES, Site};

/// The last fault strikes before this.
pub const FAULTS_END: Millis = 150 * MINUTE;

/// How often another fault is drawn where one is of no kind that is asked for.
const TRIES: usize = 60;

/// One thing that goes wrong, or that an operator wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Pin(Site),
    Unpin,
    /// Another run is asked for by hand.
    RunNow,
    /// The grant of this moment is given up, which means something only where its holder can't be reached.
    Failover,
    Freeze,
    Thaw,
    Eligible(Site, bool),
    Paused(Site, bool),
    SuspendPolicy(bool),
    /// Runs may take this long from now on.
    Deadline(u32),
    /// A replica of the hub ends, and starts anew after a while.
    Kill {
        replica: usize,
        down: Millis,
    },
    /// It is frozen and goes on later; `clock_stops`: it believes that no time has passed, so its Lease still holds.
    Sleep {
        replica: usize,
        length: Millis,
        clock_stops: bool,
    },
    HubClock {
        replica: usize,
        ahead: Millis,
    },
    /// A replica hears late of what happens in a member.
    SlowWatch {
        replica: usize,
        site: Site,
        lag: Millis,
    },
    /// Somebody else writes the ledger's object at the moment before the hub does.
    CasConflict,
    /// The ledger is written, and the hub does not hear of it.
    LedgerAnswerLost,
    LoseLedger,
    /// A backup of the ledger is put back, from a while ago.
    OldLedger,
    /// The next write to this member is done, and its answer is lost.
    AnswerLost(Site),
    RequestLost(Site),
    /// It is given up, and arrives later all the same.
    RequestLate {
        site: Site,
        by: Millis,
    },
    /// No replica reaches this member, which goes on by itself.
    Partition {
        site: Site,
        length: Millis,
    },
    /// The next suspend there is noticed by its CronJob controller so much later; until then a fire time comes round.
    LateController {
        site: Site,
        lag: Millis,
    },
    /// The next run there stands still, before or after it has looked at the owner.
    RunStalls {
        site: Site,
        length: Millis,
        inside: bool,
    },
    /// The next Pod there, of whatever kind, takes so long to start.
    SlowStart {
        site: Site,
        length: Millis,
    },
    /// The next claim there dies; `told`: it leaves a report.
    ClaimDies {
        site: Site,
        stage: u8,
        told: bool,
    },
    ClaimStalls {
        site: Site,
        stage: u8,
        length: Millis,
    },
    MemberClock {
        site: Site,
        ahead: Millis,
    },
    /// Somebody else makes himself the owner, and maintains or not; `fast`: his clock is ahead, so his name stays.
    ForeignOwner {
        runs: bool,
        fast: bool,
    },
    /// From now on this member's Secret names the repository in the other way.
    Renamed(Site),
    /// From now on the second name leads to a copy of the repository in another place, its unique id and owner among it.
    Mirrored,
    /// The operator says that the two are not the same, if they are not.
    Distinct,
}

/// Names of all kinds, as in the table of hits.
pub const KINDS: [&str; 33] = [
    "Pin",
    "Unpin",
    "RunNow",
    "Failover",
    "Freeze",
    "Thaw",
    "Eligible",
    "Paused",
    "SuspendPolicy",
    "Deadline",
    "Kill",
    "Sleep",
    "WakesStale",
    "HubClock",
    "SlowWatch",
    "CasConflict",
    "LedgerAnswerLost",
    "LoseLedger",
    "OldLedger",
    "AnswerLost",
    "RequestLost",
    "RequestLate",
    "Partition",
    "Returns",
    "LateController",
    "RunStalls",
    "SlowStart",
    "ClaimDies",
    "ClaimStalls",
    "MemberClock",
    "Renamed",
    "Mirrored",
    "Distinct",
];
/// The last kind stands alone, for it is the only one of nobody's in the fleet.
pub const FOREIGN: &str = "ForeignOwner";

impl Fault {
    pub fn kind(self) -> &'static str {
        match self {
            Self::Pin(_) => "Pin",
            Self::Unpin => "Unpin",
            Self::RunNow => "RunNow",
            Self::Failover => "Failover",
            Self::Freeze => "Freeze",
            Self::Thaw => "Thaw",
            Self::Eligible(..) => "Eligible",
            Self::Paused(..) => "Paused",
            Self::SuspendPolicy(_) => "SuspendPolicy",
            Self::Deadline(_) => "Deadline",
            Self::Kill { .. } => "Kill",
            Self::Sleep { .. } => "Sleep",
            Self::HubClock { .. } => "HubClock",
            Self::SlowWatch { .. } => "SlowWatch",
            Self::CasConflict => "CasConflict",
            Self::LedgerAnswerLost => "LedgerAnswerLost",
            Self::LoseLedger => "LoseLedger",
            Self::OldLedger => "OldLedger",
            Self::AnswerLost(_) => "AnswerLost",
            Self::RequestLost(_) => "RequestLost",
            Self::RequestLate { .. } => "RequestLate",
            Self::Partition { .. } => "Partition",
            Self::LateController { .. } => "LateController",
            Self::RunStalls { .. } => "RunStalls",
            Self::SlowStart { .. } => "SlowStart",
            Self::ClaimDies { .. } => "ClaimDies",
            Self::ClaimStalls { .. } => "ClaimStalls",
            Self::MemberClock { .. } => "MemberClock",
            Self::ForeignOwner { .. } => FOREIGN,
            Self::Renamed(_) => "Renamed",
            Self::Mirrored => "Mirrored",
            Self::Distinct => "Distinct",
        }
    }

    /// Does it wait for something to strike?
    pub fn waits(self) -> bool {
        matches!(
            self,
            Self::CasConflict
                | Self::LedgerAnswerLost
                | Self::AnswerLost(_)
                | Self::RequestLost(_)
                | Self::RequestLate { .. }
                | Self::LateController { .. }
                | Self::RunStalls { .. }
                | Self::SlowStart { .. }
                | Self::ClaimDies { .. }
                | Self::ClaimStalls { .. }
        )
    }
}

/// A whole schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub seed: u64,
    /// Minutes between fire times.
    pub period: u32,
    /// Seconds that a run may take at first.
    pub deadline: u32,
    /// In order of time.
    pub faults: Vec<(Millis, Fault)>,
}

impl Schedule {
    /// Only faults of the `allowed` kinds, all of them where it is empty.
    pub fn of(seed: u64, allowed: &[String]) -> Self {
        let mut random = Random::new(seed, 1);
        let period = random.pick(&[10, 15, 30, 60]).unwrap_or(15);
        let deadline = random.pick(&[600, 900, 1800]).unwrap_or(900);
        let mut faults = Vec::new();
        // What strikes together makes trouble; so the faults come around a few moments at which something moves.
        for _ in 0..random.between(1, 4) {
            let mut moment = random.between(0, FAULTS_END - 30 * MINUTE);
            match random.below(100) {
                0..=9 => moment = resumes(&mut random, moment, &mut faults),
                10..=19 => moment = recovers(&mut random, moment, &mut faults),
                20..=27 => moment = gives_up(&mut random, moment, &mut faults),
                28..=33 => moment = mirrors(&mut random, moment, &mut faults),
                34..=39 => {}
                _ => faults.push((moment, mover(&mut random))),
            }
            for _ in 0..random.between(0, 5) {
                let spread = random.pick(&[2 * SECOND, 20 * SECOND, 2 * MINUTE, 12 * MINUTE, 25 * MINUTE]);
                let before = if random.percent(20) { 2 * MINUTE } else { 0 };
                let at = moment - before + random.between(0, spread.unwrap_or(MINUTE));
                // Of a few kinds only, there are as many faults as of all.
                let tries = if allowed.is_empty() { 1 } else { TRIES };
                let fault = (0..tries).map(|_| trouble(&mut random)).find(|fault| is_allowed(fault, allowed));
                faults.extend(fault.map(|fault| (at.max(0), fault)));
            }
        }
        faults.retain(|(at, fault)| *at < FAULTS_END && is_allowed(fault, allowed));
        faults.sort_by_key(|(at, _)| *at);
        // A day passes until it is claimed anew: fewer runs of no interest meanwhile.
        let foreign = faults.iter().any(|(_, fault)| fault.kind() == FOREIGN);
        Self { seed, period: if foreign { 60 } else { period }, deadline, faults }
    }

    pub fn has(&self, kind: &str) -> bool {
        self.faults.iter().any(|(_, fault)| fault.kind() == kind)
    }
}

fn is_allowed(fault: &Fault, allowed: &[String]) -> bool {
    allowed.is_empty() || allowed.iter().any(|kind| kind == fault.kind())
}

fn site(random: &mut Random) -> Site {
    random.index(SITES)
}

/// What makes a repository move, or holds it.
fn mover(random: &mut Random) -> Fault {
    match random.below(25) {
        24 => Fault::Renamed(site(random)),
        22 => Fault::RunNow,
        23 => Fault::Failover,
        0..=8 => Fault::Pin(site(random)),
        9 => Fault::Unpin,
        10..=13 => Fault::Eligible(site(random), random.percent(25)),
        14 => Fault::Freeze,
        15 => Fault::SuspendPolicy(random.percent(60)),
        16 => Fault::Deadline(random.pick(&[600, 1800, 3600]).unwrap_or(600)),
        17 | 18 => Fault::LoseLedger,
        19 => Fault::OldLedger,
        20 => Fault::Paused(site(random), random.percent(60)),
        _ => Fault::ForeignOwner { runs: random.percent(70), fast: random.percent(20) },
    }
}

/// What goes wrong meanwhile.
fn trouble(random: &mut Random) -> Fault {
    let site = site(random);
    let replica = random.index(2);
    let short = random.between(SECOND, 40 * SECOND);
    let long = random.between(MINUTE, 40 * MINUTE);
    match random.below(46) {
        45 => Fault::Renamed(site),
        42 | 43 => Fault::RunNow,
        44 => Fault::Failover,
        0 | 1 => mover(random),
        2 => Fault::Unpin,
        3 => Fault::Thaw,
        4 => Fault::Eligible(site, true),
        5 => Fault::SuspendPolicy(false),
        6..=8 => Fault::Kill { replica, down: random.between(SECOND, 90 * SECOND) },
        9..=12 => {
            let length = if random.percent(60) { short + 12 * SECOND } else { long };
            Fault::Sleep { replica, length, clock_stops: random.percent(75) }
        }
        13 => Fault::HubClock { replica, ahead: random.between(-140 * SECOND, 140 * SECOND) },
        14 | 15 => Fault::SlowWatch { replica, site, lag: random.between(SECOND, 90 * SECOND) },
        16 => Fault::CasConflict,
        17 => Fault::LedgerAnswerLost,
        18 => Fault::LoseLedger,
        19 | 20 => Fault::AnswerLost(site),
        21 => Fault::RequestLost(site),
        22..=24 => Fault::RequestLate { site, by: if random.percent(50) { short } else { long } },
        25..=27 => Fault::Partition { site, length: if random.percent(30) { short } else { 2 * long } },
        28..=30 => Fault::LateController { site, lag: if random.percent(50) { 58 * SECOND } else { short } },
        31..=33 => Fault::RunStalls { site, length: 2 * long, inside: random.percent(75) },
        34 => Fault::SlowStart { site, length: random.between(10 * SECOND, 12 * MINUTE) },
        35..=37 => Fault::ClaimDies { site, stage: stage(random), told: random.percent(40) },
        38 | 39 => Fault::ClaimStalls { site, stage: stage(random), length: random.between(SECOND, 14 * MINUTE) },
        40 => Fault::MemberClock { site, ahead: random.between(-16, 16) * random.between(1, 75) * SECOND },
        _ => Fault::ForeignOwner { runs: random.percent(70), fast: random.percent(20) },
    }
}

/// A hand-over that does not come through, while some member can't be reached. Returns when it gets interesting.
fn resumes(random: &mut Random, moment: Millis, faults: &mut Vec<(Millis, Fault)>) -> Millis {
    let (to, away) = (site(random), site(random));
    faults.push((moment, Fault::Pin(to)));
    faults.push((moment, Fault::ClaimDies { site: to, stage: 1, told: true }));
    let length = random.between(5 * MINUTE, 40 * MINUTE);
    faults.push((moment + random.between(SECOND, 30 * SECOND), Fault::Partition { site: away, length }));
    moment + 20 * SECOND
}

/// A ledger that is older than what the members know, while some member can't be read. Returns when it gets interesting.
fn recovers(random: &mut Random, moment: Millis, faults: &mut Vec<(Millis, Fault)>) -> Millis {
    let (to, away) = (site(random), site(random));
    faults.push((moment, Fault::Pin(to)));
    let back = moment + random.between(4 * MINUTE, 18 * MINUTE);
    faults.push((back, Fault::OldLedger));
    faults.push((back, Fault::Unpin));
    let length = random.between(15 * MINUTE, 60 * MINUTE);
    faults.push((back + random.between(0, 2 * MINUTE), Fault::Partition { site: away, length }));
    back + random.between(0, 20 * MINUTE)
}

/// A member goes away for long, and whoever holds the grant by then is given up. Returns when it gets interesting.
fn gives_up(random: &mut Random, moment: Millis, faults: &mut Vec<(Millis, Fault)>) -> Millis {
    let site = site(random);
    faults.push((moment, Fault::Pin(site)));
    let away = moment + random.between(MINUTE, 10 * MINUTE);
    faults.push((away, Fault::Partition { site, length: random.between(5 * MINUTE, 70 * MINUTE) }));
    faults.push((away + random.between(0, 5 * MINUTE), Fault::Unpin));
    let given_up = away + random.between(MINUTE, 15 * MINUTE);
    faults.push((given_up, Fault::Failover));
    given_up
}

/// What seems to be the same repository by another name is a copy of it. Returns when it gets interesting.
fn mirrors(random: &mut Random, moment: Millis, faults: &mut Vec<(Millis, Fault)>) -> Millis {
    faults.push((moment, Fault::Mirrored));
    let before = if random.percent(50) { 20 * MINUTE } else { 0 };
    let renamed = (moment - before + random.between(0, 30 * MINUTE)).max(0);
    faults.push((renamed, Fault::Renamed(site(random))));
    let told = moment.max(renamed) + random.between(0, 40 * MINUTE);
    if random.percent(70) {
        faults.push((told, Fault::Distinct));
    }
    if random.percent(50) { told } else { renamed }
}

fn stage(random: &mut Random) -> u8 {
    u8::try_from(random.below(5)).unwrap_or(0)
}
