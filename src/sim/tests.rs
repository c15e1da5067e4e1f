//! What is particular to the simulated server; what it has in common with a real one is in the conformance suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use serde_json::json;
use tokio::time::timeout;

use super::{Access, Refusal, Rule, SimCluster};

const SOON: Duration = Duration::from_secs(5);

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).unwrap()
}

#[tokio::test]
async fn a_watcher_sees_what_was_there_and_what_comes() {
    let cluster = SimCluster::start("m1").await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(cluster.client().await.unwrap(), "default");
    api.create(&PostParams::default(), &config_map("before")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut stream = watcher(api.clone(), config).boxed();
        let mut seen = Vec::new();
        while let Ok(Some(event)) = timeout(SOON, stream.next()).await {
            match event.unwrap() {
                Event::Init => seen.push("init".to_owned()),
                Event::InitApply(object) => seen.push(format!("init {}", object.metadata.name.unwrap())),
                Event::InitDone => {
                    seen.push("done".to_owned());
                    cluster
                        .actor("test")
                        .create(json!({"apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": "after", "namespace": "default"}}))
                        .unwrap();
                }
                Event::Apply(object) => {
                    seen.push(object.metadata.name.unwrap());
                    cluster.actor("test").delete("", "configmaps", "default", "after").unwrap();
                }
                Event::Delete(object) => {
                    seen.push(format!("gone {}", object.metadata.name.unwrap()));
                    break;
                }
            }
        }
        assert_eq!(seen, ["init", "init before", "done", "after", "gone after"]);
    }
}

#[tokio::test]
async fn clusters_have_own_authorities_tokens_and_uids() {
    let (one, two) = (SimCluster::start("one").await.unwrap(), SimCluster::start("two").await.unwrap());
    assert_ne!(one.uid(), two.uid());
    let refused = two.client_of(one.token()).await.unwrap().apiserver_version().await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 401), "a token of another cluster");
    let crossed = one.kubeconfig_yaml().replace(&one.address().to_string(), &two.address().to_string());
    let (kubeconfig, options) =
        (kube::config::Kubeconfig::from_yaml(&crossed).unwrap(), kube::config::KubeConfigOptions::default());
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    assert!(!matches!(client.apiserver_version().await.unwrap_err(), kube::Error::Api(_)), "not trusted at all");
}

#[tokio::test]
async fn rules_decide_what_a_user_may_do() {
    let cluster = SimCluster::start("m1").await.unwrap();
    let rule = Rule::new(&["list"], "", &["configmaps"]).in_namespaces(&["default"]);
    let token = cluster.add_user("reader", Access::Rules(vec![rule]));
    let client = cluster.client_of(&token).await.unwrap();
    let code = |namespace: &'static str| {
        let client = client.clone();
        async move { Api::<ConfigMap>::namespaced(client, namespace).list(&ListParams::default()).await }
    };
    assert!(code("default").await.is_ok());
    let Err(kube::Error::Api(status)) = code("kube-system").await else { panic!("not refused") };
    assert_eq!(status.code, 403);
    assert!(status.message.contains(r#"User "reader" cannot list resource "configmaps""#), "{}", status.message);
    cluster.revoke(&token);
    let Err(kube::Error::Api(status)) = code("default").await else { panic!("not refused") };
    assert_eq!(status.code, 401);
}

#[tokio::test]
async fn faults_are_switched_while_it_runs() {
    let cluster = SimCluster::start("m1").await.unwrap();
    let client = cluster.client().await.unwrap();
    let api: Api<Namespace> = Api::all(client);
    let list = || async { timeout(Duration::from_millis(300), api.get("default")).await };
    assert!(list().await.unwrap().is_ok());
    cluster.faults().answer_with(Some(Refusal::Unauthorized));
    assert!(matches!(list().await.unwrap(), Err(kube::Error::Api(status)) if status.code == 401));
    cluster.faults().answer_with(None);
    cluster.faults().hang(true);
    assert!(list().await.is_err(), "no answer while it hangs");
    cluster.faults().hang(false);
    cluster.faults().refuse_connections(true);
    assert!(!matches!(list().await.unwrap(), Err(kube::Error::Api(_)) | Ok(_)), "no connection");
    cluster.faults().refuse_connections(false);
    assert!(list().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_watch_from_before_a_compaction_is_told_to_start_over() {
    let cluster = SimCluster::start("m1").await.unwrap();
    let api: Api<Namespace> = Api::all(cluster.client().await.unwrap());
    cluster.store().compact();
    let mut stream = api.watch(&kube::api::WatchParams::default(), "1").await.unwrap().boxed();
    let first = timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(first, kube::core::WatchEvent::Error(status) if status.code == 410));
    assert!(timeout(SOON, stream.next()).await.unwrap().is_none(), "and it ends");
}
