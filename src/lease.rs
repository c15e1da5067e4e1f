//! Pure: which of several replicas leads, from what they read of one Lease and when they read it.
//!
//! Time is that of a clock that never goes back, since the process began; clocks of machines are not compared. A
//! replica takes a Lease over only after it has seen it unchanged for the Lease's whole duration, and its own leadership
//! ends [`MARGIN`] before the Lease does, so that a replica that was held up stops before another one starts.
//!
//! A Lease that somebody deleted tells nothing of who held it, nor of those that were made and deleted since the last
//! look. Who makes a new one holds it without leading until every claim from before has ended.

use std::time::Duration;

/// How long a Lease that is not renewed keeps others away.
pub const DURATION: Duration = Duration::from_secs(10);
/// Between two renewals: four may fail before the Lease ends.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Writes stop this long before the Lease ends.
pub const MARGIN: Duration = Duration::from_secs(5);
/// Between two looks of a replica that stands by: a Lease that was given up is taken within this.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A Lease that claims a longer duration (another release, or a bad joke) keeps others away no longer than this.
const DURATION_MAX: Duration = Duration::from_mins(1);

/// Time since the process began.
pub type Moment = Duration;

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// None: it was given up.
    pub holder: Option<Box<str>>,
    /// Changes with every write.
    pub version: Box<str>,
    pub duration: Duration,
}

/// What a replica does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes the Lease with itself as the holder, on exactly the version that was read.
    Take,
    /// Another replica holds it.
    StandBy,
}

/// One replica's part in the election.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: Box<str>,
    /// The version that was read last, and when it was read first.
    seen: Option<(Box<str>, Moment)>,
    held_until: Option<Moment>,
    quiet: Option<Quiet>,
}

/// This replica made the Lease anew after somebody had deleted it, and does not lead yet.
#[derive(Clone, Copy, Debug)]
enum Quiet {
    /// It may have been made: when, the next look tells.
    Made,
    Until(Moment),
}

impl Elector {
    /// `identity` is that of no other replica, and of no former process.
    pub fn new(identity: impl Into<Box<str>>) -> Self {
        Self { identity: identity.into(), seen: None, held_until: None, quiet: None }
    }

    /// Decides from the Lease as it was read; none: there is none. `now` is when the answer had come.
    pub fn look(&mut self, standing: Option<&Standing>, now: Moment) -> Step {
        let Some(standing) = standing else {
            // Where none was ever seen, there was none; and nobody leads before what is held here has ended.
            if self.seen.is_some() && self.held_until.is_none_or(|end| end <= now) {
                self.held_until = None;
                self.quiet = Some(Quiet::Made);
            }
            return Step::Take;
        };
        let since = match &self.seen {
            Some((version, since)) if *version == standing.version => *since,
            _ => {
                self.seen = Some((standing.version.clone(), now));
                now
            }
        };
        match &standing.holder {
            None => {
                self.quiet = None;
                Step::Take
            }
            Some(holder) if *holder == self.identity => {
                if let Some(Quiet::Made) = self.quiet {
                    self.quiet = Some(Quiet::Until(now + DURATION));
                }
                Step::Take
            }
            Some(_) => {
                (self.held_until, self.quiet) = (None, None);
                let over = now.saturating_sub(since) >= standing.duration.clamp(DURATION, DURATION_MAX);
                if over { Step::Take } else { Step::StandBy }
            }
        }
    }

    /// The Lease was written with this replica as its holder. `began` is from before the request was sent: the answer
    /// may have taken its time.
    pub fn took(&mut self, began: Moment) {
        match self.quiet {
            Some(Quiet::Made) => return,
            Some(Quiet::Until(end)) if began < end => return,
            Some(Quiet::Until(_)) | None => {}
        }
        self.quiet = None;
        self.held_until = Some(began + DURATION);
    }

    /// A write of the Lease found it changed: whoever holds it now, this replica can't know that it does.
    pub fn lost(&mut self) {
        self.held_until = None;
    }

