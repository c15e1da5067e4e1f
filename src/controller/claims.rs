//! Pure: the claims under way in the fleet, and the line of repositories that wait for their turn.
//!
//! A turn is given under the world's lock before its Job is made, and counts until that Job has been seen, so that
//! workers that ask at the same moment never get more turns than there are. Whoever has waited longest is called
//! first, but each member has a fair share of the turns while others wait, too: where claims go on for long, those of a
//! few members would soon have them all. A turn that nobody uses, and a Job in a member that is away, hold up the others
//! for a limited time only.
//!
//! Where the Jobs of a member are not known, because it is away or still being read, the ledger says which claims its
//! last hub had under way there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::jobs::job_end;
use super::world::repository_of;
use crate::api::kopia_repository::{GrantPhase, KopiaRepository};
use crate::labels;
use crate::member::event::JobRecord;
use crate::names::{MemberName, ObjectName, RepositoryId};
use crate::outcome::Role;
use crate::render::cron_job::CLAIM_DEADLINE_SECONDS;
use crate::time::{after, whole_seconds};

/// Who was called takes the turn by then, or goes to the end of the line.
const CALLED: SignedDuration = SignedDuration::from_secs(15);
/// No claim goes on for longer: its Job's deadline, and a minute for clocks that differ.
const LONGEST: SignedDuration = SignedDuration::from_secs(CLAIM_DEADLINE_SECONDS as i64 + 60);
/// What a claim takes, until the first one has ended.
const GUESS: SignedDuration = SignedDuration::from_secs(60);
/// So many of the latest claims tell what one takes.
const REMEMBERED: usize = 16;
/// So many of the latest calls tell how fast the line moves.
const CALLS_REMEMBERED: usize = 128;
/// What was told stays while it is no further off than this: a status is not written for less.
const TOLD_PRECISION: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, Default)]
pub struct Claims {
    /// Jobs that have not ended, and when they must have.
    jobs: BTreeMap<(MemberName, ObjectName), (RepositoryId, Timestamp)>,
    /// Turns given of which no Job has been seen yet.
    given: BTreeMap<RepositoryId, Given>,
    /// Claims that the ledger tells of, and when they must have ended.
    recorded: BTreeMap<RepositoryId, (MemberName, Timestamp)>,
    /// Those of them whose member's Jobs are not all known.
    unread: BTreeSet<RepositoryId>,
    /// Members whose Jobs are all known.
    synced: BTreeSet<MemberName>,
    line: BTreeMap<u64, RepositoryId>,
    waiting: BTreeMap<RepositoryId, Waiting>,
    /// How many wait for each member.
    waiting_in: BTreeMap<MemberName, usize>,
    next_ticket: u64,
    took: VecDeque<SignedDuration>,
    /// When the latest of those in line were called.
    calls: VecDeque<Timestamp>,
}

#[derive(Clone, Debug)]
struct Given {
    until: Timestamp,
    member: MemberName,
    /// The Job that is being made; none while the one called has not come.
    job: Option<ObjectName>,
    /// The Job may stand.
    made: bool,
}

#[derive(Clone, Debug)]
struct Waiting {
    ticket: u64,
    member: MemberName,
    told: Option<InLine>,
}

/// Where a repository stands in the line, as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InLine {
    /// Repositories that come before.
    pub ahead: usize,
    /// When the turn is expected.
    pub expected: Timestamp,
}

/// The answer to who wants to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Start,
    Wait(InLine),
}

impl Claims {
    /// A Job of a member as it is now. Others than claims are none of this one's business.
    pub fn saw(&mut self, member: &MemberName, name: &ObjectName, job: Option<&JobRecord>) {
        let place = (member.clone(), name.clone());
        let claim = job.and_then(|job| Some((job, claim_of(job)?)));
        let Some((job, id)) = claim else {
            self.jobs.remove(&place);
            return;
        };
        if self.given.get(&id).is_some_and(|given| given.job.as_ref() == Some(name)) {
            self.given.remove(&id);
        }
        let began = job.started.or(job.created).unwrap_or(Timestamp::MAX);
        if !job.is_terminal() {
            self.jobs.insert(place, (id, after(began, LONGEST)));
        } else if self.jobs.remove(&place).is_some()
            && let Some(took) = job_end(job).map(|end| end.duration_since(began)).filter(SignedDuration::is_positive)
        {
            self.took.push_front(took);
            self.took.truncate(REMEMBERED);
        }
    }

