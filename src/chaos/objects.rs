//! What stands in a member, and how the hub's observers read it. Only what the hub looks at.

use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::Timestamp;

use super::fleet::{Fleet, schedule};
use super::{Alias, Millis, Site, stamp};
use crate::labels;
use crate::member::Guard;
use crate::member::event::{
    CronState, JobRecord, MemberEvent, ObjectCondition, OwnedKind, OwnedObject, PodRecord, Termination,
};
use crate::plan::fleet::{Observation, PushedCronJob};
use crate::render::pod::Permit;

/// Of both, what [`crate::member::apply::Guard`] holds a write against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub uid: u64,
    pub number: u64,
}

impl Version {
    pub fn is(self, guard: &Guard) -> bool {
        *guard.uid == *self.uid.to_string() && *guard.resource_version == *self.number.to_string()
    }
}

/// What the hub wants of a CronJob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronSpec {
    pub epoch: u64,
    pub suspend: bool,
    pub deadline: u32,
    /// Minutes.
    pub period: u32,
    /// By which of its names the copy of the Secret means the repository, which is written with it.
    pub copy: Alias,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronJob {
    pub alias: Alias,
    pub version: Version,
    pub generation: i64,
    pub spec: CronSpec,
    /// By the member's clock.
    pub created: Millis,
    pub last_schedule: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Run {
        cron_job: u64,
    },
    /// A run by hand.
    Manual,
    Claim {
        permit: Permit,
        attempt: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub alias: Alias,
    pub version: Version,
    pub name: Rc<str>,
    pub role: Role,
    pub epoch: u64,
    pub deadline: u32,
    /// By the member's clock.
    pub created: Millis,
    /// How and when it ended.
    pub ended: Option<(bool, Millis)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub alias: Alias,
    pub number: u64,
    pub job: Rc<str>,
    pub created: Millis,
    pub started: Option<Millis>,
    /// Exit code, message and time.
    pub ended: Option<(i32, Rc<str>, Millis)>,
    pub deleting: bool,
}

/// One object as it was at a moment, on its way to a replica; none: gone.
#[derive(Clone, Debug)]
pub enum Snapshot {
    CronJob(Alias, Option<CronJob>),
    /// The name by which the repository's Secret means it.
    Secret(Alias),
    Job(Rc<str>, Option<Job>),
    Pod(u64, Option<Pod>),
}

/// What the copy of the Secret that a CronJob goes with says: a number of its name here, a hash where the hub is real.
pub const COPY: &str = "copy";

type Marks = BTreeMap<Box<str>, Box<str>>;

fn text(number: u64) -> Box<str> {
    number.to_string().into()
}

fn moment(at: Millis) -> Timestamp {
    crate::time::whole_seconds(stamp(at))
}

fn marked(fleet: &Fleet, site: Site, epoch: u64) -> Marks {
    let mut marks = Marks::new();
    marks.insert(labels::EPOCH.into(), text(epoch));
    marks.insert(labels::SOURCE.into(), (*fleet.sources[site]).into());
    marks
}

impl CronJob {
    pub fn owned(&self, fleet: &Fleet, site: Site) -> OwnedObject {
        let mut annotations = marked(fleet, site, self.spec.epoch);
        annotations.insert(COPY.into(), text(self.spec.copy as u64));
        OwnedObject {
            uid: text(self.version.uid),
            resource_version: text(self.version.number),
            generation: self.generation,
            applied_hash: None,
            labels: fleet.labels[self.alias].clone(),
            annotations,
            deleting: false,
            other_managers: Vec::new(),
            cron: Some(CronState {
                schedule: schedule(self.spec.period).into(),
                time_zone: Some("UTC".into()),
                suspend: self.spec.suspend,
                active_deadline_seconds: Some(self.spec.deadline.into()),
                last_schedule: self.last_schedule.map(moment),
                active: Vec::new(),
            }),
        }
    }

    fn pushed(&self, fleet: &Fleet, site: Site) -> PushedCronJob {
        PushedCronJob {
            repository: fleet.ids[self.alias],
            ours: true,
            secret: Some(fleet.secrets[site].clone()),
            schedule: schedule(self.spec.period).into(),
            time_zone: Some("UTC".into()),
            suspend: self.spec.suspend,
        }
    }
}

impl Job {
    fn record(&self, fleet: &Fleet, site: Site) -> JobRecord {
        let mut its_labels = fleet.labels[self.alias].clone();
        let mut annotations = marked(fleet, site, self.epoch);
        let role = match &self.role {
            Role::Run { .. } | Role::Manual => "run",
            Role::Claim { attempt, .. } => {
                annotations.insert(labels::ATTEMPT.into(), attempt.as_str().into());
                "claim"
            }
        };
        its_labels.insert(labels::ROLE.into(), role.into());
        let condition = self.ended.map(|(good, at)| ObjectCondition {
            kind: if good { "Complete" } else { "Failed" }.into(),
            status: "True".into(),
            reason: Box::default(),
            message: Box::default(),
            since: Some(moment(at)),
        });
        let is = |wanted: bool| i32::from(self.ended.is_some_and(|(good, _)| good == wanted));
        JobRecord {
            uid: text(self.version.uid),
            resource_version: text(self.version.number),
            created: Some(moment(self.created)),
            labels: its_labels,
            annotations,
            cron_job: matches!(self.role, Role::Run { .. }).then(|| (*fleet.objects[self.alias].name).into()),
            active_deadline_seconds: Some(self.deadline.into()),
            suspended: false,
            active: i32::from(self.ended.is_none()),
            succeeded: is(true),
            failed: is(false),
            started: Some(moment(self.created)),
            completed: self.ended.filter(|(good, _)| *good).map(|(_, at)| moment(at)),
            conditions: condition.into_iter().collect(),
            deleting: false,
        }
    }
}

impl Pod {
    fn record(&self, fleet: &Fleet) -> PodRecord {
        let phase = match &self.ended {
            Some((0, ..)) => "Succeeded",
            Some(_) => "Failed",
            None if self.started.is_some() => "Running",
            None => "Pending",
        };
        PodRecord {
            uid: text(self.number),
            created: Some(moment(self.created)),
            labels: fleet.labels[self.alias].clone(),
            job: Some((*self.job).into()),
            phase: phase.into(),
            started: self.started.map(moment),
            termination: self.ended.as_ref().map(|(code, message, at)| Termination {
                exit_code: *code,
                signal: None,
                reason: if *code == 0 { "Completed" } else { "Error" }.into(),
                message: (**message).into(),
                started: self.started.map(moment),
                finished: Some(moment(*at)),
            }),
            deleting: self.deleting,
            ..PodRecord::default()
        }
    }
}

impl Snapshot {
    /// What the hub's observers would say of it.
    pub fn events(self, fleet: &Fleet, site: Site) -> Vec<MemberEvent> {
        let member = fleet.names[site].clone();
        let place = |name: &str| fleet.placed(name);
        match self {
            Self::Secret(alias) => vec![fleet.secret(site, alias)],
            Self::CronJob(alias, object) => {
                let name = fleet.objects[alias].clone();
                let record = object.as_ref().map(|it| it.pushed(fleet, site));
                let told = Observation::CronJob { member: member.clone(), name: name.clone(), record };
                let object = object.map(|it| Box::new(it.owned(fleet, site)));
                let owned = MemberEvent::Owned { member, kind: OwnedKind::CronJob, name, object };
                vec![MemberEvent::Observed(told), owned]
            }
            Self::Job(name, job) => {
                let job = job.map(|it| Box::new(it.record(fleet, site)));
                vec![MemberEvent::Job { member, name: place(&name), job }]
            }
            Self::Pod(number, pod) => {
                let pod = pod.map(|it| Box::new(it.record(fleet)));
                vec![MemberEvent::Pod { member, name: place(&format!("pod-{number}")), pod }]
            }
        }
    }
}
