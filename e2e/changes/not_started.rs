//! Claims and runs that never start: no quota, no image, no leave to make a Job. Somebody is told why while it lasts.

use std::time::Duration;

use serde_json::{Value, json};

use super::outcomes::{back_up, run_now};
use super::stage::{LONG, Stage, policy};
use crate::harness::kubelet::{Answer, Rule};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

const PRIORITY_CLASS: &str =
    "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: starved}\nvalue: 1\n";

/// No Pod of this priority class may be made. The scope keeps the quota off the Pods of other journeys.
const QUOTA: &str = "---
apiVersion: v1
kind: ResourceQuota
metadata: {name: starved, namespace: volsync-system}
spec:
  hard: {pods: \"0\"}
  scopeSelector:
    matchExpressions: [{scopeName: PriorityClass, operator: In, values: [starved]}]
";

/// No run of one policy may be made; its claim may.
const ADMISSION: &str = "---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: refused}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [batch], apiVersions: [v1], operations: [CREATE], resources: [jobs]}]
  matchConditions:
    - name: of-the-policy
      expression: object.metadata.?annotations['hub.volsync.backube/policy'].orValue('') == 'refused'
    - name: is-a-run
      expression: object.metadata.?labels['hub.volsync.backube/role'].orValue('') == 'run'
  validations: [{expression: 'false', message: no maintenance on working days}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: refused}
spec: {policyName: refused, validationActions: [Deny]}
";

const YEARLY: &str = "schedule: \"0 3 1 1 *\"";

#[test]
fn what_does_not_start_is_recorded_while_it_lasts_with_the_reason_of_its_events() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _hub = stage.hub.read().await;
        let member = stage.member("member-b")?;
        let places = ["starved", "no-image", "refused", "no-claim"];
        back_up(stage, member, "unstarted", &places.map(str::to_owned)).await?;
        let no_image = |role| Rule::new("volsync-system", &[("case", "no-image"), role], Answer::NoImage);
        member.kubelet.answer(no_image(("hub.volsync.backube/role", "run")));
        let no_claim = [("case", "no-claim")];
        member.kubelet.answer(Rule::new("volsync-system", &no_claim, Answer::NoImage));
        member.shell.apply(PRIORITY_CLASS).await?;
        let policies = [
            policy("starved", "starved", &format!("{YEARLY}\npriorityClassName: starved")),
            policy("no-image", "no-image", &format!("{YEARLY}\npodLabels: {{case: no-image}}")),
            policy("refused", "refused", "schedule: \"* * * * *\""),
            policy("no-claim", "no-claim", &format!("{YEARLY}\npodLabels: {{case: no-claim}}")),
        ];
        stage.fleet.hub.shell.apply(&policies.concat()).await?;
        for place in ["starved", "no-image", "refused"] {
            stage.maintained(place).await?;
        }
        member.shell.apply(&format!("{QUOTA}{ADMISSION}")).await?;
        for place in ["starved", "no-image"] {
            run_now(stage, member, place, "unstarted").await?;
        }

        let pull = "ImagePullBackOff: Failed: Failed to pull image";
        not_started(stage, "starved", "FailedCreate: Error creating: pods").await?;
        not_started(stage, "starved", "exceeded quota: starved").await?;
        not_started(stage, "no-image", pull).await?;
        not_started(stage, "refused", "FailedCreate: Error creating job: ").await?;
        not_started(stage, "refused", "no maintenance on working days").await?;
        let claim = stage
            .repository_when("no-claim", "to have a claim that did not start", |status| {
                let reason = status["notReady"][0]["reason"].as_str().unwrap_or_default();
                reason.starts_with("NotStarted (") && reason.contains(pull)
            })
            .await?;
        assert_eq!(claim["status"]["grant"]["phase"], "Claiming", "{claim}");

        // What was late may start after all; what it ends with takes the place of what was recorded.
        member.shell.kubectl("delete resourcequota starved -n volsync-system").await?.ok()?;
        member.shell.kubectl("delete validatingadmissionpolicybinding refused").await?.ok()?;
        for place in ["starved", "refused"] {
            let patience = LONG + Duration::from_mins(1);
            let seen = wait_for(&format!("a run of {place} to go well"), patience, async || {
                let status = stage.repository(place).await?["status"].clone();
                let done = status["runs"][0]["outcome"] == "Succeeded";
                Ok(if done { Seen::Done(status) } else { Seen::NotYet(status.to_string()) })
            })
            .await?;
            assert_eq!(seen["consecutiveFailures"], 0, "{seen}");
        }
        let runs = stage.repository("starved").await?["status"]["runs"].clone();
        assert_eq!(runs.as_array().map(Vec::len), Some(1), "one Job, one record: {runs}");

        stage.fleet.hub.shell.kubectl("delete kopiamaintenance starved no-image refused no-claim").await?.ok()?;
        member.shell.kubectl("delete validatingadmissionpolicy refused").await?.ok()?;
        member.kubelet.forget(&no_claim);
        Ok(())
    })
}

/// Waits until the ledger's newest run is one that did not start, for this reason.
async fn not_started(stage: &Stage, place: &str, words: &str) -> Result<(), Fail> {
    let is = |status: &Value| {
        let run = &status["runs"][0];
        run["outcome"] == "NotStarted" && run["reason"].as_str().unwrap_or_default().contains(words)
    };
    let seen = stage.repository_when(place, &format!("to have a run that did not start: {words}"), is).await?;
    assert_eq!(seen["status"]["runs"][0]["cluster"], json!("member-b"), "{seen}");
    assert!(seen["status"]["consecutiveFailures"].as_i64().unwrap_or_default() > 0, "{seen}");
    Ok(())
}
