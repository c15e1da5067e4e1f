//! What a Job and its Pod tell of an outcome, with the mover script's report where it left one.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, Pod};

use super::{Outcome, RunReport};

/// The container of the mover script; others may have been injected beside it.
pub const CONTAINER: &str = "mover";
/// How long after its Job a container may take to start. Pulling an image and finding a node take a minute or two.
pub const START_LIMIT_SECONDS: i64 = 300;
/// Test builds wait less, but no less than a busy machine may take to start anything.
const START_LIMIT_MIN_SECONDS: i64 = 30;
/// What a CronJob's controller says of a Job that the API server refuses.
const JOB_REFUSED: &str = "FailedCreate";
/// What a kubelet says again and again while it waits; another event has the cause.
const BACK_OFF: &str = "BackOff";
const OUT_OF_MEMORY: &str = "OOMKilled";
const DEADLINE: &str = "DeadlineExceeded";
/// The container could not be started at all; Kubernetes reports that as a container that has ended.
const CANNOT_RUN: [&str; 3] = ["ContainerCannotRun", "StartError", "CreateContainerError"];

/// What the Job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Claim,
    Run,
}

/// Where a Job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// No container has started, and none is late.
    Waiting,
    Running {
        since: Option<Timestamp>,
    },
    /// It has ended, or has not started though it should have. In the latter case it may start yet, as long as its
    /// Job is there.
    Ended(Box<RunReport>),
}

impl Role {
    /// The value of the role label, also the first argument of the mover script.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Run => "run",
        }
    }

    fn success(self) -> Outcome {
        match self {
            Self::Claim => Outcome::Claimed,
            Self::Run => Outcome::Succeeded,
        }
    }
}

impl RunReport {
    /// Judges a Job by what is still there of it. `events` are those of its Pod, or of the Job where there is none,
    /// in any order; a Job that should have started before `late_before` and has not is late.
    pub fn from_job(role: Role, job: &Job, pod: Option<&Pod>, events: &[Event], late_before: Timestamp) -> RunState {
        let view = View { role, job, pod, events };
        if let Some(ended) = view.terminated() {
            return RunState::Ended(Box::new(view.of_container(ended)));
        }
        if view.job_condition().is_some() || view.pod_has_failed() {
            return RunState::Ended(Box::new(view.without_container()));
        }
        if let Some(running) = view.container().and_then(|status| status.state.as_ref()?.running.as_ref()) {
            return RunState::Running { since: running.started_at.as_ref().map(|time| time.0) };
        }
        if view.is_late(late_before) {
            return RunState::Ended(Box::new(view.not_started()));
        }
        RunState::Waiting
    }

    /// A CronJob that made no Job for a fire time that is over: what its events have to say of it. None where they
    /// say nothing, for then nobody has tried.
    pub fn of_refused_job(events: &[Event], fire_time: Timestamp) -> Option<Self> {
        let refusals = events.iter().filter(|event| event.reason.as_deref() == Some(JOB_REFUSED));
        let newest = refusals
            .filter(|event| last_seen(event).is_some_and(|at| at >= fire_time))
            .max_by_key(|event| last_seen(event))?;
        Some(Self::plain(Outcome::NotStarted, &told(newest)))
    }
}

/// How long after it was due a Job without a running container counts as not started. `time_factor` is 1 but in test
/// builds.
pub fn start_limit(time_factor: u32) -> SignedDuration {
    let seconds = START_LIMIT_SECONDS / i64::from(time_factor.max(1));
    SignedDuration::from_secs(seconds.max(START_LIMIT_MIN_SECONDS))
}

/// An event that came again counts by the last time.
fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.max(series).or(event.event_time.as_ref().map(|time| time.0))
}

/// A kubelet also warns of the state that it has put a container into: `Error: ErrImagePull`.
fn names_a_cause(event: &Event) -> bool {
    let state = event.message.as_deref().and_then(|message| message.strip_prefix("Error: "));
    event.reason.as_deref() != Some(BACK_OFF) && state.is_none_or(|state| state.contains(' '))
}

fn told(event: &Event) -> String {
    let reason = event.reason.as_deref().unwrap_or("Warning");
    format!("{reason}: {}", event.message.as_deref().unwrap_or_default())
}

struct View<'a> {
    role: Role,
    job: &'a Job,
    pod: Option<&'a Pod>,
    events: &'a [Event],
}

