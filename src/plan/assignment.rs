//! Puts together what has to stand in a member for one repository, once member, Secret and policy are chosen.

use super::fleet::{Fleet, PlanOptions, SecretState};
use super::readiness;
use super::result::{Assignment, Candidate};
use crate::identity::{Overrides, Scope};
use crate::names::{RepositoryId, RepositoryKey, SourceKey};
use crate::policy::{PolicyRecord, PolicySettings, PolicyTarget};
use crate::schedule::{FixedSchedule, ScheduleError};

/// None where the Secret can't be read any more; no plan chooses such a one.
pub fn assign(
    fleet: &Fleet,
    options: &PlanOptions,
    (id, key): (RepositoryId, &RepositoryKey),
    winner: &PolicyRecord,
    (candidate, suspend): (&Candidate, bool),
) -> Option<Assignment> {
    let settings = winner.settings.as_ref().ok()?;
    let secret = candidate.secret.clone()?;
    let Some(SecretState::Present(facts)) = fleet.secrets.get(&secret) else { return None };
    let source = candidate
        .source
        .as_ref()
        .and_then(|object| fleet.sources.get(&SourceKey { member: candidate.member.clone(), object: object.clone() }));
    let none = Overrides::default();
    let overrides = source.and_then(|source| source.overrides.as_deref()).unwrap_or(&none);
    let backend = facts.backend(overrides).ok()?;
    let read = |scope: &Scope<'_>| Some((backend.identity(scope).ok()?.key, backend.connect_arguments(scope)));
    let (reached, _) = readiness::in_member(fleet, options, &candidate.member, &secret, read);
    let (secret_key, connect_arguments) = reached?;
    let custom_ca = match (&candidate.source, winner.claim.as_ref().map(|claim| &claim.target)) {
        (None, Some(PolicyTarget::Direct { custom_ca, .. })) => custom_ca.clone(),
        _ => source.and_then(|source| source.custom_ca.as_deref().cloned()),
    };
    Some(Assignment {
        member: candidate.member.clone(),
        id,
        key: secret_key,
        policy: winner.name.clone(),
        settings: settings.clone(),
        schedule: schedule(settings, options, key).ok()?,
        time_zone: settings.time_zone.clone().unwrap_or_else(|| options.time_zone.clone()),
        suspend,
        secret,
        source: candidate.source.clone(),
        custom_ca,
        connect_arguments,
        credentials: backend.credentials(facts),
    })
}

/// The policy's schedule for one repository. The hub's default spread is left out where the schedule has no room
/// for it: the policy did not ask for it.
pub fn schedule(
    settings: &PolicySettings,
    options: &PlanOptions,
    key: &RepositoryKey,
) -> Result<FixedSchedule, ScheduleError> {
    match (settings.spread, options.default_spread) {
        (None, Some(default)) => {
            settings.schedule.fix(key, Some(default)).or_else(|_| settings.schedule.fix(key, None))
        }
        (spread, _) => settings.schedule.fix(key, spread),
    }
}
