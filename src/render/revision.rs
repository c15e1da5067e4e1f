//! What a CronJob runs that no policy says: image, maintenance script, and how this release renders; as one short word.
//!
//! A change of it is a rollout, which goes through the fleet in waves. What a policy asks for is no part of it and has a
//! word of its own, so that an edit is told from a rollout by what stands, and is applied at once.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::batch::v1::CronJob;
use serde_json::json;

use super::cron_job::plain;
use super::{Platform, RenderContext, short_hash, support};
use crate::identity::{Credential, CredentialTarget};
use crate::labels;
use crate::names::{MemberName, ObjectName, Place, PlacedName, PolicyName, RepositoryKey};
use crate::plan::fields;
use crate::plan::fleet::PlanOptions;
use crate::plan::result::Assignment;
use crate::policy::{CaSource, CustomCa, PolicyRecord, PolicyRules};
use crate::schedule::ZoneName;

/// Fields of a policy that show in a CronJob, but in neither its schedule nor its metadata. The image is part of the
/// revision, whoever names it.
const ASKED: [&str; 15] = [
    "cycle",
    "successfulJobsHistoryLimit",
    "failedJobsHistoryLimit",
    "serviceAccountName",
    "priorityClassName",
    "imagePullSecrets",
    "cacheCapacity",
    "resources",
    "podSecurityContext",
    "securityContext",
    "nodeSelector",
    "tolerations",
    "affinity",
    "podLabels",
    "podAnnotations",
];

/// Puts both words into annotations.
pub(super) fn mark(cron_job: &mut CronJob, assignment: &Assignment, context: &RenderContext<'_>) {
    let image = assignment.settings.image.as_deref().unwrap_or(&context.member.image);
    let revision = short_hash::<4>(format!("{} {image}", *RELEASE).as_bytes());
    let annotations = cron_job.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::REVISION.to_owned(), revision);
    annotations.insert(labels::SETTINGS.to_owned(), asked(assignment));
}

/// They decide about schedules alone, which a CronJob shows by themselves.
static OPTIONS: LazyLock<PlanOptions> = LazyLock::new(|| PlanOptions {
    time_zone: ZoneName::utc(),
    default_spread: None,
    hub_member: None,
    member_namespace: Arc::default(),
    handover_after_seconds: 0,
    time_factor: 1,
    endpoint_aliases: BTreeMap::new(),
});

/// Values that are the default are left out: a field that a later release adds changes no word.
fn asked(assignment: &Assignment) -> String {
    let fields = fields::of(&assignment.settings, &OPTIONS);
    let is_asked = |field: &fields::Field| field.from == fields::Origin::Policy && ASKED.contains(&field.name);
    let fields = fields.into_iter().filter(is_asked);
    let fields: Vec<_> = fields.map(|field| json!([field.name, field.value])).collect();
    let credentials: Vec<_> = assignment.credentials.iter().map(|it| format!("{it:?}")).collect();
    let ca = assignment.custom_ca.is_some();
    short_hash::<4>(json!([fields, assignment.connect_arguments, credentials, ca]).to_string().as_bytes())
}

/// Of the script, and of a CronJob in which everything occurs that rendering knows.
static RELEASE: LazyLock<String> = LazyLock::new(|| {
    let platform = Platform {
        proxies: vec![("HTTPS_PROXY".to_owned(), "proxy".to_owned())],
        image_pull_secrets: vec!["registry".to_owned()],
        ..Platform::default()
    };
    let context = RenderContext { hub_id: "hub", namespace: "namespace", member: &platform, epoch: 1, time_factor: 1 };
    let rendered = sample().map(|sample| json!(plain(&sample, &context, false)).to_string()).unwrap_or_default();
    short_hash::<8>(format!("{} {rendered}", support::script_name()).as_bytes())
});

fn sample() -> Option<Assignment> {
    let policy = json!({"metadata": {"name": "policy"}, "spec": {
        "repositorySelector": {"repository": "*"}, "cycle": "Full", "cacheCapacity": "1Gi", "priorityClassName": "class",
        "serviceAccountName": "account", "imagePullSecrets": [{"name": "secret"}], "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists"}], "podLabels": {"a": "b"}, "podAnnotations": {"a": "b"},
        "podSecurityContext": {"runAsUser": 1}, "securityContext": {"runAsUser": 1}, "affinity": {"nodeAffinity": {}}}});
    let rules = PolicyRules { allowed_service_accounts: vec!["account".into()], ..PolicyRules::default() };
    let settings = PolicyRecord::read(&policy, &rules).settings.ok()?;
    let key = "0".repeat(64).parse::<RepositoryKey>().ok()?;
    let object = ObjectName::new("namespace", "secret");
    Some(Assignment {
        member: MemberName::from("member"),
        id: key.id(),
        key,
        policy: PolicyName::from("policy"),
        settings: Arc::clone(&settings),
        schedule: settings.schedule.fix(&key, None).ok()?,
        time_zone: ZoneName::utc(),
        suspend: false,
        secret: PlacedName { place: Place::Member("member".into()), object },
        source: None,
        custom_ca: Some(CustomCa { source: CaSource::Secret("ca".into()), key: "ca.crt".into() }),
        connect_arguments: vec!["s3".to_owned()],
        credentials: vec![
            Credential { key: "A", to: CredentialTarget::Environment("A") },
            Credential { key: "B", to: CredentialTarget::File { name: "b", variable: Some("B") } },
            Credential { key: "C", to: CredentialTarget::File { name: "c", variable: None } },
        ],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_sample_is_one_and_everything_occurs_in_it() {
        let text = json!(plain(
            &sample().unwrap(),
            &RenderContext {
                hub_id: "hub",
                namespace: "namespace",
                member: &Platform::default(),
                epoch: 1,
                time_factor: 1
            },
            false
        ))
        .to_string();
        for part in ["customCA", "secretKeyRef", "/credentials/b", "nodeAffinity", "\"Full\"", "tolerations"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn an_edit_changes_what_is_asked_and_another_image_only_the_revision() {
        let words = |image: &str, change: &dyn Fn(&mut crate::policy::PolicySettings)| {
            let mut assignment = sample().unwrap();
            change(Arc::make_mut(&mut assignment.settings));
            let platform = Platform { image: image.to_owned(), ..Platform::default() };
            let context =
                RenderContext { hub_id: "hub", namespace: "namespace", member: &platform, epoch: 1, time_factor: 1 };
            let mut cron_job = plain(&assignment, &context, false);
            mark(&mut cron_job, &assignment, &context);
            let annotations = cron_job.metadata.annotations.unwrap();
            (annotations[labels::REVISION].clone(), annotations[labels::SETTINGS].clone())
        };
        let before = words("a", &|_| ());
        let other_image = words("b", &|_| ());
        assert!(before.0 != other_image.0 && before.1 == other_image.1);
        assert_eq!(words("a", &|settings| settings.image = Some("b".into())), other_image);
        let edited = words("a", &|settings| settings.node_selector.clear());
        assert!(before.0 == edited.0 && before.1 != edited.1);
        assert_eq!(words("a", &|settings| settings.failover.automatic = true), before, "not what a CronJob shows");
    }
}
