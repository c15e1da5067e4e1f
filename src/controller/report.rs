//! Tells people of policies and members: a turn at once, mere counts and times at most once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::time::Instant;
use tracing::{info, warn};

use super::engine::Engine;
use super::foreign;
use super::member_state::MemberState;
use super::reconcile::EARLY;
use super::world::World;
use crate::api::kopia_maintenance::{ActiveCronJob, KopiaMaintenanceStatus, MatchedSource};
use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::MemberClusterStatus;
use crate::member::event::{ConditionKind, MemberCondition, OwnedKind};
use crate::names::{MemberName, ObjectName, PolicyName, RepositoryId};
use crate::plan::fleet::Contact;
use crate::plan::result::{Push, RepositoryPlan};
use crate::status::conditions::{Wanted, changed};
use crate::status::{member, policy};

/// Two writes of one status are at least this far apart.
const GAP: Duration = Duration::from_secs(1);
/// Where only counts and times differ.
const MINOR_GAP: Duration = Duration::from_mins(1);
const RETRY: Duration = Duration::from_secs(10);

/// Repositories that are planned in one go for a policy's status: less than a millisecond in which nothing else is
/// decided.
const PLANS_AT_ONCE: usize = 64;
/// A policy with more repositories than this is not looked at for each change of one.
const LOOKED_AT_EACH_TIME: usize = 32;

/// After a look at a policy's repositories the next one waits for this many times as long as it took, but no longer than
/// [`LOOK_GAP_MAX`]: with thousands of them, and each of them changing, such looks would be most of what the hub does.
const LOOK_SHARE: u32 = 10;
const LOOK_GAP_MAX: Duration = Duration::from_secs(10);

/// When the status of each object was last written, and when a look at the whole fleet was last taken for it.
#[derive(Debug, Default)]
pub struct Written {
    writes: Mutex<BTreeMap<String, Instant>>,
    /// And how long it took.
    looks: Mutex<BTreeMap<String, (Instant, Duration)>>,
}

impl Written {
    /// How long to wait before the next look at the fleet; zero: now. One for each of a thousand changes would be most of
    /// what the hub does. `asked`: somebody has just edited the object.
    fn before_look(&self, key: &str, asked: bool) -> Duration {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((ended, took)) = looks.get(key) else { return Duration::ZERO };
        let gap = if asked { GAP } else { (*took * LOOK_SHARE).clamp(GAP, LOOK_GAP_MAX) };
        gap.saturating_sub(ended.elapsed())
    }

    fn looked(&self, key: &str, took: Duration) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.insert(key.to_owned(), (Instant::now(), took));
    }

    /// How long to wait before the next write; zero: now. `factor` divides the wait for counts.
    fn wait(&self, key: &str, minor: bool, factor: u32) -> Duration {
        let times = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = if minor { GAP.max(MINOR_GAP / factor.max(1)) } else { GAP };
        times.get(key).map_or(Duration::ZERO, |at| gap.saturating_sub(at.elapsed()))
    }

    fn note(&self, key: &str) {
        let mut times = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        times.insert(key.to_owned(), Instant::now());
    }
}

impl Engine {
    pub(super) async fn report_policy(&self, name: &PolicyName) {
        let key = format!("policy {name}");
        let wait = self.written.before_look(&key, self.is_edited(name));
        if !wait.is_zero() {
            return self.policies.add_after(name.clone(), wait);
        }
        let Some(competes_for) = self.competes_for(name) else {
            self.forget_matches(name);
            return;
        };
        let (many, began) = (competes_for.len() > LOOKED_AT_EACH_TIME, Instant::now());
        let repositories = self.competed(competes_for).await;
        if many {
            self.written.looked(&key, began.elapsed());
        }
        let Some((uid, before, after)) = self.policy_status(name, repositories, Self::now()) else { return };
        if self.world().must_wait_to_tell(name, &before) {
            return self.policies.add_after(name.clone(), EARLY);
        }
        self.log_matches((name, &uid), &before, &after).await;
        if before == after || !self.leads() || !self.settings.share.owns_policy(name) {
            return;
        }
        let wait = self.written.wait(&key, policy::is_minor(&before, &after), self.settings.time_factor);
        if !wait.is_zero() {
            return self.policies.add_after(name.clone(), wait);
        }
        if let Err(error) = self.statuses.write_policy(name.as_str(), &after).await {
            if !self.leads() {
                return;
            }
            warn!(policy = %name, error, "the status was not written");
            return self.policies.add_after(name.clone(), RETRY);
        }
        self.written.note(&key);
        let resource = self.statuses.policy_resource();
        for condition in changed(&before.conditions, &after.conditions) {
            // What is on its way is no trouble yet.
            let good =
                (condition.status == "True") != (condition.type_ == "Degraded") || condition.reason == "Progressing";
            info!(policy = %name, condition = %condition.type_, status = %condition.status, reason = %condition.reason,
                message = %condition.message, matched = after.matched_source_count, "KopiaMaintenance {name}");
            let about = ObjectReference {
                api_version: Some(resource.api_version.clone()),
                kind: Some(resource.kind.clone()),
                name: Some(name.to_string()),
                uid: Some(uid.clone()),
                ..ObjectReference::default()
            };
            self.events.publish(about, good, &condition.reason, &condition.message);
        }
        let mut world = self.world();
        if let (Some(object), Ok(status)) = (world.policies.get_mut(name), serde_json::to_value(&after)) {
            object.status = status;
        }
    }

