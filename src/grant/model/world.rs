//! What happens in the members and in the repository, and what the hub sees of it.

use super::super::*;
use super::protocol::{Next, Protocol};
use super::state::*;
use crate::render::pod::Replaces;

impl World {
    pub(super) fn member(&self, member: Site) -> &Member {
        &self.members[usize::from(member)]
    }

    pub(super) fn member_mut(&mut self, member: Site) -> &mut Member {
        &mut self.members[usize::from(member)]
    }

    pub(super) fn there(&self, member: Site, alias: Alias) -> &There {
        &self.member(member).there[usize::from(alias)]
    }

    pub(super) fn there_mut(&mut self, member: Site, alias: Alias) -> &mut There {
        &mut self.member_mut(member).there[usize::from(alias)]
    }

    /// By all ids of the repository, with what lists showed that were asked for in the name of the record's.
    /// A watch that lies says that nothing is left to wait for.
    pub(super) fn seen(&self, member: Site, (ids, record): (u8, Alias), lying: bool) -> Seen {
        let there = || aliases(ids).map(|alias| self.there(member, alias));
        let listed = self.lists[usize::from(record)][usize::from(member)];
        Seen {
            first: None,
            suspended: lying || there().all(There::is_suspended),
            live: if lying { 0 } else { there().filter(|it| it.run.is_some()).count() },
            listed: listed.map(|(age, clear)| Listed { began: time(age), ended: time(age), clear }),
        }
    }

    fn is_clear(&self, member: Site, ids: u8) -> bool {
        let is_busy =
            |claim: &Claim| claim.holder.0 == member && ids & 1 << claim.holder.2 != 0 && !claim.stage.is_over();
        let quiet = |alias| self.there(member, alias).is_suspended() && self.there(member, alias).run.is_none();
        aliases(ids).all(quiet) && !self.claims.iter().any(is_busy)
    }

    pub(super) fn evidence(&self, member: Site, ids: u8) -> Option<Evidence> {
        let of = |alias| {
            let claims = self.claims.iter().filter(move |claim| (claim.holder.0, claim.holder.2) == (member, alias));
            let there = self.there(member, alias);
            let runs = there.run.iter().map(|run| run.epoch);
            there.cron.iter().map(|cron| cron.epoch).chain(runs).chain(claims.map(|claim| claim.holder.1)).max()
        };
        let found = aliases(ids).filter_map(|alias| Some((of(alias)?, alias)));
        // Of equal ones the first.
        let (epoch, alias) =
            found.max_by_key(|(epoch, alias)| (*epoch, 1 - alias)).filter(|_| !self.member(member).away)?;
        Some(Evidence { former: former((member, epoch, alias)), deadline_seconds: DEADLINE_SECONDS })
    }

    /// The owner that the latest run of a grant found instead of it.
    pub(super) fn turned_away(&self, record: &Record, alias: Alias) -> Option<Recorded> {
        let refused = self.there(record.site, alias).refused.filter(|(epoch, _)| *epoch == record.epoch);
        Some(recorded(refused?.1))
    }

