//! The Jobs of runs by hand in a member.

use jiff::Timestamp;

use super::here::Here;
use super::jobs::awaits_pod;
use crate::grant::ManualJob;
use crate::names::{ObjectName, RepositoryId};
use crate::render::cron_job::{manual_name, manual_prefix};

/// The Job of a run by hand. It has ended once what its Pod tells is there, or is not to be had.
pub fn job(here: &Here<'_>, namespace: &str, (id, token): (RepositoryId, &str), now: Timestamp) -> ManualJob {
    let name = ObjectName::new(namespace, manual_name(id, token));
    match here.state.jobs.get(&name) {
        None => ManualJob::Absent,
        Some(job) if job.is_terminal() && !awaits_pod(here.pod_of(&name), job, now) => ManualJob::Ended,
        Some(_) => ManualJob::Running,
    }
}

/// Another one than that of this token has not ended.
pub fn stray(here: &Here<'_>, id: RepositoryId, token: Option<&str>) -> bool {
    let (prefix, named) = (manual_prefix(id), token.map(|token| manual_name(id, token)));
    let is_stray = |name: &str| name.starts_with(&prefix) && named.as_deref() != Some(name);
    here.jobs.iter().any(|(name, job)| is_stray(&name.name) && !job.is_terminal())
}
