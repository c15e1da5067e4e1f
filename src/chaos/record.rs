//! What a replica writes into the records on the hub: that of the repository, and those of ids for which another one stands.

use std::collections::VecDeque;

use super::hub::{HubAnswer, HubRequest};
use super::replica::{Desk, Stage};
use super::trial::Trial;
use super::{Alias, MINUTE, SECOND, stamp};
use crate::api::kopia_repository::KopiaRepository;
use crate::controller::decide;
use crate::names::RepositoryId;
use crate::plan::fleet::Merged;
use crate::status::merged;

/// Records of ids for which another one stands say so, one after another, as in `controller/merge.rs`.
pub(super) struct Merging {
    pub into: RepositoryId,
    /// Each with the grant that has been taken over, if that has just happened.
    pub records: VecDeque<(Alias, Option<Merged>)>,
    /// Then everything is decided anew; none: nothing else is to be done.
    pub round: Option<u8>,
    pub token: u64,
    /// Somebody else wrote the record, which is read.
    pub reading: bool,
}

impl Trial<'_> {
    /// No repository of this id is known, but perhaps another one that stands for it.
    pub(super) fn is_nothing(&mut self, replica: usize, alias: Alias) {
        let id = self.fleet.ids[alias];
        let it = &mut self.replicas[replica];
        let into = it.world.planner.representing(id).filter(|into| *into != id);
        let held = it.world.planner.fleet().ledger.get(&id).is_none_or(|record| record.grant.is_some());
        let Some(into) = into.filter(|_| !held) else { return self.done(replica, alias, MINUTE) };
        let records = VecDeque::from([(alias, None)]);
        it.desks[alias].merging = Some(Merging { into, records, round: None, token: 0, reading: false });
        self.merge(replica, alias);
    }

    /// Writes the next record that has to say that another one stands for it.
    pub(super) fn merge(&mut self, replica: usize, alias: Alias) {
        let now = self.now;
        let (token, time, fleet) = (self.number(), stamp(self.clock_of(replica)), self.fleet);
        let it = &mut self.replicas[replica];
        let (may_write, life) = (it.may_write(now), it.life);
        let Some(merging) = &mut it.desks[alias].merging else { return };
        merging.token = token;
        while let Some((of, ended)) = merging.records.front() {
            let object = it.world.ledger.get(&fleet.ids[*of]).cloned();
            let status = object.as_ref().map(|object| merged::status(object, merging.into, ended.as_ref(), time));
            let Some((object, status)) = object.zip(status).filter(|(it, status)| it.status.as_ref() != Some(status))
            else {
                merging.records.pop_front();
                continue;
            };
            if !may_write {
                return self.later(replica, alias, 2 * SECOND);
            }
            let version = object.metadata.resource_version.clone().unwrap_or_default();
            let write = HubRequest::Write { alias: *of, version, status: Box::new(status) };
            return self.ask_hub(write, (replica, life, token));
        }
        let round = merging.round;
        it.desks[alias].merging = None;
        match round {
            Some(round) => self.decide(replica, alias, round),
            None => self.done(replica, alias, MINUTE),
        }
    }

    /// Writes the ledger where anything of it has changed.
    pub(super) fn write_ledger(&mut self, replica: usize, alias: Alias) {
        let token = self.number();
        let now = self.now;
        let it = &mut self.replicas[replica];
        let (may_write, life) = (it.may_write(now), it.life);
        let Some(pass) = &mut it.desks[alias].pass else { return };
        pass.token = token;
        let asker = (replica, life, token);
        if !may_write {
            return self.later(replica, alias, 2 * SECOND);
        }
        let Some(object) = &pass.work.object else { return self.ask_hub(HubRequest::Create(alias), asker) };
        let status = decide::status(&it.world.planner, &pass.work, object, &pass.step, pass.now);
        if object.status.as_ref() == Some(&status) {
            return self.told(replica, alias);
        }
        let version = object.metadata.resource_version.clone().unwrap_or_default();
        self.ask_hub(HubRequest::Write { alias, version, status: Box::new(status) }, asker);
    }

    pub fn hub_answers(&mut self, replica: usize, token: u64, answer: HubAnswer) {
        self.tell_time(replica);
        let it = &self.replicas[replica];
        let waits = |desk: &Desk| desk.pass.as_ref().is_some_and(|pass| pass.token == token);
        if let Some(alias) = it.desks.iter().position(waits) {
            return self.ledger_answers(replica, alias, answer);
        }
        let merges = |desk: &Desk| desk.merging.as_ref().is_some_and(|merging| merging.token == token);
        if let Some(alias) = it.desks.iter().position(merges) {
            self.other_record_answers(replica, alias, answer);
        }
    }

    fn ledger_answers(&mut self, replica: usize, alias: Alias, answer: HubAnswer) {
        let (number, life) = (self.number(), self.replicas[replica].life);
        let Some(pass) = &mut self.replicas[replica].desks[alias].pass else { return };
        match (answer, pass.stage) {
            (HubAnswer::Object(object), Stage::Reading) => {
                self.knows(replica, alias, &object);
                self.later(replica, alias, 0);
            }
            // It was made.
            (HubAnswer::Object(object), _) if pass.work.object.is_none() => {
                pass.work.object = Some(object);
                self.write_ledger(replica, alias);
            }
            (HubAnswer::Object(object), _) => {
                self.knows(replica, alias, &object);
                self.told(replica, alias);
            }
            (HubAnswer::Conflict, _) => {
                (pass.stage, pass.token) = (Stage::Reading, number);
                self.ask_hub(HubRequest::Get(alias), (replica, life, number));
            }
            (HubAnswer::Failed, _) => self.later(replica, alias, 2 * SECOND),
        }
    }

    fn other_record_answers(&mut self, replica: usize, alias: Alias, answer: HubAnswer) {
        let (number, life) = (self.number(), self.replicas[replica].life);
        let Some(merging) = &mut self.replicas[replica].desks[alias].merging else { return };
        let Some(of) = merging.records.front().map(|(of, _)| *of) else { return };
        match answer {
            HubAnswer::Object(object) => {
                let reading = merging.reading;
                if !reading {
                    merging.records.pop_front();
                }
                self.knows(replica, of, &object);
                if reading { self.later(replica, alias, 0) } else { self.merge(replica, alias) }
            }
            HubAnswer::Conflict => {
                (merging.reading, merging.token) = (true, number);
                self.ask_hub(HubRequest::Get(of), (replica, life, number));
            }
            HubAnswer::Failed => self.later(replica, alias, 2 * SECOND),
        }
    }

    /// What stands in a record now, whoever wrote it.
    fn knows(&mut self, replica: usize, alias: Alias, object: &KopiaRepository) {
        let id = self.fleet.ids[alias];
        let ids = self.replicas[replica].world.set_ledger(id, Some(object.clone()));
        for other in self.fleet.aliases_in(&ids).into_iter().filter(|other| *other != alias) {
            self.look_after(replica, other, 0);
        }
    }
}
