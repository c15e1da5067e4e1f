//! One run by hand (`spec.runNow`): the CronJob is suspended, what runs is waited for, one Job runs, and the CronJob
//! goes on.
//!
//! A Job by hand beside a CronJob that forbids concurrency does not keep its controller from starting another one, and
//! a suspend that was acknowledged may be followed by one Job more: so here as in a hand-over two lists have to show
//! that nothing runs. The ledger's entry for the holder itself in `drain` says that its CronJob is suspended for this,
//! so that any replica can go on from there.
//!
//! A request that makes a Job may be given up and arrive long after. So before the first one is sent the ledger names
//! the token: from then on no other Job by hand is made, whatever `spec.runNow` says, and the CronJob stays suspended
//! until this one has ended. Its name is made from the token, so that the late request finds it there. A hand-over changes
//! nothing about that: where its claim does not come through, the former holder goes on under the epoch of that Job.

use jiff::Timestamp;

use super::drain::{self, Look};
use super::{Input, LedgerChange, Rule, Step};
use crate::plan::fleet::{Drain, Grant, Phase};

/// What is known of a run that is asked for by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByHand<'a> {
    /// The one under way; else `spec.runNow`, while it has not been acted upon.
    pub token: Option<&'a str>,
    /// The ledger names it: a request that makes its Job may have been sent.
    pub under_way: bool,
    /// The Job of that token, in the grant's member.
    pub job: ManualJob,
    /// Another Job by hand, which the ledger does not name, has not ended there.
    pub stray: bool,
    /// Until when the CronJob, let go, would start a run that it has missed meanwhile.
    pub missed_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManualJob {
    #[default]
    Absent,
    Running,
    Ended,
}

pub(super) fn active(input: &Input<'_>, grant: &Grant) -> Step {
    let own = input.drain.iter().find(|entry| entry.cluster == grant.cluster);
    match (input.by_hand.token.filter(|_| input.by_hand.under_way || input.wanted()), own) {
        // The ledger was put back from before it was asked for. Beside it nothing else may start.
        (None, None) if input.by_hand.stray => says(Step::rest(), "one that the ledger does not know goes on"),
        (None, None) => Step { run: true, ..Step::rest() },
        (Some(_), None) => {
            let drain = drain::and(input, grant.cluster.clone(), Some(grant.deadline_seconds));
            says(Step::grant(grant.clone(), &drain), "the CronJob is suspended for it")
        }
        (Some(token), Some(own)) => match input.by_hand.job {
            ManualJob::Absent if !input.wanted() => awaited(),
            ManualJob::Absent => quiet(input, grant, own, token),
            ManualJob::Running => says(Step::rest(), "it goes on"),
            ManualJob::Ended => over(input, grant, Some(token)),
        },
        // It was taken back, or the repository is not to be maintained now.
        (None, Some(_)) => over(input, grant, None),
    }
}

/// Rule: a Job by hand starts once two lists at least a minute apart show the CronJob suspended and nothing that runs.
fn quiet(input: &Input<'_>, grant: &Grant, own: &Drain, token: &str) -> Step {
    let Some(seen) = input.seen.get(&grant.cluster) else {
        return says(Step::rest(), &format!("it waits until {} can be reached", grant.cluster));
    };
    let kept = |clear_since: Option<Timestamp>| {
        let mut drain = input.drain.to_vec();
        let of_it = drain.iter_mut().filter(|entry| entry.cluster == grant.cluster);
        of_it.for_each(|entry| entry.clear_since = clear_since);
        Step::grant(grant.clone(), &drain)
    };
    let wake = |at: Timestamp| (at < Timestamp::MAX).then_some(at);
    match drain::quiet(input, own, seen) {
        Look::Over if !input.by_hand.under_way && input.keeps(Rule::NamedFirst) => {
            Step::write(LedgerChange::Manual { drain: input.drain.to_vec(), under_way: Some(token.into()), seen: None })
        }
        Look::Over => says(Step { manual: Some(token.into()), ..Step::rest() }, "it starts"),
        Look::Clear(since) => says(kept(Some(since)), "nothing else runs"),
        Look::List => {
            says(Step { list: vec![grant.cluster.clone()], ..Step::rest() }, "whether anything runs is looked at")
        }
        Look::Busy(again) => says(Step { wake: wake(again), ..kept(None) }, "it waits for what runs"),
        Look::Wait(until) => match wake(until) {
            Some(until) => {
                let text = format!("nothing else runs; it starts at {until:.0}");
                says(Step { wake: Some(until), ..Step::rest() }, &text)
            }
            None => says(Step::rest(), "it waits for what runs"),
        },
    }
}