    /// Its status is of what it said before.
    fn is_edited(&self, name: &PolicyName) -> bool {
        let world = self.world();
        let Some(policy) = world.policies.get(name) else { return false };
        policy.status["observedGeneration"].as_i64() != Some(policy.generation)
    }

    /// None where there is no such policy, or nothing is known yet.
    fn competes_for(&self, name: &PolicyName) -> Option<BTreeSet<RepositoryId>> {
        let mut world = self.world();
        (world.hub_is_read() && world.policies.contains_key(name)).then(|| world.planner.competes_for(name))
    }

    /// How the repositories stand that a policy competes for. Others get their turn in between: what changes meanwhile
    /// brings the policy up again.
    async fn competed(&self, ids: BTreeSet<RepositoryId>) -> Vec<policy::Competed> {
        let ids: Vec<RepositoryId> = ids.into_iter().collect();
        let mut competed = Vec::with_capacity(ids.len());
        for some in ids.chunks(PLANS_AT_ONCE) {
            let now = Self::now();
            {
                let mut world = self.world();
                for id in some {
                    let plan = world.planner.plan(*id, now);
                    competed.extend(plan.map(|plan| self.competed_one(&world, &plan)));
                }
            }
            tokio::task::yield_now().await;
        }
        competed
    }

    fn policy_status(
        &self,
        name: &PolicyName,
        repositories: Vec<policy::Competed>,
        now: Timestamp,
    ) -> Option<(String, KopiaMaintenanceStatus, KopiaMaintenanceStatus)> {
        let mut world = self.world();
        let object = world.policies.get(name)?.clone();
        // A status that does not read was written by something else; it is written anew.
        let before: KopiaMaintenanceStatus = serde_json::from_value(object.status.clone()).unwrap_or_default();
        let (plan, matched) = world.planner.policy(name, policy::LISTED_MAX)?;
        let matched = matched.into_iter().map(|(source, secret)| MatchedSource {
            cluster: source.member.to_string(),
            namespace: source.object.namespace.to_string(),
            name: source.object.name.to_string(),
            repository: secret.to_string(),
        });
        let matched = matched.collect();
        let unread_members = world.members.keys().filter(|member| world.contact(member) != Contact::Synced).count();
        let generation = object.generation;
        let missing_rights = self.missing.borrow().clone();
        let input =
            policy::Input { plan: &plan, generation, matched, repositories, unread_members, missing_rights, now };
        let after = policy::status(&before, &input);
        Some((object.uid, before, after))
    }

    pub(super) async fn report_member(&self, name: &MemberName) {
        let now = Self::now();
        if !self.leads() || !self.writes_to(name) {
            return;
        }
        if self.world().must_wait_to_tell_of(name) {
            return self.members.add_after(name.clone(), EARLY);
        }
        let (registered, secret, known) = {
            let world = self.world();
            let Some(state) = world.members.get(name).filter(|_| world.hub_is_read()) else { return };
            (
                state.origin.is_some(),
                state.origin.as_ref().and_then(|origin| origin.secret().map(str::to_owned)),
                state.cluster.is_some(),
            )
        };
        if !known {
            if registered && let Err(error) = self.statuses.create_member(name.as_str(), secret.as_deref()).await {
                warn!(cluster = %name, error, "a MemberCluster was not made");
                self.members.add_after(name.clone(), RETRY);
            }
            // The watch brings the new object, and its status follows.
            return;
        }
        let key = format!("member {name}");
        let wait = self.written.before_look(&key, false);
        if !wait.is_zero() {
            return self.members.add_after(name.clone(), wait);
        }
        let Some((before, after, about)) = self.member_status(name, now) else { return };
        self.written.looked(&key, Duration::ZERO);
        if before == after {
            return;
        }
        let turned = changed(&before.conditions, &after.conditions);
        let minor = turned.is_empty() && before.observed_generation == after.observed_generation;
        let wait = self.written.wait(&key, minor, self.settings.time_factor);
        if !wait.is_zero() {
            return self.members.add_after(name.clone(), wait);
        }
        if let Err(error) = self.statuses.write_member(name.as_str(), &after).await {
            if !self.leads() {
                return;
            }
            warn!(cluster = %name, error, "the status was not written");
            return self.members.add_after(name.clone(), RETRY);
        }
        self.written.note(&key);
        for condition in turned {
            let good =
                foreign::is_adopted(condition) || (condition.status == "True") != (condition.type_ == "Duplicate");
            info!(cluster = %name, condition = %condition.type_, status = %condition.status, reason = %condition.reason,
                message = %condition.message, "member");
            self.events.publish(about.clone(), good, &condition.reason, &condition.message);
        }
    }

