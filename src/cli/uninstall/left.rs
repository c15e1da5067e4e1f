//! What is left to be deleted by hand once the members are retired: in which cluster, in which order.

use crate::api::member_cluster::MemberCluster;
use crate::cli::levers::decide::is_reachable;
use crate::labels;
use crate::status::member::ADOPTED;

/// Namespaces of the hub on its own cluster, and in the members.
pub struct Places {
    pub hub: String,
    pub member: String,
}

/// Everything that the hub has pushed anywhere bears it.
const LABEL: &str = "app.kubernetes.io/managed-by=volsync-hub";

/// `done`: no member that can be reached holds anything.
pub fn left(members: &[MemberCluster], places: &Places, done: bool) -> String {
    let names: Vec<&str> = members.iter().filter_map(|object| object.metadata.name.as_deref()).collect();
    let (reachable, away): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| is_reachable(members, name));
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    let mut say = |title: String, commands: &[String]| steps.push((title, commands.to_vec()));
    let kubectl = |member: &str| format!("kubectl --context {member}");
    let in_members = &places.member;
    if !reachable.is_empty() {
        let looks = |member: &&str| format!("{} get cronjobs,secrets -n {in_members} -l {LABEL}", kubectl(member));
        say(
            "See that the hub is done: this finds nothing in any of the members. Only then go on".to_owned(),
            &reachable.iter().map(looks).collect::<Vec<_>>(),
        );
    }
    for member in &away {
        say(
            format!("{member} can't be reached, and its CronJobs go on. As soon as you reach it, take them away there"),
            &[format!("{} delete cronjobs,jobs,secrets -n {in_members} -l {LABEL}", kubectl(member))],
        );
    }
    let suspended = |name: &str| {
        members.iter().find(|object| object.metadata.name.as_deref() == Some(name)).is_some_and(|object| {
            let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            conditions.iter().any(|it| it.type_ == ADOPTED && it.status == "True")
        })
    };
    for member in away.iter().filter(|member| suspended(member)) {
        say(
            format!(
                "The hub has suspended other tools' maintenance in {member}: this lists what bears its note, to be resumed \
                 there by hand"
            ),
            &[format!(
                "{} get cronjobs,kopiamaintenances.volsync.backube -A -o json | jq -r '.items[] | \
                 select(.metadata.annotations[\"{}\"]) | \"\\(.kind) \\(.metadata.namespace)/\\(.metadata.name)\"'",
                kubectl(member),
                labels::ADOPTED
            )],
        );
    }
    say("The hub itself, with a context of its own cluster".to_owned(), &["kubectl delete -k deploy/hub".to_owned()]);
    let rest = reachable.iter().chain(&away).flat_map(|member| {
        [
            format!("{} delete jobs,configmaps,serviceaccounts -n {in_members} -l {LABEL}", kubectl(member)),
            format!("{} delete -k deploy/member-adopt-foreign --ignore-not-found", kubectl(member)),
            format!("{} delete -k deploy/member", kubectl(member)),
            format!("{} delete secret volsync-hub-token -n {in_members} --ignore-not-found", kubectl(member)),
        ]
    });
    let rest: Vec<String> = rest.collect();
    if !rest.is_empty() {
        say("In each member the script, the account and the hub's rights".to_owned(), &rest);
    }
    let hub = &places.hub;
    say(
        "On the hub's cluster the records and the kubeconfigs; keep them if you may come back".to_owned(),
        &[
            "kubectl delete -f deploy/crds".to_owned(),
            format!("kubectl delete configmap volsync-hub-id -n {hub}"),
            format!("kubectl delete secret -n {hub} -l hub.volsync.backube/member=true"),
            format!("kubectl delete secret volsync-hub-kubeconfigs -n {hub} --ignore-not-found"),
        ],
    );
    let not_yet =
        "not yet: members that can be reached still hold something. Let the hub run, and repeat the command\n\n";
    let mut lines = vec![
        if done { "" } else { not_yet }.to_owned(),
        "left to do, in this order; nothing of it is done by this command\n".to_owned(),
    ];
    for (number, (title, commands)) in (1..).zip(steps) {
        lines.push(format!("\n{number}. {title}\n"));
        lines.extend(commands.iter().map(|command| format!("   {command}\n")));
    }
    lines.push("\nthe names of contexts are those of the MemberClusters here: put in your own\n".to_owned());
    lines.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::levers::testing::member;

    fn places() -> Places {
        Places { hub: "volsync-system".to_owned(), member: "backup".to_owned() }
    }

    #[test]
    fn what_is_left_is_told_in_an_order_in_which_nothing_runs_on_unseen() {
        let members = [member("east", &json!({}), "True"), member("west", &json!({}), "False")];
        let text = left(&members, &places(), true);
        let parts = [
            "1. See that the hub is done",
            "kubectl --context east get cronjobs,secrets -n backup -l app.kubernetes.io/managed-by=volsync-hub",
            "2. west can't be reached",
            "kubectl --context west delete cronjobs,jobs,secrets -n backup -l app.kubernetes.io/managed-by=volsync-hub",
            "3. The hub itself",
            "kubectl delete -k deploy/hub",
            "4. In each member",
            "kubectl --context west delete -k deploy/member",
            "5. On the hub's cluster",
            "kubectl delete -f deploy/crds",
            "kubectl delete configmap volsync-hub-id -n volsync-system",
        ];
        let mut rest = text.as_str();
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { panic!("no {part} in its place in {text}") };
            rest = behind;
        }
        assert!(!text.contains("not yet") && left(&members, &places(), false).starts_with("not yet"));
    }

    #[test]
    fn a_hub_without_members_leaves_its_own_side_alone() {
        let text = left(&[], &places(), true);
        assert!(text.contains("1. The hub itself") && text.contains("2. On the hub's cluster"), "{text}");
        assert!(!text.contains("deploy/member"), "{text}");
    }
}
