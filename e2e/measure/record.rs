//! What the hub has made, as bodies for a client that makes the same without thinking.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::paths::{CRON_JOBS, JOBS, LEDGER, SECRETS, ours};
use super::wire::Wire;
use crate::harness::Fail;

/// Stand in bodies for what only an answer tells.
pub const VERSION: &str = "@version@";
pub const UID: &str = "@uid@";

/// Everything that one repository takes, in the order of the protocol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// Which of the members.
    pub member: usize,
    /// Of CronJob and copy.
    pub name: String,
    pub policy: String,
    /// Where the Secret is that is copied.
    pub source: String,
    pub ledger: String,
    /// The ledger's status while it is claimed, while former owners are waited for, and in the end.
    pub claiming: String,
    pub draining: String,
    pub active: String,
    pub copy: String,
    pub suspended: String,
    pub job: String,
    pub job_name: String,
    /// The CronJob that may run.
    pub running: String,
}

impl Chain {
    pub fn ledger_path(&self) -> String {
        format!("{LEDGER}/{}", self.ledger)
    }
}

/// Reads everything back, from members in the order of their numbers.
pub async fn read(hub: &Wire, members: &[Wire]) -> Result<Vec<Chain>, Fail> {
    let (ledger, _) = hub.list(LEDGER).await?;
    let ledger: BTreeMap<String, Value> = ledger.into_iter().map(|object| (id_of(&object), object)).collect();
    let mut chains = Vec::new();
    for (number, member) in members.iter().enumerate() {
        let by_name = |objects: Vec<Value>| -> BTreeMap<String, Value> {
            objects.into_iter().map(|object| (name_of(&object), object)).collect()
        };
        let (copies, jobs) =
            (by_name(member.list(&ours(SECRETS)).await?.0), by_name(member.list(&ours(JOBS)).await?.0));
        for cron_job in member.list(&ours(CRON_JOBS)).await?.0 {
            let id = id_of(&cron_job);
            let name = name_of(&cron_job);
            let job_name = format!("{name}-claim-1");
            let found = (ledger.get(&id), copies.get(&name), jobs.get(&job_name));
            let (Some(ledger), Some(copy), Some(job)) = found else {
                return Err(format!("{name}: a part of it is missing").into());
            };
            chains.push(chain(number, ledger, copy, job, &cron_job)?);
        }
    }
    Ok(chains)
}

fn chain(member: usize, ledger: &Value, copy: &Value, job: &Value, cron_job: &Value) -> Result<Chain, Fail> {
    let annotation = |name: &str| {
        let found = &cron_job["metadata"]["annotations"][format!("hub.volsync.backube/{name}")];
        found.as_str().map(str::to_owned).ok_or_else(|| format!("no annotation {name}"))
    };
    let source = annotation("source")?;
    let (_, source) = source.split_once('/').ok_or("no place")?;
    let (namespace, secret) = source.split_once('/').ok_or("no namespace")?;
    let status = |phase: &str| {
        let mut status = ledger.clone();
        status["metadata"] = serde_json::json!({"name": name_of(ledger), "resourceVersion": VERSION});
        status["status"]["grant"]["phase"] = phase.into();
        status.to_string()
    };
    let mut suspended = body(cron_job, "batch/v1", "CronJob");
    suspended["spec"]["suspend"] = true.into();
    let mut running = body(cron_job, "batch/v1", "CronJob");
    running["metadata"]["uid"] = UID.into();
    running["metadata"]["resourceVersion"] = VERSION.into();
    let mut job_body = body(job, "batch/v1", "Job");
    // What the API server adds by itself, and does not take back.
    for pointer in ["/spec", "/spec/template/metadata/labels", "/metadata/labels"] {
        if let Some(map) = job_body.pointer_mut(pointer).and_then(Value::as_object_mut) {
            map.retain(|key, _| key != "selector" && !key.contains("controller-uid") && !key.contains("job-name"));
        }
    }
    Ok(Chain {
        member,
        name: name_of(cron_job),
        policy: annotation("policy")?,
        source: format!("/api/v1/namespaces/{namespace}/secrets/{secret}"),
        ledger: name_of(ledger),
        claiming: status("Claiming"),
        draining: status("Draining"),
        active: status("Active"),
        copy: body(copy, "v1", "Secret").to_string(),
        suspended: suspended.to_string(),
        job: job_body.to_string(),
        job_name: name_of(job),
        running: running.to_string(),
    })
}

/// What one would apply to get this object.
fn body(object: &Value, version: &str, kind: &str) -> Value {
    let mut body = object.clone();
    body["apiVersion"] = version.into();
    body["kind"] = kind.into();
    if let Some(map) = body.as_object_mut() {
        map.remove("status");
    }
    let kept = ["name", "namespace", "labels", "annotations"];
    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.retain(|key, _| kept.contains(&key.as_str()));
    }
    if let Some(annotations) = body["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|key, _| key.starts_with("hub.volsync.backube/"));
    }
    body
}

fn id_of(object: &Value) -> String {
    name_of(object).rsplit('-').next().unwrap_or_default().to_owned()
}

pub fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}
