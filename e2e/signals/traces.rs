//! The traces of the hub and of the API servers that it talks to meet in one collector.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{NORTH, Stage, cron_job, object, run_by_hand};
use crate::harness::audit::Mark;
use crate::harness::cluster::Cluster;
use crate::harness::collector::Span;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

const JOBS: &str = "/apis/batch/v1/namespaces/volsync-system/jobs";
const TRACEPARENT: &str = "hub.volsync.backube/traceparent";

/// How often an edit is tried, and how long its trace may take to come.
const EDITS_MAX: u8 = 5;
const EDIT_TIME: Duration = Duration::from_secs(12);

/// Everything of the hub in one trace that began with a change of a policy.
struct Edit {
    spans: Vec<Span>,
}

impl Edit {
    /// Edits the schedule of a policy and returns its trace, once that has come whole. Where something else made a look
    /// at the repository due just before, the look goes on there and is linked to the edit: then it is edited again.
    async fn make(stage: &Stage, name: &str, hour: u8, service: &str) -> Result<Self, Fail> {
        let mut last: Fail = "no edit".into();
        for minute in 0..EDITS_MAX {
            let before = stage.collector.spans().len();
            let spec = json!({"spec": {"schedule": format!("{minute} {hour} 1 1 *")}});
            let patch = format!("kubectl patch kopiamaintenance {name} --type merge -p '{spec}'");
            stage.fleet.hub.shell.bash(&patch, &[]).await?.ok()?;
            let what = format!("the trace of an edit of {name} by {service}");
            let whole = wait_for(&what, EDIT_TIME, async || {
                let spans = stage.collector.spans();
                let of_hub: Vec<_> = spans[before..].iter().filter(|it| it.service == service).collect();
                let observed: Vec<_> = of_hub
                    .iter()
                    .filter(|it| it.name == "observed KopiaMaintenance" && it.attribute("k8s.object.name") == name)
                    .collect();
                let of_trace = |trace: &str| -> Vec<Span> {
                    of_hub.iter().filter(|it| it.trace == trace).map(|it| (*it).clone()).collect()
                };
                let wanted = ["PATCH cronjobs", "PUT kopiarepositories/status", "reconcile"];
                let traces: Vec<_> = observed.iter().map(|it| of_trace(&it.trace)).collect();
                let whole = traces.iter().find(|trace| {
                    let has = |name: &&str| trace.iter().any(|it| it.name == *name);
                    wanted.iter().all(has)
                });
                Ok(Seen::some(whole.cloned(), format!("{traces:?}")))
            });
            match whole.await {
                Ok(spans) => return Ok(Self { spans }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn of<'a>(&'a self, service: &'a str, name: &'a str) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(move |it| it.service == service && it.name == name)
    }

    /// From the change to the parts of the look: each the child of the one before.
    fn assert_chain(&self, service: &str) {
        let observed = self.of(service, "observed KopiaMaintenance").next().expect("the change");
        let look = self.of(service, "reconcile").find(|it| it.parent == observed.id).expect("the look");
        assert_eq!(look.attribute("k8s.cluster.name"), NORTH, "{look:?}");
        assert_eq!(look.attribute("volsync_hub.policy"), "traced", "{look:?}");
        let parts: BTreeMap<_, _> =
            self.spans.iter().filter(|it| it.parent == look.id).map(|it| (it.name.as_str(), it)).collect();
        for part in ["plan", "ledger", "act"] {
            assert!(parts.contains_key(part), "no {part} below the look: {parts:?}");
        }
        let push = self.of(service, "PATCH cronjobs").next().expect("a request to the member");
        assert_eq!(push.parent, parts["act"].id, "{push:?}");
        assert_eq!(push.attribute("k8s.cluster.name"), NORTH);
        assert_eq!(push.attribute("k8s.namespace.name"), "volsync-system");
        assert_eq!(push.attribute("http.response.status_code"), "200");
    }

    /// Requests of the trace to both clusters.
    fn requests(&self, service: &str) -> Vec<&Span> {
        let is = |it: &&Span| it.service == service && !it.attribute("http.request.method").is_empty();
        self.spans.iter().filter(is).collect()
    }
}

/// Each request stands in its cluster's audit log under the id on its span, and its cluster's UID is there too.
async fn assert_audited(stage: &Stage, requests: &[&Span]) -> Result<(), Fail> {
    let mut met = BTreeSet::new();
    for request in requests {
        let id = request.attribute("k8s.audit_id");
        let name = request.attribute("k8s.cluster.name");
        let cluster = if name == NORTH { stage.fleet.member(NORTH)? } else { &stage.fleet.hub };
        let entries = cluster.audit().since(Mark::START)?;
        let entry = entries.into_iter().find(|it| it.id == id);
        let entry = entry.unwrap_or_else(|| panic!("{request:?} is not in the audit log of {}", cluster.name));
        assert!(entry.uri.starts_with(request.attribute("url.path")), "{request:?} is not {entry:?}");
        if cluster.name == NORTH {
            assert_eq!(request.attribute("k8s.cluster.uid"), uid(cluster).await?, "{request:?}");
        }
        met.insert(cluster.name.clone());
    }
    assert_eq!(met.len(), 2, "requests to the hub's API server and to the member's: {met:?}");
    Ok(())
}

async fn uid(cluster: &Cluster) -> Result<String, Fail> {
    let namespace = object(&cluster.client, "/api/v1/namespaces/kube-system").await?;
    Ok(namespace["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
}

/// The span that the API server made of a whole request: it is of one trace with those that name the audit id, for they
/// are parts of it, and knows the hub's span as its parent or by a link.
async fn answered(stage: &Stage, request: &Span) -> Result<Span, Fail> {
    let id = request.attribute("k8s.audit_id");
    let what = format!("the API server's span of {} {id}", request.name);
    stage
        .spans(&what, |spans| {
            let of_server = || spans.iter().filter(|it| it.service == "apiserver");
            let part = of_server().find(|it| it.attribute("audit-id") == id).ok_or("no span with the audit id")?;
            let mut whole = of_server().filter(|it| it.trace == part.trace);
            let whole = whole.find(|it| it.parent == request.id || it.links_to(request));
            whole.cloned().ok_or_else(|| format!("{part:?} stands alone"))
        })
        .await
}

#[test]
fn traces_of_hub_and_api_servers_meet_in_one_collector() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _turn = stage.turn().await;
        let (fleet, north) = (&stage.fleet, stage.fleet.member(NORTH)?);
        let place = S3::bucket("traced");
        place.create(fleet).await?;
        objects::backed_up(north, "traced", "traced-repository", &place).await?;
        fleet.hub.shell.apply(&objects::policy_in("traced", &["traced"], "schedule: \"0 3 1 1 *\"")).await?;

        // As ServiceAccounts, whose word on traces no API server follows: it links its spans to the hub's.
        let hub = stage.hub("hub-by-account", &[]).await?;
        stage.repository("traced", "to be maintained", |it| it["grant"]["phase"] == "Active").await?;
        let edit = Edit::make(stage, "traced", 4, "hub-by-account").await?;
        edit.assert_chain("hub-by-account");
        assert!(edit.spans.iter().all(|it| it.protocol == "http"), "{:?}", edit.spans);
        let requests = edit.requests("hub-by-account");
        assert_audited(stage, &requests).await?;
        for request in &requests {
            let answered = answered(stage, request).await?;
            assert!(answered.links_to(request), "{answered:?} is not linked to {request:?}");
            assert_ne!(answered.trace, request.trace);
        }
        run_leads_back(stage, &edit).await?;
        hub.stop()?;

        // With a certificate whose group they trust in this: they go on in the hub's trace.
        let kubeconfigs = trusted(stage).await?;
        let options = [
            ("KUBECONFIG", kubeconfigs.hub.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ];
        let hub = stage.hub_of("hub-by-certificate", Some(kubeconfigs.members), (&[], &options)).await?;
        let edit = Edit::make(stage, "traced", 5, "hub-by-certificate").await?;
        edit.assert_chain("hub-by-certificate");
        let requests = edit.requests("hub-by-certificate");
        assert!(requests.iter().all(|it| it.protocol == "grpc"), "{requests:?}");
        assert_audited(stage, &requests).await?;
        for request in &requests {
            let answered = answered(stage, request).await?;
            assert_eq!((&answered.trace, &answered.parent), (&request.trace, &request.id), "{answered:?}");
        }
        hub.stop()?;
        fleet.hub.shell.kubectl("delete kopiamaintenance traced").await?.ok().map(drop)
    })
}

/// A run of the CronJob leads back to the edit that pushed it, by what it carries, and so does the span of its end.
async fn run_leads_back(stage: &Stage, edit: &Edit) -> Result<(), Fail> {
    let north = stage.fleet.member(NORTH)?;
    let cron_job = cron_job(stage, "traced").await?;
    let carried = &cron_job["metadata"]["annotations"][TRACEPARENT];
    let parts: Vec<_> = carried.as_str().unwrap_or_default().split('-').collect();
    let by = edit.spans.iter().find(|it| parts.len() == 4 && it.trace == parts[1] && it.id == parts[2]);
    let by = by.unwrap_or_else(|| panic!("{carried} is no span of {:?}", edit.spans));
    let template = &cron_job["spec"]["jobTemplate"]["metadata"]["annotations"][TRACEPARENT];
    assert_eq!(template, carried);
    let name = run_by_hand(stage, "traced").await?;
    let ended = |it: &Value| it["runs"][0]["outcome"] == "Succeeded";
    stage.repository("traced", "to have been maintained", ended).await?;
    let job = object(&north.client, &format!("{JOBS}/{name}")).await?;
    assert_eq!(&job["metadata"]["annotations"][TRACEPARENT], carried);
    let run = stage
        .spans("the span of the run", |spans| {
            let found = spans.iter().find(|it| it.service == "hub-by-account" && it.name == "run");
            found.cloned().ok_or_else(|| "none".into())
        })
        .await?;
    assert!(run.links_to(by), "{run:?} does not lead to {by:?}");
    assert_eq!(run.attribute("volsync_hub.outcome"), "Succeeded");
    assert_eq!(run.attribute("k8s.cluster.name"), NORTH);
    Ok(())
}

struct Kubeconfigs {
    hub: String,
    members: PathBuf,
}

/// Certificates of a user in `system:monitoring`, with exactly the rights that the hub's accounts have.
async fn trusted(stage: &Stage) -> Result<Kubeconfigs, Fail> {
    const GROUP: &str = "system:monitoring";
    let (fleet, user) = (&stage.fleet, "volsync-hub");
    let members = fleet.dir.join("trusted");
    std::fs::create_dir_all(&members)?;
    let north = fleet.member(NORTH)?;
    let bindings = [
        (&fleet.hub, "clusterrolebinding volsync-hub"),
        (&fleet.hub, "clusterrolebinding volsync-hub-references"),
        (&fleet.hub, "rolebinding volsync-hub -n volsync-system"),
        (&fleet.hub, "rolebinding volsync-hub-events -n default"),
        (north, "clusterrolebinding volsync-hub-member"),
        (north, "clusterrolebinding volsync-hub-member-secrets"),
        (north, "rolebinding volsync-hub-member -n volsync-system"),
    ];
    for (cluster, binding) in bindings {
        let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user});
        let patch = json!([{"op": "add", "path": "/subjects/-", "value": subject}]);
        cluster.shell.kubectl(&format!("patch {binding} --type json -p {patch}")).await?.ok()?;
    }
    let hub = fleet.dir.join("hub-trusted.kubeconfig");
    fleet.hub.write_certificate_kubeconfig(&hub, user, GROUP)?;
    fleet.member(NORTH)?.write_certificate_kubeconfig(&members.join(format!("{NORTH}.yaml")), user, GROUP)?;
    Ok(Kubeconfigs { hub: hub.display().to_string(), members })
}