impl<'a> View<'a> {
    fn container(&self) -> Option<&'a ContainerStatus> {
        let statuses = self.pod?.status.as_ref()?.container_statuses.as_ref()?;
        statuses.iter().find(|status| status.name == CONTAINER).or(match statuses.as_slice() {
            [only] => Some(only),
            _ => None,
        })
    }

    fn terminated(&self) -> Option<&'a ContainerStateTerminated> {
        self.container()?.state.as_ref()?.terminated.as_ref()
    }

    /// The condition that says the Job is over.
    fn job_condition(&self) -> Option<&'a JobCondition> {
        let conditions = self.job.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|it| it.status == "True" && (it.type_ == "Complete" || it.type_ == "Failed"))
    }

    fn pod_reason(&self) -> &'a str {
        self.pod.and_then(|pod| pod.status.as_ref()?.reason.as_deref()).unwrap_or_default()
    }

    fn pod_has_failed(&self) -> bool {
        self.pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Failed")
    }

    fn is_past_deadline(&self) -> bool {
        self.pod_reason() == DEADLINE || self.job_condition().is_some_and(|it| it.reason.as_deref() == Some(DEADLINE))
    }

    /// The container has ended: its message says how, unless Kubernetes knows better.
    fn of_container(&self, ended: &ContainerStateTerminated) -> RunReport {
        let message = ended.message.as_deref().unwrap_or_default();
        let reported = RunReport::parse(message).ok();
        let mut report = match reported {
            Some(report) => self.believed(report, ended.exit_code),
            None => self.by_exit(ended),
        };
        report.started = ended.started_at.as_ref().map(|time| time.0);
        report.ended = ended.finished_at.as_ref().map(|time| time.0);
        report
    }

    /// Code 0 belongs to success and to nothing else, and each role has its own success.
    fn believed(&self, mut report: RunReport, exit_code: i32) -> RunReport {
        let success = report.outcome.is_success();
        if success != (exit_code == 0) || (success && report.outcome != self.role.success()) {
            let said = report.outcome;
            report.outcome = Outcome::Failed;
            report.reason = format!("the container ended with code {exit_code} and left {said} as outcome");
        } else if report.outcome == Outcome::Failed && self.is_past_deadline() {
            report.outcome = Outcome::DeadlineExceeded;
        }
        report
    }

    fn by_exit(&self, ended: &ContainerStateTerminated) -> RunReport {
        let reason = ended.reason.as_deref().unwrap_or_default();
        let pod_reason = self.pod_reason();
        if reason == OUT_OF_MEMORY {
            RunReport::plain(Outcome::OutOfMemory, "the container was killed for memory")
        } else if self.is_past_deadline() {
            RunReport::plain(Outcome::DeadlineExceeded, "the Pod was stopped at its deadline")
        } else if CANNOT_RUN.contains(&reason) {
            let message = ended.message.as_deref().unwrap_or_default();
            RunReport::plain(Outcome::NotStarted, &format!("{reason}: {message}"))
        } else if ended.exit_code == 0 {
            RunReport::plain(self.role.success(), "the container ended well and left no details")
        } else if pod_reason.is_empty() {
            let code = ended.exit_code;
            RunReport::plain(Outcome::Failed, &format!("the container ended with code {code} and left no outcome"))
        } else {
            RunReport::plain(Outcome::Failed, &format!("{pod_reason}: {}", self.pod_message()))
        }
    }

    fn pod_message(&self) -> &'a str {
        self.pod.and_then(|pod| pod.status.as_ref()?.message.as_deref()).unwrap_or_default()
    }

    /// The Job or the Pod is over, and there is no end of a container to be seen.
    fn without_container(&self) -> RunReport {
        let condition = self.job_condition();
        let mut report = if condition.is_some_and(|it| it.type_ == "Complete") {
            RunReport::plain(self.role.success(), "the Job is complete, and its Pod is gone")
        } else if !self.has_started() {
            self.not_started()
        } else if self.is_past_deadline() {
            RunReport::plain(Outcome::DeadlineExceeded, "the Job was stopped at its deadline")
        } else if self.pod_has_failed() {
            RunReport::plain(Outcome::Failed, &format!("{}: {}", self.pod_reason(), self.pod_message()))
        } else {
            let reason = condition.and_then(|it| it.reason.as_deref()).unwrap_or("the Job failed");
            RunReport::plain(Outcome::Failed, &format!("{reason}, and its Pod is gone"))
        };
        let status = self.job.status.as_ref();
        report.started = status.and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        report.ended = condition.and_then(|it| it.last_transition_time.as_ref()).map(|time| time.0);
        report
    }

    /// Has there been a container? A Pod that is gone counts as one that had it: the Job counts Pods, not containers.
    fn has_started(&self) -> bool {
        match self.container() {
            Some(status) => {
                let state = status.state.as_ref();
                state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
                    || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
            }
            None if self.pod.is_some() => false,
            None => self.job.status.as_ref().is_some_and(|it| it.failed.unwrap_or(0) + it.succeeded.unwrap_or(0) > 0),
        }
    }

    fn is_late(&self, late_before: Timestamp) -> bool {
        let suspended = self.job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false);
        let status_start = self.job.status.as_ref().and_then(|status| status.start_time.as_ref());
        let due = status_start.or(self.job.metadata.creation_timestamp.as_ref());
        !suspended && due.is_some_and(|due| due.0 <= late_before)
    }

    /// Why there is no container: what the Pod waits for, where it could not be placed, or the newest warning.
    fn not_started(&self) -> RunReport {
        let why = self
            .waiting_reason()
            .or_else(|| self.unschedulable_reason())
            .or_else(|| self.warning())
            .or_else(|| self.pod_has_failed().then(|| format!("{}: {}", self.pod_reason(), self.pod_message())));
        let why = why.unwrap_or_else(|| match self.pod {
            Some(_) => "the Pod has not started its container".to_owned(),
            None => "the Job has no Pod".to_owned(),
        });
        RunReport::plain(Outcome::NotStarted, &why)
    }

    fn waiting_reason(&self) -> Option<String> {
        let waiting = self.container()?.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        // These two are stages on the way, and the reason for staying in them is an event's.
        if matches!(reason, "ContainerCreating" | "PodInitializing") {
            return None;
        }
        // Waiting before it tries again is no cause.
        let cause = if reason.ends_with(BACK_OFF) { self.warning() } else { None };
        Some(format!("{reason}: {}", cause.as_deref().or(waiting.message.as_deref()).unwrap_or_default()))
    }

    fn unschedulable_reason(&self) -> Option<String> {
        let conditions = self.pod?.status.as_ref()?.conditions.as_ref()?;
        let condition = conditions.iter().find(|it| it.type_ == "PodScheduled" && it.status == "False")?;
        let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
        Some(format!("{reason}: {}", condition.message.as_deref().unwrap_or_default()))
    }

    fn warning(&self) -> Option<String> {
        let warnings = self.events.iter().filter(|event| event.type_.as_deref() == Some("Warning"));
        warnings.filter(|event| names_a_cause(event)).max_by_key(|event| last_seen(event)).map(told)
    }
}
