//! The control endpoint as curl sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::demo::kubeconfigs::Kubeconfigs;
use crate::fleet::scheme::Scheme;
use crate::fleet::{Fleet, Place};

struct Endpoint {
    address: std::net::SocketAddr,
    fleet: Arc<Fleet>,
    folder: tempfile::TempDir,
}

impl Endpoint {
    async fn start() -> Self {
        let scheme = Scheme { members: 10, sources: 4, repositories: 8, seed: 7 };
        let fleet = Arc::new(Fleet::start(scheme, Place::ANY, |_| {}).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfigs = Kubeconfigs::write(folder.path(), &fleet.hub, &fleet.members).unwrap();
        tokio::spawn(Control::new(Arc::clone(&fleet), Credentials::new(kubeconfigs)).serve(listener));
        Self { address, fleet, folder }
    }

    async fn asked(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (address, body) = (self.address, body.to_string());
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (code, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
    }

    async fn told(&self, path: &str) -> Value {
        let (code, told) = self.asked("GET", path, &json!({})).await;
        assert_eq!(code, 200, "{told}");
        told
    }
}

#[tokio::test]
async fn faults_are_given_to_a_share_told_and_healed() {
    let endpoint = Endpoint::start().await;
    let order = json!({"members": "20%", "faults": {"latencyMillis": 30, "answer": 429}});
    let (code, told) = endpoint.asked("PUT", "/faults", &order).await;
    assert_eq!((code, told["members"].as_array().unwrap().len()), (200, 2));
    let one = told["members"][0].as_str().unwrap();
    let ill = endpoint.told("/faults").await;
    assert_eq!((ill.as_object().unwrap().len(), &ill[one]["answer"]), (2, &json!(429)));

    let hub = json!({"members": "hub", "faults": {"hang": true}});
    assert_eq!(endpoint.asked("PUT", "/faults", &hub).await.0, 200);
    let (_, healed) = endpoint.asked("DELETE", "/faults", &json!({})).await;
    assert_eq!(healed["members"].as_array().unwrap().len(), 3);
    assert_eq!(endpoint.told("/faults").await, json!({}));
    assert!(endpoint.fleet.hub.client().await.unwrap().apiserver_version().await.is_ok());
}

#[tokio::test]
async fn an_order_that_can_not_be_is_refused_with_what_is_wrong() {
    let endpoint = Endpoint::start().await;
    for (path, order, why) in [
        ("/faults", json!({"members": "nobody", "faults": {"hang": true}}), "member-0000 to member-0009"),
        ("/faults", json!({"members": "*", "faults": {"answer": 404}}), "401, 429 or 503"),
        ("/faults", json!({"members": "*", "faults": {"pile": 9_000_000}}), "too high"),
        ("/faults", json!({"members": "*", "faults": {"unheard": true}}), "unknown field"),
        ("/faults", json!({"members": "hub", "faults": {"pile": 1}}), "serves no"),
        ("/changes", json!({"sources": -1}), "no rate"),
        ("/changes", json!({"jobs": 1}), "unknown field"),
    ] {
        let (code, told) = endpoint.asked("PUT", path, &order).await;
        assert!((400..500).contains(&code) && told.to_string().contains(why), "{order}: {code} {told}");
    }
    assert_eq!(endpoint.told("/faults").await, json!({}));
}

#[tokio::test]
async fn what_stands_there_changes_at_the_rates_that_were_ordered_until_they_are_taken_back() {
    let endpoint = Endpoint::start().await;
    let rates = json!({"backups": 200.0, "sources": 200.0, "secrets": 100.0, "namespaces": 50.0});
    assert_eq!(endpoint.asked("PUT", "/changes", &rates).await, (200, json!({"rates": rates})));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let made = endpoint.told("/changes").await["made"].clone();
        let reached = |kind: &str, wanted: u64| made[kind].as_u64().unwrap() >= wanted;
        if reached("backups", 100) && reached("sources", 100) && reached("secrets", 50) && reached("namespaces", 20) {
            break;
        }
        assert!(Instant::now() < deadline, "{made}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (_, stopped) = endpoint.asked("PUT", "/changes", &json!({})).await;
    assert_eq!(stopped["rates"]["sources"], 0.0);
    // What was under way ends; a machine that is busy takes its time for that.
    loop {
        let made = endpoint.told("/changes").await["made"].clone();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = endpoint.told("/changes").await["made"].clone();
        if now == made {
            break;
        }
        assert!(Instant::now() < deadline, "they go on: {made}, then {now}");
    }
}

#[tokio::test]
async fn requests_are_told_by_member_and_verb() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.fleet.members[3].client().await.unwrap();
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> = kube::Api::all(client);
    secrets.list(&kube::api::ListParams::default()).await.unwrap();
    let told = endpoint.told("/requests?members=member-0003").await;
    let member = &told["members"]["member-0003"];
    assert_eq!((&member["verbs"], &member["writes"]), (&json!({"list": 1}), &json!(0)));
    assert_eq!(told["total"]["requests"], 1);
    let overview = endpoint.told("/").await;
    assert_eq!((&overview["simulated"], &overview["sources"]), (&json!(true), &json!(40)));
    let repositories = endpoint.told("/repositories").await;
    assert_eq!((&repositories["repositories"], &repositories["claimed"]), (&json!(8), &json!(0)));
}

#[tokio::test]
async fn credentials_are_rotated_and_those_of_before_end() {
    let endpoint = Endpoint::start().await;
    let member = &endpoint.fleet.members[3];
    let path = endpoint.folder.path().join("members").join("member-0003.yaml");
    let works = async |token: &str| {
        let client = member.client_of(token).await.unwrap();
        client.apiserver_version().await.is_ok() && {
            let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(client);
            namespaces.get("kube-system").await.is_ok()
        }
    };
    let held = || {
        let text = std::fs::read_to_string(&path).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"]["token"].as_str().unwrap().to_owned()
    };
    let mut before = held();
    assert_eq!(before, member.token());
    for _ in 0..2 {
        let (code, told) = endpoint.asked("POST", "/credentials", &json!({"members": "member-0003"})).await;
        assert_eq!((code, &told["members"][0]), (200, &json!("member-0003")));
        let now = held();
        assert_ne!(now, before);
        assert!(works(&now).await);
        let until = Instant::now() + Duration::from_secs(10);
        while works(&before).await {
            assert!(Instant::now() < until, "the token of before is still good");
        }
        before = now;
    }
    assert_eq!(std::fs::read_dir(endpoint.folder.path().join("members")).unwrap().count(), 10);
}

#[tokio::test]
async fn writes_that_change_nothing_are_told_apart() {
    let endpoint = Endpoint::start().await;
    let api: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(endpoint.fleet.members[0].client().await.unwrap());
    let counts = async || {
        let told = endpoint.told("/requests").await;
        (told["total"]["writes"].as_u64().unwrap(), told["total"]["unchanged"].as_u64().unwrap())
    };
    let (writes, unchanged) = counts().await;
    for (label, more) in [("one", 0), ("one", 1), ("two", 1), ("two", 2)] {
        let patch = json!({"metadata": {"labels": {"wanted": label}}});
        api.patch("default", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
        assert_eq!(counts().await.1, unchanged + more, "{label}");
    }
    assert_eq!(counts().await.0, writes + 4);
}