    fn member_status(
        &self,
        name: &MemberName,
        now: Timestamp,
    ) -> Option<(MemberClusterStatus, MemberClusterStatus, ObjectReference)> {
        use kube::Resource;
        let handle = self.supervisor.member(name);
        let world = self.world();
        let (sources, repositories, held) = world.counts(name);
        let state = world.members.get(name)?;
        let cluster = state.cluster.clone()?;
        let before = cluster.status.clone().unwrap_or_default();
        let facts = state.facts.as_deref();
        let mut conditions = member_conditions(state, now);
        let adopted = world.adopted_in(name, &self.settings.hub_id);
        conditions.extend(foreign::adopted(&before.conditions, &adopted));
        let input = member::Input {
            generation: cluster.metadata.generation,
            reachable: world.contact(name) != Contact::Unreachable,
            last_contact: handle.and_then(|handle| handle.last_contact()),
            kubernetes_version: facts.map(|facts| &*facts.kubernetes_version).filter(|version| !version.is_empty()),
            cluster_uid: facts.and_then(|facts| facts.cluster_uid.as_deref()),
            volsync_image: facts.and_then(|facts| facts.mover_image.as_deref()),
            sources,
            repositories,
            held,
            credential_expiry: facts.and_then(|facts| facts.credentials_expire),
            conditions,
        };
        let after = member::status(&before, &input, now);
        Some((before, after, cluster.object_ref(&())))
    }

    fn competed_one(&self, world: &World, plan: &RepositoryPlan) -> policy::Competed {
        let object = world.ledger.get(&plan.id);
        let status = object.and_then(|object: &std::sync::Arc<KopiaRepository>| object.status.as_ref());
        let is = |kind: &str| {
            status.is_some_and(|status| status.conditions.iter().any(|it| it.type_ == kind && it.status == "True"))
        };
        let namespace = &self.settings.member_namespace;
        // Who only observes pushes nothing; what stands from before stays.
        let observed = self.settings.observe || world.planner.is_observed(plan);
        let stands = |cluster: &MemberName| {
            let name = ObjectName::new(namespace.as_str(), plan.id.object_name());
            world.members.get(cluster).is_some_and(|state| state.owned.contains_key(&(OwnedKind::CronJob, name)))
        };
        let active = |cluster: &&MemberName| {
            let wanted = matches!(plan.push, Push::Objects(_));
            plan.found.is_some() || wanted && (!observed || stands(cluster))
        };
        let cron_job = plan.cluster.as_ref().filter(active).map(|cluster| ActiveCronJob {
            cluster: cluster.to_string(),
            namespace: namespace.clone(),
            name: plan.id.object_name(),
        });
        policy::Competed {
            winner: plan.policy.clone(),
            state: plan.state,
            cron_job,
            // It may run; that the last run failed is another matter.
            maintained: status.is_some_and(|status| status.next_run.is_some()),
            overdue: is("Overdue"),
            last_success: status.and_then(|status| status.last_success.as_ref()).map(|time| time.0),
            next_run: status.and_then(|status| status.next_run.as_ref()).map(|time| time.0),
            failing: status.is_some_and(|status| status.consecutive_failures.unwrap_or(0) > 0),
            claim_expected: world.claims.told(plan.id),
        }
    }
}

/// What observers found out, and what is known here only.
fn member_conditions(state: &MemberState, now: Timestamp) -> Vec<Wanted> {
    let wanted = |it: &MemberCondition| Wanted {
        kind: it.kind.as_str(),
        status: it.status,
        reason: it.reason,
        message: it.message.to_string(),
    };
    let mut conditions: Vec<_> = state.conditions.values().map(wanted).collect();
    // What is wrong with a registration says more than that there is none.
    if state.origin.is_none() && !state.conditions.contains_key(&ConditionKind::Reachable) {
        let message = "no registration of this name: no kubeconfig file, and no Secret that names it";
        conditions.insert(0, Wanted::new("Reachable", false, "NotRegistered", message));
    }
    // What is known is not what was read last.
    if let Some(held) = &state.shrink_held {
        conditions.retain(|it| it.kind != "Synced");
        conditions.push(Wanted::new("Synced", false, "ShrinkHeld", held));
    }
    let ended = state.facts.as_ref().and_then(|facts| facts.credentials_expire).filter(|end| *end <= now);
    if let (Some(end), Some(refused)) = (ended, conditions.iter_mut().find(|it| it.reason == "Unauthorized")) {
        refused.message = format!("{}; they ended at {end:.0}", refused.message);
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_waits_a_second_and_mere_counts_a_minute() {
        let written = Written::default();
        assert_eq!(written.wait("policy a", true, 1), Duration::ZERO);
        written.note("policy a");
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!(written.wait("policy a", false, 1), Duration::from_millis(600));
        assert_eq!(written.wait("policy a", true, 1), Duration::from_millis(59_600));
        assert_eq!(written.wait("policy b", true, 1), Duration::ZERO);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(written.wait("policy a", false, 1), Duration::ZERO);
        // Also where every wait is divided, two writes are a second apart.
        written.note("policy a");
        assert_eq!(written.wait("policy a", true, 1000), GAP);
    }
}
