//! What happens in the members and in the repository, and what the hub sees of it.

use super::super::*;
use super::protocol::Protocol;
use super::state::*;
use crate::render::pod::Replaces;

impl World {
    pub(super) fn member(&self, member: Site) -> &Member {
        &self.members[usize::from(member)]
    }

    pub(super) fn member_mut(&mut self, member: Site) -> &mut Member {
        &mut self.members[usize::from(member)]
    }

    /// A watch that lies says that nothing is left to wait for.
    pub(super) fn seen(&self, member: Site, lying: bool) -> Seen {
        let there = self.member(member);
        let listed = self.lists[usize::from(member)];
        Seen {
            suspended: lying || there.cron.as_ref().is_none_or(|cron| cron.suspended),
            live: if lying { 0 } else { usize::from(there.run.is_some()) },
            first: None,
            listed: listed.map(|(age, clear)| Listed { began: time(age), ended: time(age), clear }),
        }
    }

    pub(super) fn is_clear(&self, member: Site) -> bool {
        let there = self.member(member);
        let claims = self.claims.iter().any(|claim| claim.holder.0 == member && !claim.stage.is_over());
        there.cron.as_ref().is_none_or(|cron| cron.suspended) && there.run.is_none() && !claims
    }

    pub(super) fn evidence(&self, member: Site) -> Option<Evidence> {
        let there = self.member(member);
        let claims = self.claims.iter().filter(|claim| claim.holder.0 == member).map(|claim| claim.holder.1);
        let runs = there.run.iter().map(|run| run.epoch);
        let epoch = there.cron.iter().map(|cron| cron.epoch).chain(runs).chain(claims).max();
        let epoch = epoch.filter(|_| !there.away)?;
        Some(Evidence { former: former((member, epoch)), deadline_seconds: DEADLINE_SECONDS })
    }

    pub(super) fn claim_job(&self, record: &Record, lying: bool) -> ClaimJob {
        if self.member(record.site).away {
            return ClaimJob::Unknown;
        }
        let Some(claim) = self.claims.iter().find(|it| it.holder == (record.site, record.epoch)) else {
            return ClaimJob::Absent;
        };
        if !claim.stage.is_over() {
            return if lying { ClaimJob::Absent } else { ClaimJob::Running };
        }
        if !matches!(claim.stage, Stage::Claimed(_)) && claim.attempt != record.since {
            return ClaimJob::Stale;
        }
        let (outcome, may_be_owner, recorded, found) = match claim.stage {
            Stage::Claimed(found) => (Outcome::Claimed, true, recorded(Some(claim.holder)), recorded(found)),
            Stage::Refused(owner) => (Outcome::ClaimRefused, false, recorded(owner), recorded(owner)),
            Stage::Ineffective => (Outcome::ClaimIneffective, true, Recorded::Unknown, Recorded::Unknown),
            Stage::Failed { may_be_owner } => (Outcome::Failed, may_be_owner, Recorded::Unknown, Recorded::Unknown),
            Stage::Made | Stage::Read(_) | Stage::Set(..) => return ClaimJob::Running,
        };
        ClaimJob::Ended(ClaimReport {
            outcome,
            reason: String::new(),
            secret: None,
            last_run_start: None,
            run_began: false,
            may_be_owner,
            over: true,
            at: time(0),
            unique_id: None,
            recorded,
            found,
        })
    }

    /// What follows in the members from a step that was decided under a record, whoever decided it.
    pub(super) fn act(&mut self, record: Option<&Record>, wish: Wish, step: &Step, lying: bool) {
        let Some(record) = record.filter(|record| record.phase != Phase::Recovering) else { return };
        let target = match wish {
            Wish::Objects(member) => Some(member),
            Wish::Keep => None,
        };
        for member in SITES {
            if self.member(member).away {
                continue;
            }
            let drains = record.drain[usize::from(member)] != Drained::No;
            let is_holders = record.site == member && record.phase != Phase::Claiming;
            let live = !lying && self.member(member).run.is_some();
            if target == Some(member) {
                if record.site == member {
                    self.apply(member, record.epoch, !step.run);
                }
            } else if drains {
                self.suspend(member);
            } else if target.is_none() {
                if step.run && record.site == member {
                    self.let_go(member);
                }
            } else if !is_holders {
                self.clear(member, live);
            }
        }
        if let Some(permit) = &step.claim
            && !self.member(record.site).away
            && !self.claims.iter().any(|claim| claim.holder == (record.site, record.epoch))
        {
            let replaces = match &permit.replaces {
                Replaces::Foreign => None,
                Replaces::Exactly(former) => Some(holder(former)),
            };
            let holder = (record.site, record.epoch);
            self.claims.push(Claim { holder, replaces, attempt: record.since, age: 0, stage: Stage::Made });
            self.claims.sort_by_key(|claim| claim.holder);
        }
        if step.remove_claim && !self.member(record.site).away {
            self.claims.retain(|claim| claim.holder != (record.site, record.epoch) || !claim.stage.is_over());
        }
    }

