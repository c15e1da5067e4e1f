//! The Pod of a claim or a run: the member's own mover image with the hub's script in it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{RenderContext, kopia_owner, object_labels, support};
use crate::identity::CredentialTarget;
use crate::labels;
use crate::plan::fleet::Former;
use crate::plan::result::Assignment;
use crate::policy::Cycle;

const CACHE: &str = "/cache";
const TEMPORARY: &str = "/tmp";
const CREDENTIALS: &str = "/credentials";
const CUSTOM_CA: &str = "/customCA";
const SCRIPT: &str = "/mover";

/// Room for Kopia's caches where the policy names none.
const DEFAULT_CACHE: &str = "8Gi";

/// UID, GID and fsGroup where neither the policy nor the platform says otherwise.
const USER: i64 = 1000;

/// What a Job is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Claim(Permit),
    Run,
}

impl Role {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Claim(_) => "claim",
            Self::Run => "run",
        }
    }
}

/// The right of one claim Job to become Kopia's recorded owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    pub replaces: Replaces,
    /// Unix seconds.
    pub issued: i64,
    pub not_after: i64,
}

/// The recorded owner that a claim may replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// Any that is not this hub's.
    Foreign,
    /// This one of this hub, and no other.
    Exactly(Former),
}

fn replaced(replaces: &Replaces, hub_id: &str) -> String {
    match replaces {
        Replaces::Foreign => "foreign".to_owned(),
        Replaces::Exactly(former) => kopia_owner(former.epoch, &former.cluster, former.id, hub_id),
    }
}

pub(super) fn template(
    assignment: &Assignment,
    context: &RenderContext<'_>,
    role: &Role,
    deadline_seconds: u32,
) -> core::PodTemplateSpec {
    let settings = &assignment.settings;
    let mut pod_labels = settings.pod_labels.clone();
    pod_labels.extend(object_labels(assignment.id, context.hub_id));
    pod_labels.insert(labels::ROLE.to_owned(), role.as_str().to_owned());
    let pull_secrets = settings.image_pull_secrets.iter().map(ToString::to_string);
    let pull_secrets: Vec<_> = pull_secrets
        .chain(context.member.image_pull_secrets.iter().cloned())
        .map(|name| core::LocalObjectReference { name })
        .collect();
    core::PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: some_unless_empty(settings.pod_annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(core::PodSpec {
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            service_account_name: Some(
                settings.service_account_name.as_deref().unwrap_or(support::SERVICE_ACCOUNT).to_owned(),
            ),
            image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
            priority_class_name: settings.priority_class_name.as_deref().map(str::to_owned),
            node_selector: some_unless_empty(settings.node_selector.clone()),
            tolerations: (!settings.tolerations.is_empty()).then(|| settings.tolerations.clone()),
            affinity: settings.affinity.clone(),
            security_context: Some(over(
                pod_security(context.member.openshift),
                settings.pod_security_context.as_ref(),
            )),
            containers: vec![container(assignment, context, role, deadline_seconds)],
            volumes: Some(volumes(assignment)),
            ..core::PodSpec::default()
        }),
    }
}

fn container(
    assignment: &Assignment,
    context: &RenderContext<'_>,
    role: &Role,
    deadline_seconds: u32,
) -> core::Container {
    let settings = &assignment.settings;
    let image = settings.image.as_deref().unwrap_or(&context.member.image);
    let mut arguments = vec![role.as_str().to_owned()];
    arguments.extend(assignment.connect_arguments.iter().cloned());
    core::Container {
        name: crate::outcome::CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec!["/bin/bash".to_owned(), format!("{SCRIPT}/{}", support::SCRIPT_KEY)]),
        args: Some(arguments),
        env: Some(environment(assignment, context, role, deadline_seconds)),
        resources: Some(settings.resources.clone()),
        security_context: Some(over(container_security(), settings.security_context.as_ref())),
        termination_message_path: Some("/dev/termination-log".to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(mounts(assignment)),
        ..core::Container::default()
    }
}

fn environment(
    assignment: &Assignment,
    context: &RenderContext<'_>,
    role: &Role,
    deadline_seconds: u32,
) -> Vec<core::EnvVar> {
    let cycle = match assignment.settings.cycle {
        Cycle::Auto => "Auto",
        Cycle::Full => "Full",
        Cycle::Quick => "Quick",
    };
    let mut plain = vec![
        ("HUB_REPOSITORY", assignment.id.to_string()),
        ("HUB_ID", context.hub_id.to_owned()),
        ("HUB_EPOCH", context.epoch.to_string()),
        ("HUB_OWNER", kopia_owner(context.epoch, &assignment.member, assignment.id, context.hub_id)),
        ("HUB_CYCLE", cycle.to_owned()),
        ("HUB_DEADLINE_SECONDS", deadline_seconds.to_string()),
        ("HUB_CACHE_DIR", CACHE.to_owned()),
        ("HUB_CREDENTIALS_DIR", CREDENTIALS.to_owned()),
        ("HUB_TERMINATION_LOG", "/dev/termination-log".to_owned()),
        ("TMPDIR", TEMPORARY.to_owned()),
        ("HOME", format!("{CACHE}/home")),
        ("HUB_CACHE_MB", cache_megabytes(cache_capacity(assignment)).to_string()),
    ];
    if let Role::Claim(permit) = role {
        plain.extend([
            ("HUB_PERMIT_REPLACES", replaced(&permit.replaces, context.hub_id)),
            ("HUB_PERMIT_ISSUED", permit.issued.to_string()),
            ("HUB_PERMIT_NOT_AFTER", permit.not_after.to_string()),
            ("HUB_READ_BACK_SECONDS", (30 / context.time_factor.max(1)).to_string()),
        ]);
    }
    if assignment.custom_ca.is_some() {
        plain.push(("CUSTOM_CA", format!("{CUSTOM_CA}/{}", super::secret::CA_KEY)));
    }
    let plain = plain.into_iter().map(|(name, value)| variable(name, value));
    let proxies = context.member.proxies.iter().map(|(name, value)| variable(name, value.clone()));
    let secret = assignment.credentials.iter().filter_map(|credential| match &credential.to {
        CredentialTarget::Environment(name) => Some(from_secret(name, credential.key, assignment)),
        CredentialTarget::File { name, variable: Some(path_in) } => {
            Some(variable(path_in, format!("{CREDENTIALS}/{name}")))
        }
        CredentialTarget::File { variable: None, .. } => None,
    });
    plain.chain(proxies).chain(secret).collect()
}