/// Rule: the CronJob goes on once it would not start at once what it has missed.
fn over(input: &Input<'_>, grant: &Grant, token: Option<&str>) -> Step {
    let runs = input.seen.get(&grant.cluster).is_none_or(|seen| seen.live > 0);
    if runs && token.is_none() {
        return says(Step::rest(), "what runs is waited for");
    }
    if let Some(until) = input.by_hand.missed_until.filter(|until| input.now < *until && input.wanted()) {
        let text =
            format!("it has ended; the CronJob goes on at {until:.0}, for it would start at once what it has missed");
        return says(Step { wake: Some(until), ..Step::rest() }, &text);
    }
    Step::write(LedgerChange::Manual { drain: others(input, grant), under_way: None, seen: token.map(Into::into) })
}

/// Nothing new is pushed: a run by hand that has begun comes to its end, and the CronJob is let go as it stands.
pub(super) fn held(input: &Input<'_>, grant: &Grant) -> Step {
    if !input.drain.iter().any(|entry| entry.cluster == grant.cluster) {
        return Step::rest();
    }
    if let (true, Some(token)) = (input.by_hand.under_way, input.by_hand.token) {
        return match input.by_hand.job {
            ManualJob::Absent => awaited(),
            ManualJob::Running => says(Step::rest(), "it goes on"),
            ManualJob::Ended => Step::write(LedgerChange::Manual {
                drain: input.drain.to_vec(),
                under_way: None,
                seen: Some(token.into()),
            }),
        };
    }
    if input.seen.get(&grant.cluster).is_none_or(|seen| seen.live > 0) {
        return says(Step::rest(), "what runs is waited for");
    }
    let next = Grant { phase: Phase::Resuming, since: Some(input.now), ..grant.clone() };
    Step::grant(next, &others(input, grant))
}

/// The request that makes the Job may be on its way: the CronJob stays suspended until the Job is there and has ended.
fn awaited() -> Step {
    says(Step::rest(), "it was about to start, and does once the repository is maintained again")
}

fn others(input: &Input<'_>, grant: &Grant) -> Vec<Drain> {
    input.drain.iter().filter(|entry| entry.cluster != grant.cluster).cloned().collect()
}