    pub(super) fn apply(&mut self, member: Site, epoch: Epoch, suspended: bool) {
        let before = self.member_mut(member).cron.take();
        // A controller goes on with what it knew before, under the epoch that it knew.
        let fires = before.as_ref().filter(|cron| suspended && (!cron.suspended || cron.unnoticed));
        if let Some(cron) = fires.filter(|cron| cron.epoch != epoch) {
            self.member_mut(member).ghost = Some(cron.epoch);
        }
        let unnoticed = fires.is_some_and(|cron| cron.epoch == epoch);
        self.member_mut(member).cron = Some(Cron { epoch, suspended, unnoticed });
    }

    pub(super) fn suspend(&mut self, member: Site) {
        if let Some(cron) = &mut self.member_mut(member).cron
            && !cron.suspended
        {
            (cron.suspended, cron.unnoticed) = (true, true);
        }
    }

    pub(super) fn let_go(&mut self, member: Site) {
        if let Some(cron) = &mut self.member_mut(member).cron {
            (cron.suspended, cron.unnoticed) = (false, false);
        }
    }

    pub(super) fn clear(&mut self, member: Site, live: bool) {
        match &self.member(member).cron {
            Some(cron) if !cron.suspended => self.suspend(member),
            Some(cron) if !live => {
                let ghost = cron.unnoticed.then_some(cron.epoch);
                let there = self.member_mut(member);
                (there.cron, there.ghost) = (None, ghost.or(there.ghost));
            }
            _ => {}
        }
    }

    /// The hub decides and acts; what it writes to the ledger comes before all else.
    pub(super) fn decide(&mut self, protocol: &Protocol, lying: bool) {
        let step = protocol.step(self, self.ledger.as_ref(), self.wish, lying);
        if let Some(LedgerChange::Grant(grant, drain)) = &step.ledger {
            self.ledger = Some(Record::of(grant, drain));
            return;
        }
        self.act(self.ledger.clone().as_ref(), self.wish, &step, lying);
        if step.list.is_empty() {
            self.lists = [None, None];
        }
        for member in step.list.iter().map(site) {
            if !self.member(member).away {
                self.lists[usize::from(member)] = Some((0, self.is_clear(member)));
            }
        }
    }

    /// What nobody will ask for any more makes no difference between two worlds.
    pub(super) fn forget(&mut self, evidence_counts: bool) {
        let record = self.ledger.as_mut();
        let claiming = record.as_ref().filter(|it| it.phase == Phase::Claiming).map(|it| (it.site, it.epoch));
        let draining = record.as_ref().is_some_and(|it| it.phase == Phase::Draining);
        let current = record.as_ref().map(|it| it.epoch);
        if let Some(record) = record.filter(|it| it.phase == Phase::Active && self.owner.is_some()) {
            record.since = SHORT;
        }
        if !draining {
            self.lists = [None, None];
        }
        let others = self.asleep.is_some() || evidence_counts;
        self.claims.retain(|claim| others || !claim.stage.is_over() || claiming == Some(claim.holder));
        for member in &mut self.members {
            member.refused = member.refused.filter(|(epoch, _)| others || current == Some(*epoch));
        }
    }

    pub(super) fn claim_goes_on(&mut self, index: usize, without: Option<Rule>) {
        let claim = self.claims[index].clone();
        let next = match claim.stage {
            Stage::Made if self.owner == Some(claim.holder) => Stage::Set(self.owner, 0),
            Stage::Made if self.owner == claim.replaces || without == Some(Rule::PermitExact) => {
                Stage::Read(self.owner)
            }
            Stage::Made => Stage::Refused(self.owner),
            // After the permit nothing is set any more.
            Stage::Read(_) if claim.age > PERMIT => Stage::Failed { may_be_owner: false },
            Stage::Read(found) => {
                self.owner = Some(claim.holder);
                Stage::Set(found, 0)
            }
            Stage::Set(..) if self.owner != Some(claim.holder) && without != Some(Rule::ReadBack) => Stage::Ineffective,
            Stage::Set(found, 0) => Stage::Set(found, 1),
            Stage::Set(found, _) => Stage::Claimed(found),
            over => over,
        };
        self.claims[index].stage = next;
    }

