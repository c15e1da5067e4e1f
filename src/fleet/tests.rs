//! Small fleets, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;

use super::scheme::Scheme;
use super::{Fleet, Place, fill};

const SMALL: Scheme = Scheme { members: 3, sources: 30, repositories: 20, seed: 7 };

async fn start(scheme: Scheme) -> Fleet {
    Fleet::start(scheme, Place::ANY, |_| {}).await.unwrap()
}

#[tokio::test]
async fn the_same_seed_makes_the_same_objects_uids_and_tokens_and_another_does_not() {
    let (one, same) = (start(SMALL).await, start(SMALL).await);
    let other = start(Scheme { seed: 8, ..SMALL }).await;
    let objects = |fleet: &Fleet| -> Vec<Vec<Value>> {
        let kinds = [fill::SOURCES, fill::SECRETS, ("apps", "deployments")];
        let of = |kind: (&str, &str)| {
            let found = fleet.members.iter().flat_map(|member| member.actor("test").list(kind.0, kind.1));
            found.map(without_start).collect::<Vec<_>>()
        };
        kinds.into_iter().map(of).collect()
    };
    assert_eq!(objects(&one), objects(&same));
    assert_eq!(objects(&one)[0].len(), 90);
    assert_ne!(objects(&one), objects(&other));
    let known_by = |fleet: &Fleet| -> Vec<(String, String)> {
        fleet.members.iter().map(|member| (member.uid(), member.token().to_owned())).collect()
    };
    assert_eq!(known_by(&one), known_by(&same));
    assert_eq!(one.hub.uid(), same.hub.uid());
    assert!(known_by(&one).iter().all(|known| !known_by(&other).contains(known)));
}

/// Without the times at which the process was started.
fn without_start(mut object: Value) -> Value {
    if object["kind"] == "Deployment" {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.retain(|field, _| !["creationTimestamp", "managedFields"].contains(&field.as_str()));
    }
    object
}

#[tokio::test]
async fn a_member_is_read_as_any_other_cluster() {
    use kube::api::{Api, DynamicObject, ListParams};
    let fleet = start(SMALL).await;
    let client = fleet.members[1].client().await.unwrap();
    let kind = kube::core::ApiResource {
        group: "volsync.backube".into(),
        version: "v1alpha1".into(),
        api_version: "volsync.backube/v1alpha1".into(),
        kind: "ReplicationSource".into(),
        plural: "replicationsources".into(),
    };
    let sources: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let page = sources.list(&ListParams::default().limit(20)).await.unwrap();
    assert_eq!((page.items.len(), page.metadata.remaining_item_count), (20, Some(10)));
    let rest = page.metadata.continue_.unwrap();
    assert_eq!(sources.list(&ListParams::default().limit(20).continue_token(&rest)).await.unwrap().items.len(), 10);
    let told = fleet.members[1].tally().told();
    assert_eq!(told.by_verb().collect::<Vec<_>>(), [("list", 2)]);
    assert!(told.bytes > 30 * 1000, "{told:?}");
    assert_eq!((told.writes(), fleet.members[0].tally().told().requests()), (0, 0));
}
