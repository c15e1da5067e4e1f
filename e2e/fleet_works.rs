//! The harness itself: what later tests rely on is true of the control planes that it starts.

use std::time::Duration;

use crate::harness::fleet::{Fleet, HUB_USER};
use crate::harness::kubelet::{Answer, Rule};
use crate::harness::wait::{PATIENCE, Seen, wait_for};
use crate::harness::{self, Fail};

/// A CronJob comes at the next full minute, at the latest.
const NEXT_MINUTE: Duration = Duration::from_secs(90);

const CRON_JOB: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: greeting, namespace: volsync-system}
stringData: {WHO: fleet, file.txt: from a file}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: greeter, namespace: volsync-system}
data:
  greet.sh: |
    echo "hello $WHO, $(cat "$GREETING_DIR/file.txt")"
    test "$(pwd)" != / && touch "$1/made-here" && ls "$1"
    echo "to stderr" >&2
    printf '{"outcome":"Greeted"}' > "$TERMINATION_MESSAGE_PATH"
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: greet, namespace: volsync-system}
spec:
  schedule: "* * * * *"
  timeZone: Europe/Berlin
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      activeDeadlineSeconds: 600
      podReplacementPolicy: Failed
      template:
        metadata: {labels: {test: greet}}
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
          containers:
            - name: greet
              image: example.com/volsync/mover-kopia:v0.17.11
              command: [/bin/bash, /mover/greet.sh]
              args: [/cache]
              env:
                - {name: WHO, valueFrom: {secretKeyRef: {name: greeting, key: WHO}}}
                - {name: ABSENT, valueFrom: {secretKeyRef: {name: greeting, key: ABSENT, optional: true}}}
                - {name: GREETING_DIR, value: /greeting}
                - {name: TERMINATION_MESSAGE_PATH, value: /dev/termination-log}
              securityContext:
                allowPrivilegeEscalation: false
                readOnlyRootFilesystem: true
                capabilities: {drop: [ALL]}
              volumeMounts:
                - {name: mover, mountPath: /mover}
                - {name: cache, mountPath: /cache}
                - {name: greeting, mountPath: /greeting, readOnly: true}
          volumes:
            - {name: mover, configMap: {name: greeter, defaultMode: 0555}}
            - {name: cache, emptyDir: {}}
            - {name: greeting, secret: {secretName: greeting, defaultMode: 0400, items: [{key: file.txt, path: file.txt}]}}
"#;

#[test]
fn a_cron_job_of_a_member_becomes_a_job_whose_pod_runs_its_command() -> Result<(), Fail> {
    harness::run(async {
        let fleet = Fleet::shared().await?;
        let member = fleet.member("member-a")?;
        let mark = member.audit().mark()?;
        member.shell.apply(CRON_JOB).await?;
        let pod = wait_for("the CronJob's Pod to succeed", NEXT_MINUTE, async || {
            let succeeded = "pods -n volsync-system -l test=greet --field-selector=status.phase=Succeeded";
            let name = member.shell.value(succeeded, "{.items[*].metadata.name}").await?;
            Ok(Seen::some((!name.is_empty()).then_some(name), "no Pod that succeeded"))
        })
        .await?;
        let logs = member.shell.kubectl(&format!("logs -n volsync-system {pod}")).await?.ok()?;
        assert_eq!(logs.lines().next(), Some("hello fleet, from a file"));
        assert!(logs.contains("made-here") && logs.contains("to stderr"), "{logs}");
        let last = member.shell.kubectl(&format!("logs -n volsync-system {pod} --tail=1 --timestamps")).await?.ok()?;
        assert_eq!(last.lines().count(), 1);
        let terminated = "{.status.containerStatuses[0].state.terminated.message}";
        let message = member.shell.value(&format!("pod -n volsync-system {pod}"), terminated).await?;
        assert_eq!(message, r#"{"outcome":"Greeted"}"#);
        wait_for("the Job to be complete", PATIENCE, async || {
            let done = member.shell.value("jobs -n volsync-system", "{.items[*].status.succeeded}").await?;
            Ok(Seen::when(done.starts_with('1'), done))
        })
        .await?;
        let made = member.audit().since(mark)?;
        let made = made.iter().find(|one| one.verb == "create" && one.resource == "batch/jobs");
        let made = made.ok_or("the audit log does not tell of the Job")?;
        assert_eq!((made.user.as_str(), made.code), ("system:kube-controller-manager", 201));
        member.shell.kubectl("delete cronjob greet -n volsync-system --wait=true").await?.ok()?;
        wait_for("the Pod to be gone with its CronJob", PATIENCE, async || {
            let left = member.shell.kubectl("get pods -n volsync-system -l test=greet -o name").await?.ok()?;
            Ok(Seen::when(left.is_empty(), left))
        })
        .await
    })
}

/// A Job whose Pod does nothing but has a label of the test's choice.
fn job(name: &str) -> String {
    format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: stand-in}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{test: {name}}}}}
    spec:
      restartPolicy: Never
      containers:
        - {{name: main, image: none, command: [sleep, "600"]}}
