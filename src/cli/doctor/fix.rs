//! What to do about a reason: a command where there is one. Messages of conditions say more; these say where to begin.

use crate::cli::wrong::Wrong;
use crate::plan::foreign;

/// Of a member, by its name.
pub fn of_member(member: &str, wrong: &Wrong) -> String {
    match wrong.reason.as_str() {
        "NotAnswering" => "check the server address in its kubeconfig, the network between, and the cluster".to_owned(),
        "Unauthorized" => "hand the hub a new kubeconfig: kubeconfigs-example/README.md".to_owned(),
        "InvalidKubeconfig" | "RefusedKubeconfig" => "mend its kubeconfig: kubeconfigs-example/README.md".to_owned(),
        "NotRegistered" => format!(
            "put its kubeconfig back; of a cluster that is gone for good say so: volsync-hub members forget {member}"
        ),
        "MissingRules" | "NotAsked" => format!("kubectl --context {member} apply --server-side -k deploy/member"),
        "TooOld" => "upgrade its Kubernetes to 1.29 or newer".to_owned(),
        "NotInstalled" => "install VolSync there".to_owned(),
        "NamespaceMissing" => format!("kubectl --context {member} create namespace volsync-system"),
        "ShrinkHeld" => "put its sources back, if they were deleted by mistake; else wait".to_owned(),
        "SameCluster" => "remove one of the two registrations".to_owned(),
        "ListFailed" => format!("kubectl describe membercluster {member}"),
        _ => String::new(),
    }
}

/// Of a policy, by its name.
pub fn of_policy(policy: &str, wrong: &Wrong) -> String {
    match wrong.reason.as_str() {
        "InvalidPolicy" => {
            format!("kubectl edit kopiamaintenance {policy}; volsync-hub validate FILE tells of all at once")
        }
        "NoMatchingRepositories" => {
            "volsync-hub plan, and No matching ReplicationSources in docs/troubleshooting.md".to_owned()
        }
        "RunsFail" | "Overdue" => format!("volsync-hub get --policy {policy} --problems -o wide"),
        _ => String::new(),
    }
}

/// Of a repository, by its name; `holder`: the member that has its grant.
pub fn of_repository(name: &str, holder: Option<&str>, wrong: &Wrong) -> String {
    let holder = holder.unwrap_or("MEMBER");
    let explain = format!("volsync-hub explain {name}");
    match wrong.reason.as_str() {
        "InvalidPolicy" => "correct the policy: kubectl describe kopiamaintenance names the field".to_owned(),
        "PinUnsatisfied" | "ContradictingPins" => format!("volsync-hub unpin {name}"),
        "HolderUnreachable" => {
            format!("bring {holder} back, or: volsync-hub failover {name} --force --reason TEXT")
        }
        "MemberUnreachable" => format!("bring {holder} back"),
        "NoPolicy" => format!("write a policy for it; {explain} tells which almost match"),
        "MissingKey" => "add KOPIA_PASSWORD to the Secret that the message names".to_owned(),
        "MissingRules" | "Forbidden" => format!("kubectl --context {holder} apply --server-side -k deploy/member"),
        "NamespaceMissing" => format!("kubectl --context {holder} create namespace volsync-system"),
        "NoMoverImage" => format!("kubectl edit membercluster {holder}: set spec.moverImage"),
        "ClusterSelectorNeeded" => "set clusterSelector in the policy".to_owned(),
        "ForeignMaintainer" => ends_it(&wrong.message),
        "NotOurs" => match foreign::hubs_named(&wrong.message).next() {
            Some(hub) => {
                format!("let one hub alone rule it; if hub {hub} is no more: volsync-hub adopt --from-hub {hub}")
            }
            None => explain,
        },
        "CredentialMismatch" => "give all of its Secrets the same KOPIA_PASSWORD".to_owned(),
        "Ambiguous" => "say which: sameAs or distinctFrom, see docs/identity.md".to_owned(),
        "Recovering" => "restore the status of the KopiaRepository, or wait".to_owned(),
        "RunFailed" => format!(
            "{explain}; its last Job in {holder} says more: Maintenance Jobs failing in docs/troubleshooting.md"
        ),
        _ => explain,
    }
}

/// The command at the end of what is told of another tool.
fn ends_it(message: &str) -> String {
    let command = message.split_once("; this ends it: ").map(|(_, rest)| rest);
    match (command, foreign::hubs_named(message).next()) {
        (Some(command), _) => command.split("; ").next().unwrap_or_default().to_owned(),
        (None, Some(hub)) => {
            format!("let one hub alone rule it; if hub {hub} is no more: volsync-hub adopt --from-hub {hub}")
        }
        (None, None) => String::new(),
    }
}
