//! Whether a member is worth calling: a circuit breaker as a plain state machine; time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row until a member counts as unreachable: with 8 watches that reconnect, a dead member gets there
/// within seconds, and a few unlucky requests beside good ones never do.
const FAILURES_MAX: u32 = 5;
/// The first pause. A restarted API server is back in seconds.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest pause: bounds both the load on a dead network and the time until a member is found again.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// A trial that was not answered for was dropped by its caller; longer than the longest call.
const TRIAL_TIMEOUT: Duration = Duration::from_mins(2);

/// How a call ended, as far as the member's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The API server answered, be it with an error about one object.
    Answered,
    /// No answer, a server error, or too late.
    Failed,
    /// The credentials were refused.
    Unauthorized,
}

/// What a breaker says about its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    Down,
    /// The API server is there and refuses the credentials.
    Refused,
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    /// Nothing is sent until `until`; then one call is let through.
    Open {
        until: Instant,
        pause: Duration,
        health: Health,
    },
    HalfOpen {
        since: Instant,
        pause: Duration,
        health: Health,
    },
}

#[derive(Debug)]
pub struct Breaker {
    state: State,
    /// Spreads the pauses of many members that went down together: 0.0..1.0.
    jitter: f64,
}

impl Breaker {
    /// `seed` is any number of the member's own.
    pub fn new(seed: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "1000 steps are fine enough")]
        let jitter = (seed % 1000) as f64 / 1000.0;
        Self { state: State::Closed { failures: 0 }, jitter }
    }

    pub fn health(&self) -> Health {
        match self.state {
            State::Closed { .. } => Health::Up,
            State::Open { health, .. } | State::HalfOpen { health, .. } => health,
        }
    }

    /// May a call go out? If not: how long until one may.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, pause, health } if now >= until => {
                self.state = State::HalfOpen { since: now, pause, health };
                Ok(())
            }
            State::Open { until, .. } => Err(until - now),
            State::HalfOpen { since, pause, health } if now >= since + TRIAL_TIMEOUT => {
                self.state = State::HalfOpen { since: now, pause, health };
                Ok(())
            }
            State::HalfOpen { since, .. } => Err(since + TRIAL_TIMEOUT - now),
        }
    }

    /// Time until the next trial may go out; none while closed.
    pub fn next_trial(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until, .. } => Some(until.saturating_duration_since(now)),
            State::HalfOpen { since, .. } => Some((since + TRIAL_TIMEOUT).saturating_duration_since(now)),
        }
    }

    pub fn record(&mut self, now: Instant, verdict: Verdict) {
        let (health, pause) = match (verdict, &self.state) {
            (Verdict::Answered, State::Closed { .. } | State::HalfOpen { .. }) => {
                self.state = State::Closed { failures: 0 };
                return;
            }
            // An answer to a call from before it opened: the trial decides.
            (_, State::Open { .. }) => return,
            (Verdict::Failed, State::Closed { failures }) if failures + 1 < FAILURES_MAX => {
                self.state = State::Closed { failures: failures + 1 };
                return;
            }
            (Verdict::Failed, State::Closed { .. }) => (Health::Down, PAUSE_MIN),
            (Verdict::Unauthorized, State::Closed { .. }) => (Health::Refused, PAUSE_MIN),
            (Verdict::Failed, State::HalfOpen { pause, .. }) => (Health::Down, (*pause * 2).min(PAUSE_MAX)),
            (Verdict::Unauthorized, State::HalfOpen { pause, .. }) => (Health::Refused, (*pause * 2).min(PAUSE_MAX)),
        };
        let until = now + pause + pause.mul_f64(self.jitter * 0.2);
        self.state = State::Open { until, pause, health };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(breaker: &mut Breaker, now: Instant) {
        for _ in 0..FAILURES_MAX {
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.record(now, Verdict::Failed);
        }
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row_and_lets_one_trial_through() {
        let now = Instant::now();
        let mut breaker = Breaker::new(0);
        open(&mut breaker, now);
        assert_eq!(breaker.health(), Health::Down);
        assert_eq!(breaker.admit(now), Err(PAUSE_MIN));
        let later = now + PAUSE_MIN;
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "one trial at a time");
        breaker.record(later, Verdict::Answered);
        assert_eq!(breaker.health(), Health::Up);
    }

    #[test]
    fn a_good_answer_between_failures_keeps_it_closed() {
        let now = Instant::now();
        let mut breaker = Breaker::new(0);
        for _ in 0..20 {
            breaker.record(now, Verdict::Failed);
            breaker.record(now, Verdict::Answered);
        }
        assert_eq!(breaker.health(), Health::Up);
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(0);
        open(&mut breaker, now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let Some(pause) = breaker.next_trial(now) else { panic!("closed") };
            pauses.push(pause.as_secs());
            now += pause;
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.record(now, Verdict::Failed);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn refused_credentials_open_it_at_once_and_are_told_apart() {
        let now = Instant::now();
        let mut breaker = Breaker::new(0);
        breaker.record(now, Verdict::Unauthorized);
        assert_eq!(breaker.health(), Health::Refused);
        assert!(breaker.admit(now).is_err());
    }

    #[test]
    fn a_trial_that_nobody_finished_does_not_block_for_ever() {
        let now = Instant::now();
        let mut breaker = Breaker::new(0);
        open(&mut breaker, now);
        assert_eq!(breaker.admit(now + PAUSE_MIN), Ok(()));
        assert_eq!(breaker.admit(now + PAUSE_MIN + TRIAL_TIMEOUT), Ok(()));
    }
}