    /// A repository's record as it is now.
    pub fn recorded(&mut self, id: RepositoryId, record: Option<&KopiaRepository>, now: Timestamp) {
        let (member, reason) = record.and_then(claims_in).unzip();
        let known = self.recorded.get(&id).map(|(known, _)| known);
        if known != member.as_ref() || reason == Some("ClaimQueued") {
            self.recorded.remove(&id);
            self.unread.remove(&id);
        }
        // What else is told of it later, such as that the member can't be reached, ends no claim.
        if let Some(member) = member.filter(|_| reason == Some("Claiming")) {
            if !self.synced.contains(&member) {
                self.unread.insert(id);
            }
            self.recorded.entry(id).or_insert_with(|| (member, after(now, LONGEST)));
        }
    }

    /// Whether all Jobs of a member are known now.
    pub fn knows(&mut self, member: &MemberName, all: bool) {
        let there = self.recorded.iter().filter(|(_, (of, _))| of == member).map(|(id, _)| *id);
        if all {
            if self.synced.insert(member.clone()) {
                for id in there {
                    self.unread.remove(&id);
                }
            }
        } else if self.synced.remove(member) {
            self.unread.extend(there);
        }
    }

    /// Asks for a turn to make this Job in this member; without one free, the repository stands in line from now on.
    pub fn ask(
        &mut self,
        id: RepositoryId,
        (member, job): (&MemberName, &ObjectName),
        max: usize,
        now: Timestamp,
    ) -> Turn {
        self.given.retain(|_, given| now < given.until);
        let is_free = self.line.is_empty() && self.others_under_way(id, now) < max;
        if is_free && !self.given.contains_key(&id) {
            self.give(id, member.clone(), now);
        }
        if let Some(given) = self.given.get_mut(&id) {
            (given.member, given.job) = (member.clone(), Some(job.clone()));
            return Turn::Start;
        }
        let known = self.forget(id).map(|known| (known.ticket, known.told));
        let (ticket, told) = known.unwrap_or_else(|| {
            self.next_ticket += 1;
            (self.next_ticket, None)
        });
        let ahead = self.line.range(..ticket).count();
        let place = InLine { ahead, expected: self.expected(ahead, max, now) };
        let told = match told {
            Some(told) if is_near(told.expected, place.expected, now) => told,
            // Who was told too soon already is not told again every second.
            Some(_) => InLine { expected: place.expected.max(after(whole_seconds(now), TOLD_PRECISION)), ..place },
            None => place,
        };
        self.line.insert(ticket, id);
        *self.waiting_in.entry(member.clone()).or_default() += 1;
        self.waiting.insert(id, Waiting { ticket, member: member.clone(), told: Some(told) });
        Turn::Wait(told)
    }

    /// Gives the turns that are free to those who have waited longest, and names them. Those in members that have their
    /// share come after the others.
    pub fn call(&mut self, max: usize, now: Timestamp) -> Vec<RepositoryId> {
        if self.line.is_empty() {
            return Vec::new();
        }
        self.given.retain(|_, given| now < given.until);
        let mut called = Vec::new();
        let mut held = None;
        while self.under_way(now) < max {
            let held = held.get_or_insert_with(|| self.held(now));
            let Some((id, member)) = self.next(held, max) else { break };
            self.forget(id);
            *held.entry(member.clone()).or_default() += 1;
            self.give(id, member, now);
            self.calls.push_back(now);
            called.push(id);
        }
        self.calls.drain(..self.calls.len().saturating_sub(CALLS_REMEMBERED));
        if self.line.is_empty() {
            self.calls.clear();
        }
        called
    }

    /// The Job was made, or may have been.
    pub fn made(&mut self, id: RepositoryId, now: Timestamp) {
        // It may have been seen already.
        if let Some(given) = self.given.get_mut(&id) {
            (given.until, given.made) = (after(now, LONGEST), true);
        }
    }

    /// It claims nothing now: out of the line, and a turn of which no Job was made is free again.
    pub fn leave(&mut self, id: RepositoryId) {
        if self.given.get(&id).is_some_and(|given| !given.made) {
            self.given.remove(&id);
        }
        self.forget(id);
    }

    /// When a repository that waits was told to expect its turn.
    pub fn told(&self, id: RepositoryId) -> Option<Timestamp> {
        Some(self.waiting.get(&id)?.told?.expected)
    }

    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Turns taken: Jobs that have not ended, those about to be made, and those that only the ledger tells of.
    pub fn under_way(&self, now: Timestamp) -> usize {
        self.taken(now).count()
    }

    fn others_under_way(&self, id: RepositoryId, now: Timestamp) -> usize {
        self.taken(now).filter(|it| *it != id).count()
    }

    fn taken(&self, now: Timestamp) -> impl Iterator<Item = RepositoryId> {
        let known = self.live(now).chain(self.unseen(now)).map(|(id, _)| id);
        known.chain(self.unread(now))
    }