    /// Until when the Lease keeps others away from what this replica does; none: it does not hold it.
    pub fn held_until(&self) -> Option<Moment> {
        self.held_until
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(holder: Option<&str>, version: &str) -> Standing {
        Standing { holder: holder.map(Into::into), version: version.into(), duration: DURATION }
    }

    const fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_is_absent_or_given_up_is_taken_at_once() {
        let mut elector = Elector::new("a");
        assert_eq!(elector.look(None, at(0)), Step::Take);
        assert_eq!(elector.look(Some(&standing(None, "1")), at(0)), Step::Take);
        assert_eq!(elector.held_until(), None, "deciding is not holding");
        elector.took(at(3));
        assert_eq!(elector.held_until(), Some(at(13)));
    }

    #[test]
    fn who_makes_a_deleted_lease_anew_leads_only_after_whoever_held_it_must_know() {
        let mut elector = Elector::new("a");
        assert_eq!(elector.look(Some(&standing(Some("b"), "1")), at(0)), Step::StandBy);
        let mine = standing(Some("a"), "2");
        for (now, standing) in [(1, None), (3, Some(&mine)), (12, Some(&mine))] {
            assert_eq!(elector.look(standing, at(now)), Step::Take);
            elector.took(at(now));
            assert_eq!(elector.held_until(), None, "{now}");
        }
        elector.look(Some(&mine), at(13));
        elector.took(at(13));
        assert_eq!(elector.held_until(), Some(at(23)));
    }

    #[test]
    fn who_held_a_deleted_lease_goes_on_while_nobody_else_can_have_it_and_no_longer() {
        for (looks, held) in [(9, Some(at(19))), (10, None)] {
            let mut elector = Elector::new("a");
            elector.look(Some(&standing(None, "1")), at(0));
            elector.took(at(0));
            assert_eq!(elector.look(None, at(looks)), Step::Take);
            elector.took(at(looks));
            assert_eq!(elector.held_until(), held);
        }
    }

    #[test]
    fn a_lease_is_taken_over_only_after_it_stood_unchanged_for_its_duration() {
        let mut elector = Elector::new("a");
        let lease = standing(Some("b"), "1");
        assert_eq!(elector.look(Some(&lease), at(100)), Step::StandBy);
        assert_eq!(elector.look(Some(&lease), at(109)), Step::StandBy);
        let renewed = standing(Some("b"), "2");
        assert_eq!(elector.look(Some(&renewed), at(110)), Step::StandBy, "it was renewed");
        assert_eq!(elector.look(Some(&renewed), at(120)), Step::Take);
    }

    #[test]
    fn a_duration_that_is_too_short_or_too_long_is_bounded() {
        let short = Standing { duration: Duration::ZERO, ..standing(Some("b"), "1") };
        let long = Standing { duration: Duration::MAX, ..standing(Some("b"), "1") };
        for (lease, seconds) in [(short, 10), (long, 60)] {
            let mut elector = Elector::new("a");
            assert_eq!(elector.look(Some(&lease), at(0)), Step::StandBy);
            assert_eq!(elector.look(Some(&lease), at(seconds - 1)), Step::StandBy);
            assert_eq!(elector.look(Some(&lease), at(seconds)), Step::Take);
        }
    }

    #[test]
    fn who_reads_another_holder_leads_no_longer() {
        let mut elector = Elector::new("a");
        elector.took(at(0));
        assert_eq!(elector.look(Some(&standing(Some("b"), "7")), at(2)), Step::StandBy);
        assert_eq!(elector.held_until(), None);
    }

    /// A Lease behind compare-and-swap, two replicas that are held up and cut off at will.
    #[derive(Clone, Debug)]
    enum Act {
        /// The replica looks, and writes if it decides so, after being held up for a while in between.
        Turn {
            replica: usize,
            held_up: u64,
            lost: bool,
        },
        Wait(u64),
        /// Somebody deletes the Lease.
        Delete,
        GiveUp(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0..2usize, 0..25u64, prop::bool::weighted(0.2)).prop_map(|(replica, held_up, lost)| Act::Turn { replica, held_up, lost }),
            3 => (0..12u64).prop_map(Act::Wait),
            1 => (0..2usize).prop_map(Act::GiveUp),
            1 => Just(Act::Delete),
        ]
    }

    proptest! {
        /// Writes of two replicas never overlap, whoever is held up for how long between reading, writing and hearing
        /// of it.
        #[test]
        fn never_do_two_replicas_write_at_once(acts in prop::collection::vec(act(), 1..60)) {
            let names = ["a", "b"];
            let mut electors = names.map(Elector::new);
            let (mut lease, mut version, mut now) = (None::<Standing>, 0u64, at(0));
            // Who wrote the Lease last, and until when others may not.
            for act in acts {
                match act {
                    Act::Wait(seconds) => now += at(seconds),
                    // Both have seen it: a replica that starts just then can't tell it from a first installation.
                    Act::Delete if electors.iter().all(|it| it.seen.is_some()) => lease = None,
                    Act::Delete => {}
                    Act::GiveUp(replica) => {
                        // Only who holds it and leads gives it up, and stops writing first.
                        let holds = lease.as_ref().and_then(|it| it.holder.as_deref()) == Some(names[replica]);
                        if holds && electors[replica].held_until.is_some() {
                            electors[replica].held_until = None;
                            version += 1;
                            lease = Some(standing(None, &version.to_string()));
                        }
                    }
                    Act::Turn { replica, held_up, lost } => {
                        let read = lease.clone();
                        let began = now;
                        let step = electors[replica].look(read.as_ref(), now);
                        now += at(held_up);
                        let current = lease.as_ref().map(|it| it.version.clone());
                        if step == Step::Take && current == read.map(|it| it.version) {
                            version += 1;
                            lease = Some(standing(Some(names[replica]), &version.to_string()));
                            if !lost {
                                electors[replica].took(began);
                            }
                        } else if step == Step::Take {
                            electors[replica].lost();
                        }
                    }
                }
                let writing = electors.iter().filter(|it| it.held_until().is_some_and(|end| now + MARGIN < end)).count();
                prop_assert!(writing <= 1, "{writing} replicas write at {now:?}");
            }
        }
    }
}
