//! Writes the status of policies and members, and makes the MemberClusters of members that have none.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::json;

use super::kinds;
use crate::labels::FIELD_MANAGER;

const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub struct Statuses {
    client: Client,
    policy: ApiResource,
}

impl Statuses {
    /// `group` is the one under which policies live.
    pub fn new(client: Client, group: &str) -> Self {
        Self { client, policy: kinds::policy(group) }
    }

    pub fn policy_resource(&self) -> &ApiResource {
        &self.policy
    }

    pub async fn write_policy(&self, name: &str, status: &impl Serialize) -> Result<(), String> {
        self.write(&self.policy, name, status).await
    }

    pub async fn write_member(&self, name: &str, status: &impl Serialize) -> Result<(), String> {
        self.write(&kinds::member_cluster(), name, status).await
    }

    /// `secret`: the Secret that registers it, where one does. One that is there already is left as it is.
    pub async fn create_member(&self, name: &str, secret: Option<&str>) -> Result<(), String> {
        let resource = kinds::member_cluster();
        let spec = secret.map_or_else(|| json!({}), |secret| json!({"kubeconfigSecretRef": {"name": secret}}));
        let object = DynamicObject::new(name, &resource).data(json!({"spec": spec}));
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let failed = |detail: String| format!("failed to create MemberCluster {name} on the hub: {detail}");
        match tokio::time::timeout(TIMEOUT, api.create(&parameters, &object)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    async fn write(&self, resource: &ApiResource, name: &str, status: &impl Serialize) -> Result<(), String> {
        let api = Api::<DynamicObject>::all_with(self.client.clone(), resource);
        let body = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name},
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let failed =
            |detail: String| format!("failed to write the status of {} {name} on the hub: {detail}", resource.kind);
        match tokio::time::timeout(TIMEOUT, api.patch_status(name, &parameters, &Patch::Apply(&body))).await {
            Ok(Ok(_)) => Ok(()),
            // It was deleted meanwhile.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }
}
