//! Which of our kinds the hub's cluster serves, and under which group policies live there.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ApiResource;
use kube::{Api, Client};

pub const HUB_GROUP: &str = "hub.volsync.backube";
pub const POLICY_GROUP: &str = "volsync.backube";
pub const VERSION: &str = "v1alpha1";

pub fn policy(group: &str) -> ApiResource {
    resource(group, "KopiaMaintenance", "kopiamaintenances")
}

pub fn ledger() -> ApiResource {
    resource(HUB_GROUP, "KopiaRepository", "kopiarepositories")
}

pub fn member_cluster() -> ApiResource {
    resource(HUB_GROUP, "MemberCluster", "memberclusters")
}

pub fn crd_name(resource: &ApiResource) -> String {
    format!("{}.{}", resource.plural, resource.group)
}

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{group}/{VERSION}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// The group under which our policies are installed.
///
/// VolSync itself may serve a namespaced kind of the same group and name; then ours is under the hub's own group.
pub async fn policy_group(client: &Client) -> Result<&'static str, String> {
    if cluster_scoped(client, &policy(HUB_GROUP)).await? == Some(true) {
        return Ok(HUB_GROUP);
    }
    match cluster_scoped(client, &policy(POLICY_GROUP)).await? {
        Some(true) => Ok(POLICY_GROUP),
        Some(false) => Err(format!(
            "the hub's cluster has VolSync's own namespaced {}, which is not the hub's policy kind; install the hub's \
             under its own group: volsync-hub crd --group {HUB_GROUP} | kubectl apply --server-side -f -",
            crd_name(&policy(POLICY_GROUP))
        )),
        None => Err(format!(
            "the hub's cluster does not have the CustomResourceDefinition {}; install the hub's kinds: \
             volsync-hub crd | kubectl apply --server-side -f -",
            crd_name(&policy(POLICY_GROUP))
        )),
    }
}

/// Fails where one of the hub's own kinds is not installed.
pub async fn check_own(client: &Client) -> Result<(), String> {
    for resource in [ledger(), member_cluster()] {
        if cluster_scoped(client, &resource).await? != Some(true) {
            return Err(format!(
                "the hub's cluster does not have the CustomResourceDefinition {}; install the hub's kinds: \
                 volsync-hub crd | kubectl apply --server-side -f -",
                crd_name(&resource)
            ));
        }
    }
    Ok(())
}

/// None: not installed.
async fn cluster_scoped(client: &Client, resource: &ApiResource) -> Result<Option<bool>, String> {
    let name = crd_name(resource);
    let found = Api::<CustomResourceDefinition>::all(client.clone()).get_opt(&name).await;
    match found {
        Ok(crd) => {
            Ok(crd.filter(|crd| crd.metadata.deletion_timestamp.is_none()).map(|crd| crd.spec.scope == "Cluster"))
        }
        Err(error) => {
            Err(format!("failed to read CustomResourceDefinition {name} on the hub: {}", super::told(&error)))
        }
    }
}