    fn live(&self, now: Timestamp) -> impl Iterator<Item = (RepositoryId, &MemberName)> {
        let live = self.jobs.iter().filter(move |(_, (_, until))| now < *until);
        live.map(|((member, _), (id, _))| (*id, member))
    }

    fn unseen(&self, now: Timestamp) -> impl Iterator<Item = (RepositoryId, &MemberName)> {
        self.given.iter().filter(move |(_, given)| now < given.until).map(|(id, given)| (*id, &given.member))
    }

    fn unread(&self, now: Timestamp) -> impl Iterator<Item = RepositoryId> {
        let is_known = |id: &RepositoryId| self.given.contains_key(id) || self.jobs.values().any(|(of, _)| of == id);
        // The members that are left to be read are few, and so are the claims there.
        let goes_on = move |id: &RepositoryId| self.recorded.get(id).is_some_and(|(_, until)| now < *until);
        self.unread.iter().copied().filter(goes_on).filter(move |id| !is_known(id))
    }

    /// Who has waited longest, of those in members that have less than their share, if there are any.
    fn next(&self, held: &BTreeMap<MemberName, usize>, max: usize) -> Option<(RepositoryId, MemberName)> {
        let share = (max / self.waiting_in.len().max(1)).max(1);
        let line = || self.line.values().filter_map(|id| Some((*id, &self.waiting.get(id)?.member)));
        let has_room = |member: &MemberName| held.get(member).is_none_or(|turns| *turns < share);
        let next = line().find(|(_, member)| has_room(member)).or_else(|| line().next());
        next.map(|(id, member)| (id, member.clone()))
    }

    /// Turns that are known to be taken in each member.
    fn held(&self, now: Timestamp) -> BTreeMap<MemberName, usize> {
        let mut held = BTreeMap::new();
        for (_, member) in self.live(now).chain(self.unseen(now)) {
            *held.entry(member.clone()).or_default() += 1;
        }
        held
    }

    fn give(&mut self, id: RepositoryId, member: MemberName, now: Timestamp) {
        self.given.insert(id, Given { until: after(now, CALLED), member, job: None, made: false });
    }

    fn forget(&mut self, id: RepositoryId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.line.remove(&waiting.ticket);
        if let Some(count) = self.waiting_in.get_mut(&waiting.member) {
            *count -= 1;
            if *count == 0 {
                self.waiting_in.remove(&waiting.member);
            }
        }
        Some(waiting)
    }

    /// Each round of `max` claims takes what one takes on average. Where the line moves more slowly than that, because the
    /// hub or the members have other things to do, it is what the latest calls took.
    fn expected(&self, ahead: usize, max: usize, now: Timestamp) -> Timestamp {
        let number = i32::try_from(self.took.len()).unwrap_or(i32::MAX);
        let sum = self.took.iter().fold(SignedDuration::ZERO, |sum, took| sum.saturating_add(*took));
        let one = if number == 0 { GUESS } else { sum / number };
        let rounds = i32::try_from(ahead / max.max(1) + 1).unwrap_or(i32::MAX);
        let by_rounds = one.as_secs().max(1).saturating_mul(rounds.into());
        let seconds = by_rounds.max(self.by_calls(ahead));
        // Whole seconds: it is for people.
        after(whole_seconds(now), SignedDuration::from_secs(seconds))
    }

    /// Seconds until so many have been called, at the pace of the latest calls; 0 where there were too few of them.
    fn by_calls(&self, ahead: usize) -> i64 {
        let (Some(first), Some(last)) = (self.calls.front(), self.calls.back()) else { return 0 };
        let between = i64::try_from(self.calls.len() - 1).unwrap_or(i64::MAX);
        let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
        last.duration_since(*first).as_secs().saturating_mul(ahead) / between.max(1)
    }
}

fn claim_of(job: &JobRecord) -> Option<RepositoryId> {
    job.labels.get(labels::ROLE).filter(|role| ***role == *Role::Claim.as_str())?;
    repository_of(&job.labels)
}

/// Where this repository is to be claimed, and how that stands, as its record says.
fn claims_in(record: &KopiaRepository) -> Option<(MemberName, &str)> {
    let status = record.status.as_ref()?;
    let grant = status.grant.as_ref().filter(|grant| grant.phase == GrantPhase::Claiming)?;
    let maintained = status.conditions.iter().find(|it| it.type_ == "Maintained")?;
    Some((grant.cluster.as_str().into(), &maintained.reason))
}

/// A quarter of the wait, and a minute; never what is over.
fn is_near(told: Timestamp, expected: Timestamp, now: Timestamp) -> bool {
    if told <= now {
        return false;
    }
    let precision = TOLD_PRECISION.saturating_add(told.duration_since(now) / 4);
    told.duration_since(expected).abs() <= precision
}

#[cfg(test)]
mod tests;
