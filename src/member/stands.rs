//! What a consistent list shows of a repository in a member: never from a cache, neither the hub's nor the API server's.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::{ObjectList, Request};
use serde::de::DeserializeOwned;

use super::call::{CallError, Member, Operation};
use crate::labels;
use crate::names::RepositoryId;

impl Member {
    /// Of this hub's repositories by any of these ids: is every CronJob suspended, and has every Job and Pod ended?
    /// Reads CronJobs before what they make, and Jobs before their Pods.
    pub async fn is_clear(&self, hub: &str, namespace: &str, ids: &[RepositoryId]) -> Result<bool, CallError> {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        let selector = format!("{}={hub},{} in ({})", labels::HUB, labels::REPOSITORY, ids.join(","));
        let cron_jobs: Vec<CronJob> = self.all_of("/apis/batch/v1", "cronjobs", namespace, &selector).await?;
        let jobs: Vec<Job> = self.all_of("/apis/batch/v1", "jobs", namespace, &selector).await?;
        let pods: Vec<Pod> = self.all_of("/api/v1", "pods", namespace, &selector).await?;
        let suspended = |it: &CronJob| it.spec.suspend == Some(true);
        Ok(cron_jobs.iter().all(suspended) && jobs.iter().all(has_ended) && pods.iter().all(pod_has_ended))
    }

    async fn all_of<T: DeserializeOwned + Clone>(
        &self,
        root: &str,
        plural: &str,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<T>, CallError> {
        let operation = Operation::list(format!("{plural} of a repository in namespace {namespace}"));
        // Without a resourceVersion the API server answers with what is written, not with what it remembers.
        let parameters = ListParams { label_selector: Some(selector.to_owned()), ..ListParams::default() };
        let request = Request::new(format!("{root}/namespaces/{namespace}/{plural}")).list(&parameters);
        let text = self.text(&operation, request).await?;
        let list: ObjectList<T> = self.parse(&operation, &text)?;
        Ok(list.items)
    }
}

fn has_ended(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ends = |kind: &str| kind == "Complete" || kind == "Failed";
    conditions.into_iter().any(|condition| ends(&condition.type_) && condition.status == "True")
}

fn pod_has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