    pub(super) fn grow_older(&mut self, by: Age) {
        let older = |age: &mut Age| {
            *age = if by > 1 {
                LONG
            } else if *age >= SHORT {
                *age
            } else {
                *age + 1
            }
        };
        if let Some(record) = &mut self.ledger {
            older(&mut record.since);
            record.until.iter_mut().for_each(older);
            record.drain.iter_mut().for_each(|it| {
                if let Drained::Clear(age) = it {
                    older(age);
                }
            });
        }
        if let Some((Some(record), _)) = &mut self.asleep {
            older(&mut record.since);
            record.until.iter_mut().for_each(older);
            record.drain.iter_mut().for_each(|it| {
                if let Drained::Clear(age) = it {
                    older(age);
                }
            });
        }
        for claim in &mut self.claims {
            older(&mut claim.attempt);
            if claim.stage.is_over() {
                claim.age = 0;
            } else {
                older(&mut claim.age);
            }
        }
        self.lists.iter_mut().flatten().for_each(|(age, _)| older(age));
        for member in &mut self.members {
            member.run.iter_mut().filter_map(|run| run.inside.as_mut()).for_each(older);
            member.ghost = None;
            member.cron.iter_mut().for_each(|cron| cron.unnoticed = false);
        }
    }

    /// Time stands still until what must be over is over.
    pub(super) fn may_grow_older(&self) -> bool {
        let runs = self.members.iter().filter_map(|member| member.run.as_ref()?.inside);
        let claims = self.claims.iter().filter(|claim| !claim.stage.is_over()).map(|claim| claim.age);
        runs.into_iter().all(|age| age < RUN_OVER) && claims.into_iter().all(|age| age < CLAIM_OVER)
    }

    pub(super) fn may_leap(&self) -> bool {
        let nothing_inside = self.members.iter().all(|it| it.run.as_ref().is_none_or(|run| run.inside.is_none()));
        nothing_inside && self.claims.iter().all(|claim| claim.stage.is_over())
    }

    pub(super) fn starts(&self, member: Site) -> Option<Epoch> {
        let there = self.member(member);
        let cron = there.cron.as_ref().filter(|cron| !cron.suspended || cron.unnoticed).map(|cron| cron.epoch);
        cron.or(there.ghost).filter(|_| there.run.is_none())
    }

    pub(super) fn check_owner(&mut self, member: Site, without: Option<Rule>) {
        let owner = self.owner;
        let there = self.member_mut(member);
        let Some(run) = there.run.take() else { return };
        let of_this_hub = owner.is_some() && without == Some(Rule::OwnerExact);
        if owner == Some((member, run.epoch)) || of_this_hub {
            there.run = Some(Run { inside: Some(0), ..run });
            there.refused = None;
        } else {
            there.refused = Some((run.epoch, owner));
        }
    }

    pub(super) fn is_granted_to(&self, member: Site) -> bool {
        self.ledger.as_ref().is_some_and(|it| it.phase == Phase::Active && it.site == member)
    }

    pub(super) fn inside(&self) -> usize {
        self.members.iter().filter(|it| it.run.as_ref().is_some_and(|run| run.inside.is_some())).count()
    }

    /// All faults cease, and everybody does what is theirs in turn. Is the repository maintained after that?
    pub(super) fn recovers(&self, protocol: &Protocol) -> bool {
        let mut world = self.clone();
        world.asleep = None;
        let Wish::Objects(target) = world.wish else { return true };
        world.members.iter_mut().for_each(|member| member.away = false);
        for round in 0..200 {
            for _ in 0..4 {
                world.decide(protocol, false);
            }
            for index in 0..world.claims.len() {
                (0..5).for_each(|_| world.claim_goes_on(index, protocol.without));
            }
            for member in SITES {
                if let Some(epoch) = world.starts(member) {
                    world.member_mut(member).run = Some(Run { epoch, inside: None });
                }
                world.check_owner(member, protocol.without);
                let ran = world.member_mut(member).run.take().is_some();
                if ran && member == target && world.is_granted_to(target) {
                    return true;
                }
            }
            world.grow_older(if round % 50 == 49 { LONG } else { 1 });
        }
        false
    }
}
