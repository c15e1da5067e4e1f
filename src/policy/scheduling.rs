//! Where the Pods may run: what a member's API server would refuse in a CronJob is refused in the policy.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::read::Fields;
use super::{PolicyProblem, syntax};

pub(super) fn node_selector(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    labels(fields, "nodeSelector")
}

/// A map of labels or annotations of the spec.
pub(super) fn labels(fields: &mut Fields<'_>, name: &str) -> BTreeMap<String, String> {
    let labels = fields.get::<BTreeMap<String, String>>(name).unwrap_or_default();
    for key in labels.keys() {
        syntax::check_key(&format!("spec.{name}"), key, fields.problems);
    }
    labels
}

pub(super) fn tolerations(fields: &mut Fields<'_>) -> Vec<core::Toleration> {
    let tolerations = fields.get::<Vec<core::Toleration>>("tolerations").unwrap_or_default();
    for (index, toleration) in tolerations.iter().enumerate() {
        check_toleration(&format!("spec.tolerations[{index}]"), toleration, fields.problems);
    }
    tolerations
}

fn check_toleration(field: &str, toleration: &core::Toleration, problems: &mut Vec<PolicyProblem>) {
    let mut add = |part: &str, message: &str| problems.push(PolicyProblem::new(format!("{field}.{part}"), message));
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let (key, value) = (text(&toleration.key), text(&toleration.value));
    match text(&toleration.operator).as_str() {
        "" | "Equal" if key.is_empty() => add("operator", "must be Exists where key is empty"),
        "" | "Equal" | "Exists" => {}
        _ => add("operator", "supported values: \"Equal\", \"Exists\""),
    }
    if toleration.operator.as_deref() == Some("Exists") && !value.is_empty() {
        add("value", "must be empty where operator is Exists");
    }
    match text(&toleration.effect).as_str() {
        "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
        _ => add("effect", "supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""),
    }
    if toleration.toleration_seconds.is_some() && toleration.effect.as_deref() != Some("NoExecute") {
        add("effect", "must be NoExecute where tolerationSeconds is set");
    }
    if !key.is_empty() {
        syntax::check_name(&format!("{field}.key"), &key, problems);
    }
    syntax::check_label_value(&format!("{field}.value"), &value, problems);
}

pub(super) fn affinity(fields: &mut Fields<'_>) -> Option<core::Affinity> {
    let affinity = fields.get::<core::Affinity>("affinity")?;
    if let Some(nodes) = &affinity.node_affinity {
        check_node_affinity("spec.affinity.nodeAffinity", nodes, fields.problems);
    }
    let (mut required, mut preferred) = (Vec::new(), Vec::new());
    if let Some(pods) = &affinity.pod_affinity {
        let at = "spec.affinity.podAffinity";
        required.push((at, &pods.required_during_scheduling_ignored_during_execution));
        preferred.push((at, &pods.preferred_during_scheduling_ignored_during_execution));
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        let at = "spec.affinity.podAntiAffinity";
        required.push((at, &pods.required_during_scheduling_ignored_during_execution));
        preferred.push((at, &pods.preferred_during_scheduling_ignored_during_execution));
    }
    for (at, terms) in required {
        for (index, term) in terms.iter().flatten().enumerate() {
            check_pod_term(&format!("{at}.{REQUIRED}[{index}]"), term, fields.problems);
        }
    }
    for (at, terms) in preferred {
        for (index, term) in terms.iter().flatten().enumerate() {
            let field = format!("{at}.{PREFERRED}[{index}]");
            check_weight(&field, term.weight, fields.problems);
            check_pod_term(&format!("{field}.podAffinityTerm"), &term.pod_affinity_term, fields.problems);
        }
    }
    Some(affinity)
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn check_node_affinity(field: &str, affinity: &core::NodeAffinity, problems: &mut Vec<PolicyProblem>) {
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        let field = format!("{field}.{REQUIRED}.nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            problems.push(PolicyProblem::new(&field, "must have at least one term"));
        }
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            check_node_term(&format!("{field}[{index}]"), term, problems);
        }
    }
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (index, term) in preferred.enumerate() {
        let field = format!("{field}.{PREFERRED}[{index}]");
        check_weight(&field, term.weight, problems);
        check_node_term(&format!("{field}.preference"), &term.preference, problems);
    }
}

fn check_node_term(field: &str, term: &core::NodeSelectorTerm, problems: &mut Vec<PolicyProblem>) {
    for (index, expression) in term.match_expressions.iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        syntax::check_name(&format!("{field}.key"), &expression.key, problems);
        let count = expression.values.as_ref().map_or(0, Vec::len);
        check_operator(&field, &expression.operator, count, true, problems);
    }
}

fn check_pod_term(field: &str, term: &core::PodAffinityTerm, problems: &mut Vec<PolicyProblem>) {
    syntax::check_name(&format!("{field}.topologyKey"), &term.topology_key, problems);
    for (name, selector) in [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)] {
        if let Some(selector) = selector {
            check_selector(&format!("{field}.{name}"), selector, problems);
        }
    }
}

fn check_selector(field: &str, selector: &LabelSelector, problems: &mut Vec<PolicyProblem>) {
    for (key, value) in selector.match_labels.iter().flatten() {
        syntax::check_key(&format!("{field}.matchLabels"), key, problems);
        syntax::check_label_value(&crate::api::yaml::child(&format!("{field}.matchLabels"), key), value, problems);
    }
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        syntax::check_name(&format!("{field}.key"), &expression.key, problems);
        let count = expression.values.as_ref().map_or(0, Vec::len);
        check_operator(&field, &expression.operator, count, false, problems);
    }
}

fn check_weight(field: &str, weight: i32, problems: &mut Vec<PolicyProblem>) {
    if !(1..=100).contains(&weight) {
        problems.push(PolicyProblem::new(format!("{field}.weight"), "must be between 1 and 100"));
    }
}

/// Nodes also know `Gt` and `Lt`, with one number each.
fn check_operator(field: &str, operator: &str, values: usize, of_node: bool, problems: &mut Vec<PolicyProblem>) {
    let mut add = |part: &str, message: &str| problems.push(PolicyProblem::new(format!("{field}.{part}"), message));
    match operator {
        "In" | "NotIn" if values == 0 => add("values", "must hold at least one value for In and NotIn"),
        "Exists" | "DoesNotExist" if values > 0 => add("values", "must be empty for Exists and DoesNotExist"),
        "Gt" | "Lt" if of_node && values != 1 => add("values", "must hold exactly one number for Gt and Lt"),
        "Gt" | "Lt" if of_node => {}
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ if of_node => {
            add("operator", "supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\"");
        }
        _ => add("operator", "supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\""),
    }
}
