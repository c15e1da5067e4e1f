//! Which replica leads: a Lease of ten seconds, renewed every two, with a fence that closes five seconds before its end.

use super::trial::{Event, Trial};
use super::{ALIASES, Millis, REPLICAS, SECOND};
use crate::controller::steady::Steady;

/// Another replica takes the Lease this long after its holder was last heard of.
const LEASE: Millis = 10 * SECOND;
/// A process whose clock stood still may start writes for so long after it goes on.
const FENCE: Millis = 5 * SECOND;

impl Trial<'_> {
    /// The Lease is free, if nobody who is awake holds it.
    pub fn elect(&mut self) {
        let awake = |number: &usize| self.replicas[*number].up && !self.replicas[*number].asleep;
        let held =
            (0..REPLICAS).filter(awake).any(|it| self.replicas[it].leads && self.replicas[it].open_until.is_none());
        let next = (0..REPLICAS).find(awake);
        if held {
            return;
        }
        let Some(next) = next else { return self.after(LEASE, Event::Lease) };
        // Whoever held it before, and does not know that it is over, goes on for a moment once it wakes.
        for number in (0..REPLICAS).filter(|number| *number != next) {
            let it = &mut self.replicas[number];
            if it.leads && !it.asleep {
                it.leads = false;
            }
        }
        self.say(format_args!("replica {next} leads"));
        let it = &mut self.replicas[next];
        if !it.leads {
            it.leads_since = self.now;
        }
        (it.leads, it.open_until) = (true, None);
        for alias in 0..ALIASES {
            self.look_after(next, alias, 0);
        }
    }

    /// Its holder may be gone.
    pub fn lease_may_end(&mut self) {
        let wait = LEASE + self.random.between(0, 3 * SECOND);
        self.after(wait, Event::Lease);
    }

    pub fn fall_asleep(&mut self, replica: usize, length: Millis, clock_stops: bool) {
        let it = &mut self.replicas[replica];
        if !it.up || it.asleep {
            return;
        }
        (it.asleep, it.clock_stopped) = (true, clock_stops);
        self.say(format_args!("replica {replica} is frozen"));
        self.after(length, Event::Wake(replica));
        self.lease_may_end();
    }

    pub fn wake(&mut self, replica: usize) {
        let now = self.now;
        let others = (0..REPLICAS).filter(|other| *other != replica).any(|other| self.replicas[other].leads);
        let left = self.random.between(0, FENCE);
        let it = &mut self.replicas[replica];
        if !it.up || !it.asleep {
            return;
        }
        it.asleep = false;
        if it.clock_stopped {
            // The system's clock has gone on without the other one.
            it.steady = Steady::default();
        }
        let led = it.leads;
        if others && led {
            if it.clock_stopped {
                it.open_until = Some(now + left);
            } else {
                it.leads = false;
            }
        }
        let (held, life, stale) = (std::mem::take(&mut it.held), it.life, it.may_write(now) && others);
        self.say(format_args!("replica {replica} goes on{}", if stale { ", and believes that it leads" } else { "" }));
        if stale {
            self.strikes("WakesStale");
            self.after(left, Event::Lease);
        }
        // What it was about to do comes first; what happened meanwhile it hears of later.
        let lag = self.random.between(0, 2 * SECOND);
        self.news_not_before(replica, now + lag);
        // Watches keep their order: what is on its way comes after what was held.
        let soon = ..=(now + lag, u64::MAX);
        let on_its_way: Vec<_> = self.queue.extract_if(soon, |_, event| event.is_news_for(replica, life)).collect();
        for letter in held {
            let wait = if letter.is_news() { lag } else { 1 };
            self.after(wait, Event::To(replica, life, letter));
        }
        for (_, event) in on_its_way {
            self.after(lag, event);
        }
        self.lease_may_end();
    }
}