    pub(super) fn claim_job(&self, record: &Record, alias: Alias, lying: bool) -> ClaimJob {
        if self.member(record.site).away {
            return ClaimJob::Unknown;
        }
        let Some(claim) = self.claims.iter().find(|it| it.holder == record.former(alias)) else {
            return ClaimJob::Absent;
        };
        if !claim.stage.is_over() {
            return if lying { ClaimJob::Absent } else { ClaimJob::Running };
        }
        if !matches!(claim.stage, Stage::Claimed(_)) && claim.attempt != record.attempt() {
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

    /// What follows in the members from a step that was decided with this belief, whoever decided it.
    pub(super) fn act(&mut self, protocol: &Protocol, belief: &Belief, alias: Alias, step: &Step, lying: bool) {
        let record = protocol.record(belief, alias).filter(|record| record.phase != Phase::Recovering);
        let Some((record, ids)) = record.zip(belief.ids(alias)) else { return };
        let target = match protocol.wish(belief, alias) {
            Wish::Objects(member) => Some(member),
            Wish::Keep => None,
        };
        for member in SITES {
            if self.member(member).away {
                continue;
            }
            let is_own = |id: Alias| target == Some(member) && id == alias;
            for id in aliases(BOTH).filter(|id| record.drains(member, *id) && !is_own(*id)) {
                self.suspend(member, id);
            }
            if record.site == member && target.is_none() && step.run {
                self.let_go(member, alias);
            }
            if record.site == member && target == Some(member) {
                self.apply(member, alias, record.epoch, !step.run);
            }
            let is_holders = record.site == member && record.phase != Phase::Claiming && target != Some(member);
            if target.is_some() && record.drain[usize::from(member)].is_none() && !is_holders {
                for id in aliases(ids).filter(|id| !is_own(*id)) {
                    let live = !lying && self.there(member, id).run.is_some();
                    self.clear(member, id, live);
                }
            }
        }
        let holder = record.former(alias);
        if let Some(permit) = &step.claim
            && !self.member(record.site).away
            && !self.claims.iter().any(|claim| claim.holder == holder)
        {
            let replaces = match &permit.replaces {
                Replaces::Foreign => None,
                Replaces::Exactly(former) => Some(self::holder(former)),
            };
            self.claims.push(Claim { holder, replaces, attempt: record.since, age: 0, stage: Stage::Made });
            self.claims.sort_by_key(|claim| claim.holder);
        }
        if step.remove_claim && !self.member(record.site).away {
            self.claims.retain(|claim| claim.holder != holder || !claim.stage.is_over());
        }
    }

    fn apply(&mut self, member: Site, alias: Alias, epoch: Epoch, suspended: bool) {
        let there = self.there_mut(member, alias);
        let before = there.cron.take();
        // A controller goes on with what it knew before, under the epoch that it knew.
        let fires = before.as_ref().filter(|cron| suspended && (!cron.suspended || cron.unnoticed));
        if let Some(cron) = fires.filter(|cron| cron.epoch != epoch) {
            there.ghost = Some(cron.epoch);
        }
        let unnoticed = fires.is_some_and(|cron| cron.epoch == epoch);
        there.cron = Some(Cron { epoch, suspended, unnoticed });
    }

    fn suspend(&mut self, member: Site, alias: Alias) {
        if let Some(cron) = &mut self.there_mut(member, alias).cron
            && !cron.suspended
        {
            (cron.suspended, cron.unnoticed) = (true, true);
        }
    }

    fn let_go(&mut self, member: Site, alias: Alias) {
        if let Some(cron) = &mut self.there_mut(member, alias).cron {
            (cron.suspended, cron.unnoticed) = (false, false);
        }
    }

    fn clear(&mut self, member: Site, alias: Alias, live: bool) {
        match &self.there(member, alias).cron {
            Some(cron) if !cron.suspended => self.suspend(member, alias),
            Some(cron) if !live => {
                let ghost = cron.unnoticed.then_some(cron.epoch);
                let there = self.there_mut(member, alias);
                (there.cron, there.ghost) = (None, ghost.or(there.ghost));
            }
            _ => {}
        }
    }

    /// The hub decides and acts; what it writes to the ledger comes before all else, and with it the unique id that a
    /// Job has told.
    pub(super) fn decide(&mut self, protocol: &Protocol, alias: Alias, lying: bool) {
        let step = match protocol.next(self, &self.hub, alias, lying) {
            Next::Nothing => return,
            Next::TakesOver(kept) => {
                self.hub.ledger[1] = kept;
                return;
            }
            Next::Step(step) => step,
        };
        let belief = self.hub.clone();
        self.hub.told[usize::from(alias)] |= belief.record(alias).is_some_and(|record| {
            let claim = self.claims.iter().find(|it| it.holder == record.former(alias));
            let met = |stage| matches!(stage, Stage::Claimed(_) | Stage::Refused(_) | Stage::Ineffective);
            let claim_told = claim.is_some_and(|claim| met(claim.stage));
            !self.member(record.site).away && (claim_told || self.turned_away(record, alias).is_some())
        });
        if let Some(LedgerChange::Grant(grant, drain)) = &step.ledger {
            self.hub.ledger[usize::from(alias)] = Entry::Granted(Record::of(grant, drain));
            return;
        }
        self.act(protocol, &belief, alias, &step, lying);
        if step.list.is_empty() {
            self.lists[usize::from(alias)] = [None, None];
        }
        for member in step.list.iter().map(site) {
            let drained = protocol.record(&belief, alias).and_then(|it| it.drain[usize::from(member)]);
            if let Some(drained) = drained.filter(|_| !self.member(member).away) {
                let clear = self.is_clear(member, drained.ids);
                self.lists[usize::from(alias)][usize::from(member)] = Some((0, clear));
            }
        }
    }

    /// What nobody will ask for any more makes no difference between two worlds.
    pub(super) fn forget(&mut self, protocol: &Protocol) {
        let others = self.asleep.is_some() || protocol.faults.losses > 0;
        for alias in protocol.aliases() {
            let index = usize::from(alias);
            let store = self.hub.record(alias).map_or(0, |record| protocol.store(record.site));
            // Whoever drains it by this id asks when it became active.
            let is_drained = self.hub.record(1 - alias).is_some_and(|it| SITES.iter().any(|at| it.drains(*at, alias)));
            if let Some(record) = self.hub.ledger[index].record_mut()
                && (record.phase, is_drained) == (Phase::Active, false)
                && self.owners[store].is_some()
            {
                record.since = SHORT;
            }
            if self.hub.record(alias).is_none_or(|record| record.phase != Phase::Draining) {
                self.lists[index] = [None, None];
            }
            let current = self.hub.record(alias).map(|it| it.epoch);
            for member in &mut self.members {
                let refused = &mut member.there[index].refused;
                *refused = refused.filter(|(epoch, _)| others || current == Some(*epoch));
            }
        }
        let claiming = self.hub.ledger.each_ref().map(|entry| entry.record().filter(|it| it.phase == Phase::Claiming));
        let is_awaited = |claim: &Claim| {
            let (site, epoch, alias) = claim.holder;
            claiming[usize::from(alias)].is_some_and(|it| (it.site, it.epoch) == (site, epoch))
        };
        self.claims.retain(|claim| others || !claim.stage.is_over() || is_awaited(claim));
    }

    pub(super) fn claim_goes_on(&mut self, protocol: &Protocol, index: usize) {
        let (claim, without) = (self.claims[index].clone(), protocol.without);
        let owner = &mut self.owners[protocol.store(claim.holder.0)];
        let next = match claim.stage {
            Stage::Made if *owner == Some(claim.holder) => Stage::Set(*owner, 0),
            Stage::Made if *owner == claim.replaces || without == Some(Rule::PermitExact) => Stage::Read(*owner),
            Stage::Made => Stage::Refused(*owner),
            // After the permit nothing is set any more.
            Stage::Read(_) if claim.age > PERMIT => Stage::Failed { may_be_owner: false },
            Stage::Read(found) => {
                *owner = Some(claim.holder);
                Stage::Set(found, 0)
            }
            Stage::Set(..) if *owner != Some(claim.holder) && without != Some(Rule::ReadBack) => Stage::Ineffective,
            Stage::Set(found, 0) => Stage::Set(found, 1),
            Stage::Set(found, _) => Stage::Claimed(found),
            over => over,
        };
        self.claims[index].stage = next;
    }

    pub(super) fn grow_older(&mut self, by: Age) {
        self.hub.grow_older(by);
        self.asleep.iter_mut().for_each(|belief| belief.grow_older(by));
        for claim in &mut self.claims {
            older(&mut claim.attempt, by);
            if claim.stage.is_over() {
                claim.age = 0;
            } else {
                older(&mut claim.age, by);
            }
        }
        self.lists.iter_mut().flatten().flatten().for_each(|(age, _)| older(age, by));
        for there in self.members.iter_mut().flat_map(|member| &mut member.there) {
            there.run.iter_mut().filter_map(|run| run.inside.as_mut()).for_each(|age| older(age, by));
            there.ghost = None;
            there.cron.iter_mut().for_each(|cron| cron.unnoticed = false);
        }
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.members.iter().flat_map(|member| &member.there).filter_map(|there| there.run.as_ref())
    }

    /// Time stands still until what must be over is over.
    pub(super) fn may_grow_older(&self) -> bool {
        let claims = self.claims.iter().filter(|claim| !claim.stage.is_over()).map(|claim| claim.age);
        self.runs().filter_map(|run| run.inside).all(|age| age < RUN_OVER)
            && claims.into_iter().all(|age| age < CLAIM_OVER)
    }

    pub(super) fn may_leap(&self) -> bool {
        self.runs().all(|run| run.inside.is_none()) && self.claims.iter().all(|claim| claim.stage.is_over())
    }

    pub(super) fn starts(&self, member: Site, alias: Alias) -> Option<Epoch> {
        let there = self.there(member, alias);
        let cron = there.cron.as_ref().filter(|cron| !cron.suspended || cron.unnoticed).map(|cron| cron.epoch);
        cron.or(there.ghost).filter(|_| there.run.is_none())
    }

    pub(super) fn check_owner(&mut self, protocol: &Protocol, member: Site, alias: Alias) {
        let owner = self.owners[protocol.store(member)];
        let there = self.there_mut(member, alias);
        let Some(run) = there.run.take() else { return };
        let of_this_hub = owner.is_some() && protocol.without == Some(Rule::OwnerExact);
        if owner == Some((member, run.epoch, alias)) || of_this_hub {
            there.run = Some(Run { inside: Some(0), ..run });
            there.refused = None;
        } else {
            there.refused = Some((run.epoch, owner));
        }
    }

    /// Runs past the fence of a repository, or of its mirror.
    pub(super) fn inside(&self, protocol: &Protocol, store: usize) -> usize {
        let there = SITES.into_iter().filter(|member| protocol.store(*member) == store);
        let runs = there.flat_map(|member| &self.member(member).there).filter_map(|there| there.run.as_ref());
        runs.filter(|run| run.inside.is_some()).count()
    }

    /// All faults cease, and everybody does what is theirs in turn. Is each repository maintained after that?
    pub(super) fn recovers(&self, protocol: &Protocol) -> bool {
        let mut world = self.clone();
        world.asleep = None;
        if world.hub.wish == Wish::Keep {
            return true;
        }
        world.members.iter_mut().for_each(|member| member.away = false);
        let mut ran = [false, protocol.second == Second::Alike];
        for round in 0..200 {
            for alias in (0..4).flat_map(|_| protocol.aliases()) {
                world.decide(protocol, alias, false);
            }
            for index in 0..world.claims.len() {
                (0..5).for_each(|_| world.claim_goes_on(protocol, index));
            }
            for (member, alias) in SITES.into_iter().flat_map(|member| protocol.aliases().map(move |it| (member, it))) {
                if let Some(epoch) = world.starts(member, alias) {
                    world.there_mut(member, alias).run = Some(Run { epoch, inside: None });
                }
                world.check_owner(protocol, member, alias);
                let done = world.there_mut(member, alias).run.take().is_some();
                world.hub.told[usize::from(alias)] |= done;
                let granted = world.hub.record(alias).filter(|it| (it.phase, it.site) == (Phase::Active, member));
                let is_wanted = protocol.wish(&world.hub, alias) == Wish::Objects(member);
                ran[usize::from(alias)] |= done && granted.is_some() && is_wanted;
            }
            // Of one repository by two names it is the first that goes on.
            let is_one = protocol.second == Second::Renamed || world.hub.is_one();
            if ran[0] && (ran[1] || is_one) && (protocol.second != Second::Renamed || world.hub.is_one()) {
                return true;
            }
            world.grow_older(if round % 50 == 49 { LONG } else { 1 });
        }
        false
    }
}

impl There {
    fn is_suspended(&self) -> bool {
        self.cron.as_ref().is_none_or(|cron| cron.suspended)
    }
}

impl Belief {
    fn grow_older(&mut self, by: Age) {
        let before = self.ledger.each_ref().map(|entry| entry.record().map(|record| record.since));
        for record in self.ledger.iter_mut().filter_map(Entry::record_mut) {
            older(&mut record.since, by);
            record.until.iter_mut().for_each(|age| older(age, by));
            record.drain.iter_mut().flatten().filter_map(|it| it.clear.as_mut()).for_each(|age| older(age, by));
        }
        // Which of two is the later one makes a difference also where both are old.
        if let [Entry::Granted(one), Entry::Granted(other)] = &mut self.ledger
            && one.since == other.since
        {
            one.since += Age::from(before[0] > before[1]);
            other.since += Age::from(before[1] > before[0]);
        }
    }
}

fn older(age: &mut Age, by: Age) {
    *age = if by > 1 { LONG } else { (*age + 1).min(SHORT.max(*age)) };
}
