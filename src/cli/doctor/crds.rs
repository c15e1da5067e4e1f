//! Are the hub's kinds installed, and are they those of this program?

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::api::crd::{Kind, crd};
use crate::cli::levers::Hub;
use crate::hub::kinds::{HUB_GROUP, POLICY_GROUP, VERSION};

/// One CRD, as it was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub name: String,
    /// An error where it could not be read.
    pub state: Result<State, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As this program has it.
    Same,
    Absent,
    BeingDeleted,
    /// Not accepted by the API server, or not yet.
    NotEstablished,
    /// VolSync's own kind of that name.
    Namespaced,
    NotServed,
    /// Served, and not as this program has it.
    Other,
}

pub async fn look(hub: &Hub) -> Vec<Definition> {
    let mut definitions = Vec::new();
    for kind in Kind::ALL {
        let mut definition = read(hub, kind, HUB_GROUP).await;
        // Policies are under the hub's own group only where VolSync's kind of that name is in the way.
        if kind == Kind::KopiaMaintenance && definition.state == Ok(State::Absent) {
            definition = read(hub, kind, POLICY_GROUP).await;
        }
        definitions.push(definition);
    }
    definitions
}

async fn read(hub: &Hub, kind: Kind, group: &str) -> Definition {
    let name = format!("{}.{group}", kind.plural());
    let found = hub.definition(&name).await;
    Definition { name, state: found.map(|found| found.map_or(State::Absent, |found| state(kind, group, &found))) }
}

fn state(kind: Kind, group: &str, found: &CustomResourceDefinition) -> State {
    let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut established = conditions.filter(|it| it.type_ == "Established");
    let served = found.spec.versions.iter().any(|version| version.name == VERSION && version.served);
    if found.metadata.deletion_timestamp.is_some() {
        State::BeingDeleted
    } else if found.spec.scope != "Cluster" {
        State::Namespaced
    } else if !served {
        State::NotServed
    } else if !established.any(|it| it.status == "True") {
        State::NotEstablished
    } else if versions(&crd(kind, group)) == serde_json::to_value(found).ok().as_ref().and_then(versions) {
        State::Same
    } else {
        State::Other
    }
}

/// What a definition says of its versions, in one form: API servers leave out what is empty.
fn versions(definition: &Value) -> Option<Value> {
    let typed: CustomResourceDefinition = serde_json::from_value(definition.clone()).ok()?;
    let mut versions = serde_json::to_value(typed.spec.versions).ok()?;
    for version in versions.as_array_mut().into_iter().flatten() {
        for column in version["additionalPrinterColumns"].as_array_mut().into_iter().flatten() {
            // Its default, which some write.
            if column["priority"] == 0 {
                column.as_object_mut().map(|column| column.remove("priority"));
            }
        }
    }
    Some(versions)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(change: impl Fn(&mut Value)) -> State {
        let mut definition = crd(Kind::KopiaRepository, HUB_GROUP);
        definition["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        change(&mut definition);
        let found = serde_json::from_value(definition).unwrap_or_default();
        state(Kind::KopiaRepository, HUB_GROUP, &found)
    }

    #[test]
    fn a_definition_is_held_against_that_of_this_program() {
        assert_eq!(seen(|_| {}), State::Same);
        assert_eq!(seen(|it| it["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into()), State::BeingDeleted);
        assert_eq!(seen(|it| it["spec"]["scope"] = "Namespaced".into()), State::Namespaced);
        assert_eq!(seen(|it| it["spec"]["versions"][0]["name"] = "v1".into()), State::NotServed);
        assert_eq!(seen(|it| it["status"] = Value::Null), State::NotEstablished);
        let grant = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/grant/properties/hub";
        assert_eq!(seen(|it| it.pointer_mut(grant).map_or((), |it| *it = json!({"type": "integer"}))), State::Other);
        let priority = |it: &mut Value| it["spec"]["versions"][0]["additionalPrinterColumns"][0]["priority"] = 0.into();
        assert_eq!(seen(priority), State::Same);
    }
}
