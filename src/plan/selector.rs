//! Which members a policy admits and which sources it matches, one named condition at a time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

use super::fleet::Labels;
use super::glob;
use crate::names::MemberName;
use crate::policy::{ClusterSelector, NamespaceSelector};

/// What a selector policy looks at in one source.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub member: &'a MemberName,
    pub member_labels: &'a Labels,
    pub namespace: &'a str,
    /// None: the member shows no Namespace object, so its labels are unknown.
    pub namespace_labels: Option<&'a Labels>,
    /// The name of the repository Secret.
    pub secret: &'a str,
}

/// A condition that can keep a policy from matching a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    ClusterNames,
    ClusterLabels,
    ClusterExpressions,
    NamespaceNames,
    NamespaceLabels,
    NamespaceExpressions,
    NamespaceExcluded,
    SecretName,
}

impl Condition {
    /// The field of the policy that holds it.
    pub fn field(self) -> &'static str {
        match self {
            Self::ClusterNames => "clusterSelector.matchNames",
            Self::ClusterLabels => "clusterSelector.matchLabels",
            Self::ClusterExpressions => "clusterSelector.matchExpressions",
            Self::NamespaceNames => "repositorySelector.namespaceSelector.matchNames",
            Self::NamespaceLabels => "repositorySelector.namespaceSelector.matchLabels",
            Self::NamespaceExpressions => "repositorySelector.namespaceSelector.matchExpressions",
            Self::NamespaceExcluded => "repositorySelector.namespaceSelector.excludeNames",
            Self::SecretName => "repositorySelector.repository",
        }
    }
}

/// The conditions of a selector policy that a source does not meet; none: the policy matches it.
/// Each is asked only when the iterator gets there.
pub fn unmet<'a>(
    pattern: &'a str,
    namespaces: &'a NamespaceSelector,
    clusters: &'a ClusterSelector,
    subject: Subject<'a>,
) -> impl Iterator<Item = Condition> + 'a {
    let of_cluster = unmet_by_cluster(clusters, subject.member, subject.member_labels);
    // The cheapest and most telling first.
    let checks = [Condition::SecretName, Condition::NamespaceNames, Condition::NamespaceExcluded].into_iter();
    let labels = [Condition::NamespaceLabels, Condition::NamespaceExpressions].into_iter();
    let holds = move |condition: &Condition| match condition {
        Condition::SecretName => glob::matches(pattern, subject.secret),
        Condition::NamespaceNames => {
            namespaces.match_names.is_empty() || contains(&namespaces.match_names, subject.namespace)
        }
        Condition::NamespaceExcluded => !contains(&namespaces.exclude_names, subject.namespace),
        Condition::NamespaceLabels => has_labels(subject.namespace_labels, &namespaces.match_labels),
        Condition::NamespaceExpressions => meets(subject.namespace_labels, &namespaces.match_expressions),
        Condition::ClusterNames | Condition::ClusterLabels | Condition::ClusterExpressions => true,
    };
    checks.chain(labels).filter(move |condition| !holds(condition)).chain(of_cluster)
}

/// Does the policy let this member in? An empty selector admits all.
pub fn admits(clusters: &ClusterSelector, member: &MemberName, labels: &Labels) -> bool {
    unmet_by_cluster(clusters, member, labels).next().is_none()
}

/// No condition at all: admits every member and names none.
pub fn is_empty(clusters: &ClusterSelector) -> bool {
    clusters.match_names.is_empty() && clusters.match_labels.is_empty() && clusters.match_expressions.is_empty()
}

fn unmet_by_cluster<'a>(
    clusters: &'a ClusterSelector,
    member: &'a MemberName,
    labels: &'a Labels,
) -> impl Iterator<Item = Condition> + 'a {
    let holds = move |condition: &Condition| match condition {
        Condition::ClusterNames => {
            let names = &clusters.match_names;
            names.is_empty() || names.iter().any(|pattern| glob::matches(pattern, member.as_str()))
        }
        Condition::ClusterLabels => has_labels(Some(labels), &clusters.match_labels),
        Condition::ClusterExpressions => meets(Some(labels), &clusters.match_expressions),
        _ => true,
    };
    [Condition::ClusterNames, Condition::ClusterLabels, Condition::ClusterExpressions]
        .into_iter()
        .filter(move |condition| !holds(condition))
}

fn contains(names: &[Box<str>], name: &str) -> bool {
    names.iter().any(|candidate| **candidate == *name)
}

/// Unknown labels meet no condition, but where there is no condition there is nothing to meet.
fn has_labels(labels: Option<&Labels>, wanted: &Labels) -> bool {
    wanted.is_empty() || labels.is_some_and(|labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

fn meets(labels: Option<&Labels>, requirements: &[LabelSelectorRequirement]) -> bool {
    requirements.is_empty()
        || labels.is_some_and(|labels| requirements.iter().all(|requirement| meets_one(labels, requirement)))
}

/// As Kubernetes has it: `NotIn` holds also where the label is not there.
fn meets_one(labels: &Labels, requirement: &LabelSelectorRequirement) -> bool {
    let value = labels.get(&requirement.key);
    let listed = || value.is_some_and(|value| requirement.values.iter().flatten().any(|listed| listed == value));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}