fn cache_capacity(assignment: &Assignment) -> &str {
    assignment.settings.cache_capacity.as_deref().unwrap_or(DEFAULT_CACHE)
}

/// Kopia's own limits are set below the volume's: a Pod whose volume overflows is evicted in mid-run.
fn cache_megabytes(capacity: &str) -> i128 {
    const MEGABYTE: i128 = 1_000_000;
    let size = crate::api::quantity::Quantity::of(&json!(capacity));
    size.map_or(0, |size| size.units() / MEGABYTE)
}

fn variable(name: &str, value: String) -> core::EnvVar {
    core::EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

fn from_secret(name: &str, key: &str, assignment: &Assignment) -> core::EnvVar {
    let selector = core::SecretKeySelector {
        name: assignment.id.object_name(),
        key: key.to_owned(),
        // A key that was there when the plan was made may be gone from the copy by the time a Pod starts;
        // the script then says which one is missing, which is kinder than a Pod that never starts.
        optional: Some(true),
    };
    let value_from = core::EnvVarSource { secret_key_ref: Some(selector), ..core::EnvVarSource::default() };
    core::EnvVar { name: name.to_owned(), value: None, value_from: Some(value_from) }
}

fn files(assignment: &Assignment) -> Vec<core::KeyToPath> {
    let file = |credential: &crate::identity::Credential| match &credential.to {
        CredentialTarget::File { name, .. } => {
            Some(core::KeyToPath { key: credential.key.to_owned(), path: (*name).to_owned(), mode: Some(0o440) })
        }
        CredentialTarget::Environment(_) => None,
    };
    assignment.credentials.iter().filter_map(file).collect()
}

fn volumes(assignment: &Assignment) -> Vec<core::Volume> {
    let empty = |name: &str, size: Option<Quantity>| core::Volume {
        name: name.to_owned(),
        empty_dir: Some(core::EmptyDirVolumeSource { medium: None, size_limit: size }),
        ..core::Volume::default()
    };
    let secret = |name: &str, secret: String, items| core::Volume {
        name: name.to_owned(),
        secret: Some(core::SecretVolumeSource {
            secret_name: Some(secret),
            default_mode: Some(0o440),
            items,
            ..core::SecretVolumeSource::default()
        }),
        ..core::Volume::default()
    };
    let mut volumes = vec![
        empty("cache", Some(Quantity(cache_capacity(assignment).to_owned()))),
        empty("tmp", None),
        core::Volume {
            name: "mover".to_owned(),
            config_map: Some(core::ConfigMapVolumeSource {
                name: support::script_name(),
                default_mode: Some(0o555),
                ..core::ConfigMapVolumeSource::default()
            }),
            ..core::Volume::default()
        },
    ];
    let files = files(assignment);
    if !files.is_empty() {
        volumes.push(secret("credentials", assignment.id.object_name(), Some(files)));
    }
    if assignment.custom_ca.is_some() {
        volumes.push(secret("custom-ca", super::secret::ca_name(assignment.id), None));
    }
    volumes
}

fn mounts(assignment: &Assignment) -> Vec<core::VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| core::VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..core::VolumeMount::default()
    };
    let mut mounts = vec![mount("cache", CACHE, false), mount("tmp", TEMPORARY, false), mount("mover", SCRIPT, true)];
    if !files(assignment).is_empty() {
        mounts.push(mount("credentials", CREDENTIALS, true));
    }
    if assignment.custom_ca.is_some() {
        mounts.push(mount("custom-ca", CUSTOM_CA, true));
    }
    mounts
}

fn pod_security(openshift: bool) -> Value {
    let ids = if openshift { json!({}) } else { json!({"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}) };
    merged(json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}), ids)
}

fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// The policy's context over ours, field by field.
fn over<T: Serialize + DeserializeOwned + Default>(ours: Value, theirs: Option<&T>) -> T {
    let theirs = theirs.and_then(|context| serde_json::to_value(context).ok()).unwrap_or_else(|| json!({}));
    // Both sides come from valid contexts, so the result reads as one again.
    serde_json::from_value(merged(ours, theirs)).unwrap_or_default()
}

fn merged(mut ours: Value, theirs: Value) -> Value {
    if let (Some(ours), Value::Object(theirs)) = (ours.as_object_mut(), theirs) {
        ours.extend(theirs);
    }
    ours
}

fn some_unless_empty(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}