fn says(step: Step, text: &str) -> Step {
    step.saying("RunByHand", format!("a run by hand was asked for; {text}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::{at, grant, input, own_lists, plan};
    use super::super::{ClaimJob, Listed, Seen, step};
    use super::*;
    use crate::names::MemberName;
    use crate::plan::result::{Push, RepositoryPlan, State};

    /// One repository that is held by `a`, as the ledger and the member have it.
    struct Stage {
        plan: RepositoryPlan,
        grant: Grant,
        drain: Vec<Drain>,
        seen: BTreeMap<MemberName, Seen>,
        under_way: Option<Box<str>>,
    }

    impl Stage {
        fn new() -> Self {
            let seen = Seen { suspended: false, live: 0, ..Seen::default() };
            Self {
                plan: plan("a"),
                grant: grant("a", Phase::Active),
                drain: Vec::new(),
                seen: BTreeMap::from([("a".into(), seen)]),
                under_way: None,
            }
        }

        fn step(&self, now: i64, by_hand: ByHand<'_>) -> Step {
            let (seen, drain) = (&self.seen, &self.drain[..]);
            let token = self.under_way.as_deref().or(by_hand.token);
            let by_hand = ByHand { token, under_way: self.under_way.is_some(), ..by_hand };
            let input = input(&self.plan, Some(&self.grant), ClaimJob::Absent);
            step(&Input { seen: &own_lists(seen, drain), drain, by_hand, now: at(now), ..input })
        }

        fn sees(&mut self, change: impl FnOnce(&mut Seen)) {
            change(self.seen.values_mut().next().unwrap());
        }

        fn wrote(&mut self, step: &Step) {
            match step.ledger.clone() {
                Some(LedgerChange::Grant(grant, drain)) => (self.grant, self.drain) = (grant, drain),
                Some(LedgerChange::Manual { drain, under_way, .. }) => {
                    (self.drain, self.under_way) = (drain, under_way);
                }
                other => panic!("nothing is written: {other:?}"),
            }
        }
    }

    fn asked(job: ManualJob) -> ByHand<'static> {
        ByHand { token: Some("1"), under_way: false, job, ..ByHand::default() }
    }

    #[test]
    fn beside_a_job_by_hand_that_the_ledger_does_not_know_nothing_starts() {
        let stage = Stage::new();
        let waits = stage.step(3, ByHand { stray: true, ..ByHand::default() });
        assert_eq!((waits.run, waits.ledger, waits.note.unwrap().0), (false, None, "RunByHand"));
        assert!(stage.step(3, ByHand::default()).run);
    }

    fn listed(began: i64, clear: bool) -> Listed {
        Listed { began: at(began), ended: at(began + 1), clear }
    }

    #[test]
    fn the_cron_job_is_suspended_and_what_runs_is_waited_for_before_a_run_by_hand_starts() {
        let mut stage = Stage::new();
        assert!(stage.step(0, ByHand::default()).run);
        let first = stage.step(0, asked(ManualJob::Absent));
        assert!(!first.run && first.manual.is_none(), "the ledger is written first");
        stage.wrote(&first);
        assert_eq!((stage.grant.phase, stage.drain.len()), (Phase::Active, 1));

        let fires = stage.step(1, asked(ManualJob::Absent));
        assert!(!fires.run && fires.list.is_empty() && fires.manual.is_none(), "{fires:?}");
        stage.sees(|seen| (seen.suspended, seen.live) = (true, 1));
        assert!(stage.step(2, asked(ManualJob::Absent)).list.is_empty(), "a run goes on");
        stage.sees(|seen| seen.live = 0);
        assert_eq!(stage.step(3, asked(ManualJob::Absent)).list, [MemberName::from("a")]);
        stage.sees(|seen| seen.listed = Some(listed(3, true)));
        let clear = stage.step(4, asked(ManualJob::Absent));
        assert!(clear.manual.is_none(), "one list is not enough");
        stage.wrote(&clear);
        assert_eq!(stage.drain[0].clear_since, Some(at(4)));

        let waits = stage.step(63, asked(ManualJob::Absent));
        assert!(waits.manual.is_none() && waits.list.is_empty() && waits.wake == Some(at(64)), "{waits:?}");
        assert_eq!(stage.step(64, asked(ManualJob::Absent)).list.len(), 1);
        stage.sees(|seen| seen.listed = Some(listed(64, true)));
        let named = stage.step(65, asked(ManualJob::Absent));
        assert!(named.manual.is_none(), "the ledger names it first");
        stage.wrote(&named);
        assert_eq!(stage.step(65, asked(ManualJob::Absent)).manual.as_deref(), Some("1"));
        let runs = stage.step(66, asked(ManualJob::Running));
        assert!(!runs.run && runs.manual.is_none() && runs.ledger.is_none(), "{runs:?}");
    }

    #[test]
    fn what_a_list_or_the_watch_shows_begins_the_wait_anew() {
        let mut stage = Stage::new();
        stage.wrote(&stage.step(0, asked(ManualJob::Absent)));
        stage.drain[0].clear_since = Some(at(4));
        stage.sees(|seen| (seen.suspended, seen.listed) = (true, Some(listed(64, false))));
        let again = stage.step(66, asked(ManualJob::Absent));
        assert!(again.manual.is_none() && again.wake == Some(at(70)), "{again:?}");
        assert_eq!(stage.step(70, asked(ManualJob::Absent)).list.len(), 1, "the list saw what no watch brought");
        stage.sees(|seen| seen.live = 1);
        stage.wrote(&stage.step(71, asked(ManualJob::Absent)));
        assert_eq!(stage.drain[0].clear_since, None);
    }

    #[test]
    fn the_cron_job_goes_on_once_it_would_not_start_at_once_what_it_missed() {
        let mut stage = Stage::new();
        stage.wrote(&stage.step(0, asked(ManualJob::Absent)));
        stage.sees(|seen| seen.suspended = true);
        let ended = ByHand { missed_until: Some(at(500)), ..asked(ManualJob::Ended) };
        let waits = stage.step(100, ended);
        assert!(!waits.run && waits.ledger.is_none() && waits.wake == Some(at(500)), "{waits:?}");
        let over = stage.step(500, ended);
        assert_eq!(
            over.ledger,
            Some(LedgerChange::Manual { drain: Vec::new(), under_way: None, seen: Some("1".into()) })
        );
        stage.wrote(&over);
        assert!(stage.step(501, ByHand::default()).run);
    }

    #[test]
    fn one_that_is_taken_back_or_frozen_ends_and_nothing_starts() {
        let mut stage = Stage::new();
        stage.wrote(&stage.step(0, asked(ManualJob::Absent)));
        stage.sees(|seen| (seen.suspended, seen.live) = (true, 1));
        assert!(stage.step(1, ByHand::default()).ledger.is_none(), "what runs is waited for");
        stage.sees(|seen| seen.live = 0);
        let over = stage.step(2, ByHand::default());
        assert_eq!(over.ledger, Some(LedgerChange::Manual { drain: Vec::new(), under_way: None, seen: None }));
        stage.plan.state = State::Frozen;
        let frozen = stage.step(2, asked(ManualJob::Absent));
        assert_eq!(
            frozen.ledger,
            Some(LedgerChange::Manual { drain: Vec::new(), under_way: None, seen: None }),
            "it starts after it"
        );
        stage.drain.clear();
        assert_eq!(stage.step(3, asked(ManualJob::Absent)).ledger, None);
    }

    /// The request that makes its Job may arrive at any time.
    #[test]
    fn one_that_the_ledger_names_comes_to_its_end_whatever_is_asked_for_by_then() {
        let mut stage = Stage::new();
        stage.wrote(&stage.step(0, asked(ManualJob::Absent)));
        stage.drain[0].clear_since = Some(at(4));
        stage.sees(|seen| (seen.suspended, seen.listed) = (true, Some(listed(64, true))));
        stage.wrote(&stage.step(65, asked(ManualJob::Absent)));
        assert_eq!(stage.under_way.as_deref(), Some("1"));
        for now in [ByHand::default(), ByHand { token: Some("2"), ..ByHand::default() }] {
            assert_eq!(stage.step(66, now).manual.as_deref(), Some("1"), "{now:?}");
            assert!(!stage.step(66, now).run);
        }
        let maintained = stage.plan.clone();
        for push in [stage.plan.push.clone(), Push::Keep] {
            stage.plan = RepositoryPlan { push, state: State::Held, ..maintained.clone() };
            for job in [ManualJob::Absent, ManualJob::Running] {
                let waits = stage.step(67, ByHand { job, ..ByHand::default() });
                assert!(!waits.run && waits.manual.is_none() && waits.ledger.is_none(), "{waits:?}");
            }
            let ended = stage.step(68, ByHand { job: ManualJob::Ended, ..ByHand::default() });
            let Some(LedgerChange::Manual { under_way: None, seen, .. }) = ended.ledger else { panic!("{ended:?}") };
            assert_eq!(seen.as_deref(), Some("1"));
        }
    }

    #[test]
    fn where_nothing_is_pushed_the_cron_job_is_let_go_as_it_stands() {
        let mut stage = Stage::new();
        stage.wrote(&stage.step(0, asked(ManualJob::Absent)));
        stage.plan = RepositoryPlan { push: Push::Keep, state: State::Held, ..stage.plan };
        stage.sees(|seen| (seen.suspended, seen.live) = (true, 1));
        assert!(stage.step(1, asked(ManualJob::Running)).ledger.is_none());
        stage.sees(|seen| seen.live = 0);
        stage.wrote(&stage.step(2, asked(ManualJob::Ended)));
        assert_eq!((stage.grant.phase, stage.drain.len()), (Phase::Resuming, 0));
        let resumes = stage.step(3, asked(ManualJob::Ended));
        assert!(resumes.run && resumes.manual.is_none(), "{resumes:?}");
    }
}
