//! What a policy lays claim to. It is told for sure or not at all: a typo in a selector must not widen it.

use serde_json::Value;

use super::read::Fields;
use super::{CaSource, ClusterSelector, CustomCa, NamespaceSelector, PolicyClaim, PolicyTarget, syntax};
use crate::api::kopia_maintenance::{
    ClusterSelection, CustomCaSpec, DEFAULT_CA_KEY, DirectRepository, NamespaceSelection, RepositorySelector,
};
use crate::api::shapes::LabelExpression;
use crate::names::{MemberName, ObjectName};

const SELECTOR: &str = "spec.repositorySelector";
const DIRECT: &str = "spec.repository";
const CLUSTERS: &str = "spec.clusterSelector";
/// A wrong CA spoils the settings, but leaves no doubt about which repository is meant.
const CUSTOM_CA: &str = "spec.repository.customCA";

pub(super) fn read(fields: &mut Fields<'_>) -> Option<PolicyClaim> {
    check_label_keys(fields);
    let deciding = |field: &str| [SELECTOR, CLUSTERS, "spec.priority"].contains(&field) || field == DIRECT;
    let doubtful = fields.problems.iter().any(|problem| {
        let top = problem.field.split(['.', '[']).take(2).collect::<Vec<_>>().join(".");
        deciding(&top) && !problem.is_within(CUSTOM_CA)
    });
    let one = fields.spec.contains_key("repositorySelector") != fields.spec.contains_key("repository");
    if doubtful || !one {
        return None;
    }
    let clusters = fields.get::<ClusterSelection>("clusterSelector").map(ClusterSelector::from).unwrap_or_default();
    let priority = fields.get::<i32>("priority").unwrap_or(0);
    let target = selector(fields).or_else(|| direct(fields))?;
    Some(PolicyClaim { priority, clusters, target })
}

fn selector(fields: &mut Fields<'_>) -> Option<PolicyTarget> {
    let selector = fields.get::<RepositorySelector>("repositorySelector")?;
    let namespaces = selector.namespace_selector.map(NamespaceSelector::from).unwrap_or_default();
    Some(PolicyTarget::Selector { pattern: selector.repository.into(), namespaces })
}

fn direct(fields: &Fields<'_>) -> Option<PolicyTarget> {
    let mut value = fields.spec.get("repository")?.clone();
    if fields.is_wrong(CUSTOM_CA) {
        value.as_object_mut()?.remove("customCA");
    }
    let direct: DirectRepository = serde_json::from_value(value).ok()?;
    let secret = ObjectName::new(direct.namespace, direct.repository.or(direct.name)?);
    let custom_ca = direct.custom_ca.and_then(|spec| CustomCa::try_from(spec).ok());
    Some(PolicyTarget::Direct { secret, cluster: direct.cluster.map(MemberName::new), custom_ca })
}

/// The API server can't bound the keys of a map; these are held against what a label may be called.
fn check_label_keys(fields: &mut Fields<'_>) {
    let spec = fields.spec;
    for (selector, field) in [
        (spec.get("clusterSelector"), CLUSTERS.to_owned()),
        (
            spec.get("repositorySelector").and_then(|selector| selector.get("namespaceSelector")),
            format!("{SELECTOR}.namespaceSelector"),
        ),
    ] {
        let Some(selector) = selector else { continue };
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        for key in labels.into_iter().flat_map(serde_json::Map::keys) {
            syntax::check_key(&format!("{field}.matchLabels"), key, fields.problems);
        }
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        for (index, expression) in expressions.into_iter().flatten().enumerate() {
            if let Some(key) = expression.get("key").and_then(Value::as_str) {
                syntax::check_name(&format!("{field}.matchExpressions[{index}].key"), key, fields.problems);
            }
        }
    }
}

// === from the wire ===

impl From<ClusterSelection> for ClusterSelector {
    fn from(selection: ClusterSelection) -> Self {
        Self {
            match_names: boxed(selection.match_names),
            match_labels: selection.match_labels,
            match_expressions: selection.match_expressions.into_iter().map(LabelExpression::into).collect(),
        }
    }
}

impl From<NamespaceSelection> for NamespaceSelector {
    fn from(selection: NamespaceSelection) -> Self {
        Self {
            match_names: boxed(selection.match_names),
            exclude_names: boxed(selection.exclude_names),
            match_labels: selection.match_labels,
            match_expressions: selection.match_expressions.into_iter().map(LabelExpression::into).collect(),
        }
    }
}

/// Fails for one that names nothing, or both a ConfigMap and a Secret.
impl TryFrom<CustomCaSpec> for CustomCa {
    type Error = ();
    fn try_from(spec: CustomCaSpec) -> Result<Self, ()> {
        let named = |name: Option<String>| name.filter(|name| !name.is_empty());
        let source = match (named(spec.config_map_name), named(spec.secret_name)) {
            (Some(name), None) => CaSource::ConfigMap(name.into()),
            (None, Some(name)) => CaSource::Secret(name.into()),
            _ => return Err(()),
        };
        let key = named(spec.key).unwrap_or_else(|| DEFAULT_CA_KEY.to_owned());
        Ok(Self { source, key: key.into() })
    }
}

fn boxed(names: Vec<String>) -> Vec<Box<str>> {
    names.into_iter().map(Into::into).collect()
}
