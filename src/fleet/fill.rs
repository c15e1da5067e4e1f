//! The objects of a large simulated fleet, made from its scheme.

use std::collections::BTreeSet;
use std::io;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::scheme::{ENDPOINT, RepositoryPlan, Scheme, SourcePlan};
use crate::demo::standing::{self, apply};
use crate::sim::{Actor, SimCluster};

pub const SOURCES: (&str, &str) = ("volsync.backube", "replicationsources");
pub const SECRETS: (&str, &str) = ("", "secrets");
pub const NAMESPACES: (&str, &str) = ("", "namespaces");
const VOLSYNC_NAMESPACE: &str = "volsync-system";
/// Everything is as old, so that the same seed makes the same objects.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// One policy for all: once a day, each repository at a minute of its own.
pub fn hub(cluster: &SimCluster) -> io::Result<()> {
    let actor = cluster.actor("fleet");
    standing::definitions_of_hub(&actor)?;
    apply(&actor, &namespace(VOLSYNC_NAMESPACE))?;
    apply(
        &actor,
        &json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance", "metadata": {"name": "all"},
            "spec": {"repositorySelector": {"repository": "*"}, "schedule": "H H * * *"}}),
    )
}

pub fn member(scheme: &Scheme, index: usize, cluster: &SimCluster) -> io::Result<()> {
    let actor = cluster.actor("fleet");
    load(&actor, namespace(VOLSYNC_NAMESPACE))?;
    standing::volsync(&actor)?;
    for number in 0..scheme.namespaces() {
        load(&actor, namespace(&scheme.namespace(number * super::scheme::SOURCES_A_NAMESPACE)))?;
    }
    let mut secrets = BTreeSet::new();
    for number in 0..scheme.sources {
        let plan = scheme.source(index, number);
        if secrets.insert((plan.namespace.clone(), plan.repository)) {
            load(&actor, secret(&scheme.repository(plan.repository), &plan.namespace))?;
        }
        load(&actor, source(scheme, &plan))?;
    }
    Ok(())
}

fn load(actor: &Actor, object: Value) -> io::Result<()> {
    let named = format!("{} {}", object["kind"], object["metadata"]["name"]);
    actor.load(object).map_err(|refused| io::Error::other(format!("put {named} into the simulated fleet: {refused}")))
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "creationTimestamp": CREATED, "labels": {"simulated": "fleet"}}})
}

fn secret(repository: &RepositoryPlan, namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": repository.secret, "namespace": namespace, "creationTimestamp": CREATED},
        "stringData": {"KOPIA_REPOSITORY": repository.url, "KOPIA_PASSWORD": repository.password,
            "AWS_S3_ENDPOINT": ENDPOINT, "AWS_ACCESS_KEY_ID": "simulated", "AWS_SECRET_ACCESS_KEY": "simulated"}})
}

/// With the fields that VolSync and whoever applied it leave in a source, for it is these that a hub has to read.
pub fn source(scheme: &Scheme, plan: &SourcePlan) -> Value {
    let (hour, minute) = (plan.minute / 60, plan.minute % 60);
    let last = format!("2026-01-01T{hour:02}:{minute:02}:00Z");
    json!({
        "apiVersion": "volsync.backube/v1alpha1",
        "kind": "ReplicationSource",
        "metadata": {"name": plan.name, "namespace": plan.namespace, "creationTimestamp": CREATED,
            "labels": {"app.kubernetes.io/name": plan.name, "app.kubernetes.io/managed-by": "argocd"},
            "managedFields": *MANAGED},
        "spec": {
            "sourcePVC": plan.name,
            "trigger": {"schedule": format!("{minute} {hour} * * *")},
            "kopia": {
                "repository": scheme.repository(plan.repository).secret,
                "retain": {"hourly": 24, "daily": 7, "weekly": 4, "monthly": 12},
                "compression": "zstd",
                "copyMethod": "Snapshot",
                "cacheCapacity": "10Gi",
                "moverSecurityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
            },
        },
        "status": {
            "lastSyncTime": last,
            "lastSyncDuration": "31.416s",
            "nextSyncTime": last.replacen("01-01", "01-02", 1),
            "latestMoverStatus": {"result": "Successful", "logs": "Created snapshot in 12s\nRetention policy applied"},
            "conditions": [{"type": "Synchronizing", "status": "False", "reason": "WaitingForSchedule",
                "message": "Waiting for next scheduled synchronization", "lastTransitionTime": last}],
        },
    })
}

/// Who wrote a source: the same for all.
static MANAGED: LazyLock<Value> = LazyLock::new(|| {
    let entry = |manager: &str, operation: &str, subresource: &str, fields: Value| {
        json!({"manager": manager, "operation": operation, "subresource": subresource, "time": CREATED,
            "apiVersion": "volsync.backube/v1alpha1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    json!([
        entry(
            "argocd-controller",
            "Apply",
            "",
            json!({
            "f:metadata": {"f:labels": {"f:app.kubernetes.io/managed-by": {}, "f:app.kubernetes.io/name": {}}},
            "f:spec": {"f:kopia": {"f:cacheCapacity": {}, "f:compression": {}, "f:copyMethod": {},
                "f:moverSecurityContext": {"f:fsGroup": {}, "f:runAsGroup": {}, "f:runAsUser": {}},
                "f:repository": {}, "f:retain": {"f:daily": {}, "f:hourly": {}, "f:monthly": {}, "f:weekly": {}}},
                "f:sourcePVC": {}, "f:trigger": {"f:schedule": {}}}})
        ),
        entry(
            "manager",
            "Update",
            "status",
            json!({
            "f:status": {".": {}, "f:conditions": {}, "f:lastSyncDuration": {}, "f:lastSyncTime": {},
                "f:latestMoverStatus": {".": {}, "f:logs": {}, "f:result": {}}, "f:nextSyncTime": {}}})
        ),
    ])
});
