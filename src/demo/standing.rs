//! What stands in every simulated fleet, small or large: the definitions of the hub's kinds, and VolSync.

use std::io;

use serde_json::{Value, json};

use crate::sim::Actor;

/// Who was the recorded owner of every repository before: what a backup's own mover leaves.
pub const FORMER_OWNER: &str = "maintenance@volsync";
const MOVER_IMAGE: &str = "registry.example.com/volsync-mover-kopia:0.22";

pub fn apply(actor: &Actor, object: &Value) -> io::Result<()> {
    actor.apply(object).map(|_| ()).map_err(|refused| {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        io::Error::other(format!("put {kind} {name} into the simulated fleet: {refused}"))
    })
}

pub fn yaml(text: &str) -> io::Result<Value> {
    serde_saphyr::from_str(text).map_err(|error| io::Error::other(format!("read YAML of the simulated fleet: {error}")))
}

/// The kinds that the hub serves.
pub fn definitions_of_hub(actor: &Actor) -> io::Result<()> {
    for definition in [
        include_str!("../../deploy/crds/kopiamaintenances.yaml"),
        include_str!("../../deploy/crds/kopiarepositories.yaml"),
        include_str!("../../deploy/crds/memberclusters.yaml"),
    ] {
        apply(actor, &yaml(definition)?)?;
    }
    Ok(())
}

/// VolSync's kind and its Deployment in a member that has the namespace `volsync-system`.
pub fn volsync(actor: &Actor) -> io::Result<()> {
    apply(actor, &yaml(REPLICATION_SOURCES)?)?;
    apply(actor, &deployment())
}

/// VolSync's own Deployment, which says which mover it uses.
fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "volsync", "namespace": "volsync-system"},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": "volsync"}},
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": "volsync"}},
                "spec": {"containers": [{
                    "name": "manager",
                    "image": "registry.example.com/volsync:0.17",
                    "env": [{"name": "RELATED_IMAGE_KOPIA_CONTAINER", "value": MOVER_IMAGE}],
                }]},
            },
        },
    })
}

/// VolSync's kind, as open as a simulated fleet needs it.
const REPLICATION_SOURCES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: replicationsources.volsync.backube}
spec:
  group: volsync.backube
  scope: Namespaced
  names: {kind: ReplicationSource, listKind: ReplicationSourceList, plural: replicationsources, singular: replicationsource}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Source, type: string, jsonPath: .spec.sourcePVC}
    - {name: Last sync, type: string, jsonPath: .status.lastSyncTime}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
";