"#
    )
}

#[test]
fn a_test_decides_how_a_pod_ends() -> Result<(), Fail> {
    harness::run(async {
        let member = Fleet::shared().await?.member("member-b")?;
        let _ = member.shell.kubectl("create namespace stand-in").await?;
        let answers = [
            ("fails", Answer::exit(3, "because"), "Failed 3 Error because"),
            ("succeeds", Answer::exit(0, "done"), "Succeeded 0 Completed done"),
            ("killed", Answer::OutOfMemory, "Failed 137 OOMKilled "),
        ];
        for (name, answer, _) in &answers {
            member.kubelet.answer(Rule::new("stand-in", &[("test", name)], answer.clone()));
            member.shell.apply(&job(name)).await?;
        }
        for (name, _, expected) in &answers {
            let path = "{.items[0].status.phase} {.items[0].status.containerStatuses[0].state.terminated.exitCode} \
                        {.items[0].status.containerStatuses[0].state.terminated.reason} \
                        {.items[0].status.containerStatuses[0].state.terminated.message}";
            wait_for(&format!("the Pod of {name} to end as told"), PATIENCE, async || {
                let seen = member.shell.value(&format!("pods -n stand-in -l test={name}"), path).await?;
                Ok(Seen::when(seen == *expected, seen))
            })
            .await?;
        }
        Ok(())
    })
}

#[test]
fn a_pod_that_is_deleted_takes_its_processes_along() -> Result<(), Fail> {
    harness::run(async {
        let member = Fleet::shared().await?.member("member-c")?;
        let _ = member.shell.kubectl("create namespace stand-in").await?;
        member.shell.apply(&job("endless").replace("\"600\"", "\"86399\"")).await?;
        let sleeps = async || {
            let found = tokio::process::Command::new("pgrep").args(["-fx", "sleep 86399"]).output().await?;
            Ok::<_, Fail>(String::from_utf8_lossy(&found.stdout).lines().count())
        };
        wait_for("the command to run", PATIENCE, async || Ok(Seen::when(sleeps().await? == 1, "no process"))).await?;
        member.shell.kubectl("delete job endless -n stand-in --wait=true").await?.ok()?;
        wait_for("the command to be killed", PATIENCE, async || Ok(Seen::when(sleeps().await? == 0, "still running")))
            .await
    })
}

#[test]
fn the_hubs_own_account_may_what_its_manifests_say_and_no_more() -> Result<(), Fail> {
    harness::run(async {
        let fleet = Fleet::shared().await?;
        let hub = fleet.hub.shell.with_kubeconfig(&fleet.hub_kubeconfig);
        let who = hub.kubectl("auth whoami -o jsonpath={.status.userInfo.username}").await?.ok()?;
        assert_eq!(who, HUB_USER);
        let mark = fleet.hub.audit().mark()?;
        hub.kubectl("get secrets -n volsync-system").await?.ok()?;
        let refused = hub.kubectl("get secrets -n default").await?.refused()?;
        assert!(refused.contains("forbidden"), "{refused}");
        let seen = fleet.hub.audit().by(HUB_USER, mark)?;
        let seen: Vec<_> = seen.iter().map(|one| (one.verb.as_str(), one.object(), one.code)).collect();
        assert!(seen.contains(&("list", "secrets volsync-system/".into(), 200)), "{seen:?}");
        assert!(seen.contains(&("list", "secrets default/".into(), 403)), "{seen:?}");
        Ok(())
    })
}

#[test]
fn the_hubs_deployment_and_the_logs_of_its_pod_are_there() -> Result<(), Fail> {
    harness::run(async {
        let fleet = Fleet::start("logs", &[]).await?;
        let log = fleet.dir.join("some.log");
        std::fs::write(&log, "KopiaMaintenance nightly: matched 2 sources\n")?;
        let labels = [("app.kubernetes.io/name", "volsync-hub")];
        fleet.hub.kubelet.answer(Rule::new("volsync-system", &labels, Answer::Elsewhere(log)));
        fleet.hub.shell.kubectl("delete pods -n volsync-system --all").await?.ok()?;
        let wait = "rollout status deployment/volsync-hub -n volsync-system --timeout=60s";
        fleet.hub.shell.kubectl(wait).await?.ok()?;
        let command = "kubectl logs -n volsync-system deployment/volsync-hub | grep -i kopiamaintenance";
        let said = fleet.hub.shell.bash(command, &[]).await?.ok()?;
        assert_eq!(said, "KopiaMaintenance nightly: matched 2 sources\n");
        Ok(())
    })
}
