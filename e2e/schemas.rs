//! The API server's own judgement of good and bad objects of the hub's kinds.

use std::path::PathBuf;

use bounds::Broken;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use volsync_hub::api::crd::Kind;
use volsync_hub::api::kopia_repository::{KopiaRepository, KopiaRepositorySpec};
use volsync_hub::status::size::METADATA_MAX;

use crate::harness::cluster::Cluster;
use crate::harness::fleet::Fleet;
use crate::harness::shell::Shell;
use crate::harness::{self, Fail, repository};

mod bounds;

#[test]
fn every_good_object_is_accepted() -> Result<(), Fail> {
    harness::run(async {
        let shell = &Fleet::shared().await?.hub.shell;
        let files = manifests("e2e/manifests/good")?;
        all(join_all(files.iter().map(|file| accepted(shell, file))).await)
    })
}

#[test]
fn what_no_schema_expresses_is_let_in_and_left_to_the_hub() -> Result<(), Fail> {
    harness::run(async {
        let shell = &Fleet::shared().await?.hub.shell;
        let files = manifests("e2e/manifests/invalid")?;
        all(join_all(files.iter().map(|file| accepted(shell, file))).await)
    })
}

#[test]
fn every_bad_object_is_refused_with_the_words_of_its_first_line() -> Result<(), Fail> {
    harness::run(async {
        let shell = &Fleet::shared().await?.hub.shell;
        let files = manifests("e2e/manifests/bad")?;
        all(join_all(files.iter().map(|file| refused(shell, file))).await)
    })
}

#[test]
fn an_object_beyond_any_bound_is_refused_with_its_field_and_what_is_allowed() -> Result<(), Fail> {
    harness::run(async {
        let hub = &Fleet::shared().await?.hub;
        let broken = bounds::broken();
        assert!(broken.len() > 500, "only {} bounds were found", broken.len());
        // As many at once as one API server answers without queueing them.
        let results = stream::iter(&broken).map(|one| beyond(hub, one)).buffer_unordered(16);
        all(results.collect().await)
    })
}

/// Every field of a KopiaRepository's status at once, but `merged`, which is there instead of `grant` and is smaller.
fn everything() -> Value {
    let time = "2030-01-31T08:00:00Z";
    let kinds = ["Maintained", "Overdue", "Contended", "RunNowPending", "Ambiguous", "Replaced"];
    let condition = |kind| {
        json!({"type": kind, "status": "True", "reason": "R", "message": "m", "observedGeneration": 1,
        "lastTransitionTime": time})
    };
    json!({
        "observedGeneration": 1, "backend": "s3", "location": "l", "key": "k", "uniqueID": "u", "state": "Held",
        "reason": "r", "policy": "p", "shadowedPolicies": ["a"], "drain": [{"cluster": "a", "deadlineSeconds": 1, "ids": ["a"], "clearSince": time}],
        "grant": {"cluster": "a", "hub": "h", "clusterUID": "u", "epoch": 1, "phase": "Active", "since": time, "until": time,
            "deadlineSeconds": 1, "highestEpoch": 2, "from": {"cluster": "a", "epoch": 1}},
        "notReady": [{"cluster": "a", "secret": "a/b", "until": time, "reason": "r", "attempts": 1}],
        "clusters": [{"cluster": "a", "sources": 1, "ready": 1}], "clusterCount": 1, "sourceCount": 1,
        "runs": [{"cluster": "a", "outcome": "Failed"}], "lastOutcome": "Failed", "lastSuccess": time, "nextRun": time,
        "consecutiveFailures": 1, "runNowUnderWay": "a", "runNowSeen": "a", "history": [{"epoch": 1, "cluster": "a", "why": "Pinned"}], "conditions": kinds.map(condition),
    })
}

#[test]
fn what_the_api_server_adds_to_a_repository_fits_what_is_set_aside_for_it() -> Result<(), Fail> {
    harness::run(async {
        let hub = &Fleet::shared().await?.hub;
        let api = Api::<KopiaRepository>::all(hub.client.clone());
        let by_hub = PostParams { field_manager: Some("volsync-hub".to_owned()), ..PostParams::default() };
        let mut object = KopiaRepository::new("kr-00000000000000ff", KopiaRepositorySpec::default());
        object = api.create(&by_hub, &object).await?;
        object.status = Some(serde_json::from_value(everything())?);
        api.replace_status("kr-00000000000000ff", &by_hub, &object).await?;
        // An operator's levers make one more manager.
        let levers = json!({"spec": {"cluster": "a", "reason": "r", "runNow": "a", "sameAs": "kr-00000000000000fe"}});
        let object = api.patch("kr-00000000000000ff", &PatchParams::default(), &Patch::Merge(levers)).await?;
        let added = serde_json::to_vec(&object.metadata)?.len();
        assert!(added <= METADATA_MAX, "{added} bytes");
        api.delete("kr-00000000000000ff", &DeleteParams::default()).await?;
        Ok(())
    })
}

async fn beyond(hub: &Cluster, one: &Broken) -> Result<(), Fail> {
    let group = if one.kind == Kind::KopiaMaintenance { "volsync.backube" } else { "hub.volsync.backube" };
    let path = format!("/apis/{group}/v1alpha1/{}?dryRun=All&fieldValidation=Strict", one.kind.plural());
    let request = http::Request::post(path).header("Content-Type", "application/json");
    let said = match hub.client.request::<Value>(request.body(one.object.to_string().into_bytes())?).await {
        Ok(_) => return Err(format!("{}: {}: accepted: {}", one.kind.as_str(), one.field, one.object).into()),
        Err(error) => error.to_string(),
    };
    match [&one.field].into_iter().chain(&one.allowed).find(|words| !said.contains(*words)) {
        None => Ok(()),
        Some(words) => {
            Err(format!("{}: {}: expected {words:?}, and the server said: {said}", one.kind.as_str(), one.field).into())
        }
    }
}

/// Every failure in one message.
fn all(results: Vec<Result<(), Fail>>) -> Result<(), Fail> {
    let failures: Vec<_> = results.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// All manifests of a directory, of which there must be some.
fn manifests(dir: &str) -> Result<Vec<PathBuf>, Fail> {
    let entries = std::fs::read_dir(repository(dir)).map_err(|error| format!("can't read {dir}: {error}"))?;
    let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    if files.is_empty() { Err(format!("no manifests in {dir}").into()) } else { Ok(files) }
}

async fn accepted(shell: &Shell, file: &PathBuf) -> Result<(), Fail> {
    let manifest = std::fs::read_to_string(file)?;
    let output = shell.kubectl_with("create --dry-run=server --validate=strict", &manifest).await?;
    output.ok().map(drop).map_err(|said| format!("{} was refused: {said}", file.display()).into())
}

async fn refused(shell: &Shell, file: &PathBuf) -> Result<(), Fail> {
    let manifest = std::fs::read_to_string(file)?;
    let first = manifest.lines().next().unwrap_or_default();
    let expected =
        first.strip_prefix("# expect: ").ok_or_else(|| format!("{}: line 1 expects nothing", file.display()))?;
    let output = shell.kubectl_with("create --dry-run=server --validate=strict", &manifest).await?;
    let said = output.refused().map_err(|said| format!("{}: {said}", file.display()))?;
    match expected.split(" && ").find(|words| !said.contains(words)) {
        None => Ok(()),
        Some(words) => Err(format!("{}: expected {words:?}, and the server said: {said}", file.display()).into()),
    }
}
