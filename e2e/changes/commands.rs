//! Every kubectl command of the reference of KopiaMaintenance, run as it is written there by a real kubectl; only
//! the Deployment has another name here.

use serde_json::json;

use super::stage::{LONG, Stage, cron_job, id, policy};
use crate::harness::cluster::Cluster;
use crate::harness::kubelet::{Answer, Rule};
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail, repository};

const WATCH: &str = "kubectl get kopiamaintenance -w";
const DESCRIBE: &str = "kubectl describe kopiamaintenance production-maintenance";
const CRON_JOBS: &str = "kubectl get cronjobs -n volsync-system \\
  -l volsync.backube/kopia-maintenance=true";
const JOBS: &str = "kubectl get jobs -n volsync-system \\
  -l volsync.backube/kopia-maintenance=true \\
  --sort-by=.metadata.creationTimestamp";
const JOB_LOGS: &str = "kubectl logs -n volsync-system job/<job-name>";
const MATCHED: &str = "kubectl get kopiamaintenance -o custom-columns=\\
  NAME:.metadata.name,\\
  PRIORITY:.spec.priority,\\
  MATCHED:.status.matchedSources[*].name";
const CONTROLLER_LOGS: &str = "kubectl logs -n volsync-system deployment/volsync | \\
  grep -i kopiamaintenance";
const HISTORY: &str = "kubectl get jobs -n volsync-system \\
  -l volsync.backube/kopia-maintenance=true \\
  -o custom-columns=\\
  NAME:.metadata.name,\\
  STATUS:.status.conditions[0].type,\\
  START:.status.startTime,\\
  COMPLETE:.status.completionTime";

/// A command with its continuation lines joined, as whoever retypes it joins them.
fn joined(command: &str) -> String {
    let lines = command.lines().map(|line| line.trim_start().trim_end_matches('\\'));
    lines.collect()
}

async fn run(cluster: &Cluster, command: &str) -> Result<String, Fail> {
    let command = joined(command);
    cluster.shell.bash(&command, &[]).await?.ok().map_err(|said| format!("{command}: {said}").into())
}

/// The cells of the row of a table that begins with a name.
fn row(table: &str, name: &str) -> Result<Vec<String>, Fail> {
    let row = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    let row = row.ok_or_else(|| format!("no row {name} in:\n{table}"))?;
    Ok(row.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn every_command_of_the_reference_works_as_it_is_written() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _hub = stage.hub.read().await;
        let (hub, member) = (&stage.fleet.hub, stage.member("member-b")?);
        let place = S3::bucket("commands");
        place.create(&stage.fleet).await?;
        objects::backed_up(member, "commands", "commands-repository", &place).await?;
        let spec = "schedule: \"0 3 1 1 *\"\npriority: 20";
        hub.shell.apply(&policy("production-maintenance", "commands-repository", spec)).await?;
        let id = id(&stage.maintained("commands").await?);
        wait_for("the CronJob to be let go", LONG, async || {
            let seen = cron_job(member, &id).await?;
            Ok(Seen::when(seen["spec"]["suspend"] == false, seen["spec"].to_string()))
        })
        .await?;
        let name = format!("kopia-maintenance-{id}");
        let create = format!("create job commands-run -n volsync-system --from=cronjob/{name}");
        member.shell.kubectl(&create).await?.ok()?;
        stage
            .repository_when("commands", "to have been maintained", |status| status["lastOutcome"] == "Succeeded")
            .await?;
        stage.policy_condition("production-maintenance", ("Ready", "True", "Reconciled")).await?;
        on_the_hub(stage).await?;
        in_the_member(member, &name).await?;
        as_documented(hub, member, &id).await?;
        hub.shell.kubectl("delete kopiamaintenance production-maintenance").await?.ok()?;
        Ok(())
    })
}

async fn on_the_hub(stage: &Stage) -> Result<(), Fail> {
    let hub = &stage.fleet.hub;
    // A watch shows what is there, and then each change.
    let watch = format!(
        "{WATCH} > \"$SEEN\" & watcher=$!; trap 'kill $watcher' EXIT
         until grep -q '^production-maintenance .* 20 ' \"$SEEN\"; do sleep 0.1; done
         kubectl patch kopiamaintenance production-maintenance --type merge -p '{{\"spec\":{{\"priority\":21}}}}'
         until grep -q '^production-maintenance .* 21 ' \"$SEEN\"; do sleep 0.1; done; cat \"$SEEN\""
    );
    let seen = stage.fleet.dir.join("watch.txt").display().to_string();
    let table = hub.shell.bash(&watch, &[("SEEN", &seen)]).await?.ok()?;
    for column in ["NAME", "SCHEDULE", "PRIORITY", "MATCHED", "LAST", "NEXT", "READY", "AGE"] {
        assert!(table.split_whitespace().any(|word| word == column), "no column {column} in:\n{table}");
    }

    let described = run(hub, DESCRIBE).await?;
    for part in [
        "Schedule:",
        "Matched Sources:",
        "member-b",
        "commands-repository",
        "Next Scheduled Maintenance:",
        "Reconciled",
        "Events:",
    ] {
        assert!(described.contains(part), "no {part} in:\n{described}");
    }
    let events = described.split_once("Events:").map_or("", |(_, events)| events);
    assert!(events.contains("Reconciled") && events.contains("volsync-hub"), "{described}");

    let matched = run(hub, MATCHED).await?;
    assert_eq!(row(&matched, "NAME")?, ["NAME", "PRIORITY", "MATCHED"]);
    assert_eq!(row(&matched, "production-maintenance")?, ["production-maintenance", "21", "data"]);
    // Names of sources repeat from cluster to cluster: the better form says where each is.
    let better = MATCHED.to_owned() + ",CLUSTER:.status.matchedSources[*].cluster";
    assert_eq!(
        row(&run(hub, &better).await?, "production-maintenance")?,
        ["production-maintenance", "21", "data", "member-b"]
    );

    // The hub of the tests is a process of its own; its Pod shows the same log.
    let labels = [("app.kubernetes.io/name", "volsync-hub")];
    let log = stage.fleet.dir.join("volsync-hub.log");
    hub.kubelet.answer(Rule::new("volsync-system", &labels, Answer::Elsewhere(log)));
    hub.shell.kubectl("delete pods -n volsync-system --all").await?.ok()?;
    let wait = "rollout status deployment/volsync-hub -n volsync-system --timeout=60s";
    hub.shell.kubectl(wait).await?.ok()?;
    let said = run(hub, &CONTROLLER_LOGS.replace("deployment/volsync ", "deployment/volsync-hub ")).await?;
    let line = said.lines().find(|line| line.contains("KopiaMaintenance production-maintenance"));
    let line = line.ok_or_else(|| format!("nothing of the policy in:\n{said}"))?;
    assert!(line.contains("matched=1"), "{line}");
    Ok(())
}

async fn in_the_member(member: &Cluster, cron_job: &str) -> Result<(), Fail> {
    let cron_jobs = run(member, CRON_JOBS).await?;
    let cells = row(&cron_jobs, cron_job)?;
    assert_eq!(cells[1..6].join(" "), "0 3 1 1 *", "{cron_jobs}");
    assert!(cells.contains(&"False".to_owned()), "{cron_jobs}");

    let jobs = run(member, JOBS).await?;
    let at = |name: &str| {
        let found = jobs.lines().position(|line| line.split_whitespace().next() == Some(name));
        found.ok_or_else(|| Fail::from(format!("no {name} in:\n{jobs}")))
    };
    assert!(at(&format!("{cron_job}-claim-1"))? < at("commands-run")?, "not by age:\n{jobs}");

    let history = run(member, HISTORY).await?;
    assert_eq!(row(&history, "NAME")?, ["NAME", "STATUS", "START", "COMPLETE"]);
    let cells = row(&history, "commands-run")?;
    // The first condition is not the one that says how it ended; the better form asks for that one by its type.
    assert_eq!(cells[1], "SuccessCriteriaMet", "{history}");
    assert!(cells[2..].iter().all(|time| time.parse::<jiff::Timestamp>().is_ok()), "{history}");
    let better = "kubectl get jobs -n volsync-system commands-run \
                  -o jsonpath='{.status.conditions[?(@.status==\"True\")].type}'";
    assert!(run(member, better).await?.split_whitespace().any(|kind| kind == "Complete"));

    let logs = run(member, &JOB_LOGS.replace("<job-name>", "commands-run")).await?;
    let last = logs.lines().last().unwrap_or_default();
    assert!(last.contains("Succeeded: quick and full maintenance went well"), "{logs}");
    assert!(!logs.contains(objects::PASSWORD) && !logs.contains(objects::SECRET_KEY), "{logs}");
    let message = member
        .shell
        .value(
            "pods -n volsync-system -l job-name=commands-run",
            "{.items[0].status.containerStatuses[0].state.terminated.message}",
        )
        .await?;
    let message: serde_json::Value = serde_json::from_str(&message)?;
    assert_eq!(message["outcome"], json!("Succeeded"));
    Ok(())
}

/// What troubleshooting tells a reader to type, on the cluster that it is about, with the names of what is here.
async fn as_documented(hub: &Cluster, member: &Cluster, id: &str) -> Result<(), Fail> {
    let page = std::fs::read_to_string(repository("docs/troubleshooting.md"))?;
    let ids = regex::Regex::new("(kr-|kopia-maintenance-)[0-9a-f]{16}")?;
    let commands = page.lines().map(|line| line.strip_prefix("$ ").unwrap_or(line));
    // No stand-in has a shell in its containers, and no registration here is broken.
    let commands =
        commands.filter(|line| line.starts_with("kubectl ") && !line.contains("exec") && !line.contains("can't"));
    let mut ran = 0;
    for command in commands {
        let command = ids.replace_all(command, format!("${{1}}{id}")).replace(" NAME ", " production-maintenance ");
        let command = command.replace("=ID ", &format!("={id} "));
        // Not everybody who runs the tests has a program for columns.
        let command = command.replace(" | column -t", "");
        let of_member = ["get jobs", "get cronjobs", "job/"].iter().any(|what| command.contains(what));
        let cluster = if of_member { member } else { hub };
        let said = run(cluster, &command).await?;
        assert!(!said.is_empty() || command.contains("get events"), "{command} printed nothing");
        if command.contains("CLUSTER:") || command.contains("@tsv") {
            assert!(said.contains("member-b"), "{command} names no cluster:\n{said}");
        }
        if command.contains("COMPLETE:") {
            assert_eq!(row(&said, "commands-run")?[1], "True", "{said}");
        }
        ran += 1;
    }
    assert!(ran >= 12, "only {ran} commands were found");
    Ok(())
}
