//! Ways to a member: proxies, paths, other names, and what the hub does on the way.

use std::time::Duration;

use kube::config::KubeConfigOptions;
use serde_json::json;

use super::front::Front;
use super::proxies::Proxy;
use super::world::{World, cluster, source};
use crate::member::Member;
use crate::member::event::ConditionKind;

/// Known to the proxy alone.
const HOST: &str = "api.member.invalid";

async fn through(proxy: &Proxy, scheme: &str, front: &Front) {
    let mut world = World::start();
    let proxy_url = |user: &str| format!("{scheme}://{user}@{}", proxy.address);
    let server = format!("https://{HOST}:6443");
    world.write("eu", &front.kubeconfig(&json!({"server": server, "proxy-url": proxy_url("hub:p%40ss")})));
    world.write("us", &front.kubeconfig(&json!({"server": server, "proxy-url": proxy_url("hub:wrong")})));
    world.wait("sync through the proxy", |seen| seen.is_synced("eu") && seen.sources.len() == 1).await;
    assert!(proxy.used() > 0);
    let down = |seen: &super::world::View| {
        seen.condition("us", ConditionKind::Reachable).is_some_and(|it| it.status == Some(false))
    };
    world.wait("refusal of the other password", down).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_behind_an_http_proxy_is_reached_by_a_name_that_only_the_proxy_knows() {
    let eu = cluster("eu", &["a"]).await;
    let front = Front::before(&eu, HOST, "").await;
    let proxy = Proxy::http(front.address, HOST).await;
    through(&proxy, "http", &front).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_behind_a_socks5_proxy_is_reached_by_a_name_that_only_the_proxy_knows() {
    let eu = cluster("eu", &["a"]).await;
    let front = Front::before(&eu, HOST, "").await;
    let proxy = Proxy::socks5(front.address, HOST).await;
    through(&proxy, "socks5", &front).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_with_a_path_and_a_certificate_for_another_name_work_together() {
    const PREFIX: &str = "/k8s/clusters/c-m-1";
    let eu = cluster("eu", &["a"]).await;
    let front = Front::before(&eu, "kubernetes.default.svc", PREFIX).await;
    let mut world = World::start();
    world.write("eu", &front.kubeconfig(&json!({"tls-server-name": "kubernetes.default.svc"})));
    world.write("unnamed", &front.kubeconfig(&json!({})));
    world.wait("sync", |seen| seen.is_synced("eu") && seen.sources.len() == 1).await;
    eu.actor("test").create(source("b")).unwrap();
    world.wait("a change", |seen| seen.sources.len() == 2).await;
    world
        .wait("refusal of the certificate", |seen| {
            seen.condition("unnamed", ConditionKind::Reachable).is_some_and(|it| it.status == Some(false))
        })
        .await;
    let asked = front.asked();
    assert!(asked.iter().all(|it| it.path.starts_with(PREFIX)), "{asked:#?}");
    let agent = concat!("volsync-hub/", env!("CARGO_PKG_VERSION"));
    assert!(asked.iter().all(|it| it.agent == agent), "{asked:#?}");
    assert!(asked.iter().all(|it| it.version == http::Version::HTTP_2), "{asked:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_has_eight_long_watches_and_each_follows_something_else() {
    let eu = cluster("eu", &["a"]).await;
    let front = Front::before(&eu, "127.0.0.1", "").await;
    let mut world = World::start();
    world.write("eu", &front.kubeconfig(&json!({})));
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    world.pass(Duration::from_secs(3)).await;
    assert_eq!(front.watches(), 8);
    let mut kinds: Vec<_> = front.asked().into_iter().filter(super::front::Asked::is_watch).map(|it| it.path).collect();
    kinds.sort();
    kinds.dedup_by(|one, other| one.split("resourceVersion=").next() == other.split("resourceVersion=").next());
    assert!(kinds.len() <= 8, "{kinds:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_of_one_member_leave_the_watches_of_others_alone() {
    let (eu, us) = (cluster("eu", &["a"]).await, cluster("us", &["b"]).await);
    let front = Front::before(&us, "127.0.0.1", "").await;
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml());
    world.write("us", &front.kubeconfig(&json!({})));
    world.wait("sync", |seen| seen.is_synced("eu") && seen.is_synced("us")).await;
    world.pass(Duration::from_secs(3)).await;
    let (asked, watches) = (front.asked().len(), front.watches());
    let before = world.supervisor.member(&"eu".into()).unwrap().incarnation();
    let other = world.supervisor.member(&"us".into()).unwrap().incarnation();
    let token = eu.add_user("again", crate::sim::Access::Everything);
    world.write("eu", &eu.kubeconfig_yaml_of(&token));
    world.wait("another contact", |seen| !seen.is_synced("eu")).await;
    world.wait("sync again", |seen| seen.is_synced("eu")).await;
    assert!(world.supervisor.member(&"eu".into()).unwrap().incarnation() > before);
    assert_eq!(world.supervisor.member(&"us".into()).unwrap().incarnation(), other);
    let new = front.asked().split_off(asked);
    assert!(new.iter().all(|it| it.path == "/version"), "{new:#?}");
    assert_eq!(front.watches(), watches);
    us.actor("test").create(source("c")).unwrap();
    world.wait("news through the watch that was there", |seen| seen.sources.len() == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_wait_to_be_read_hold_up_no_other() {
    let eu = cluster("eu", &[]).await;
    for number in 0..250 {
        let mut large = source(&format!("source-{number}"));
        large["metadata"]["annotations"] = json!({"padding": "x".repeat(4_000)});
        eu.actor("test").create(large).unwrap();
    }
    let (kubeconfig, options) = (eu.kubeconfig().unwrap(), KubeConfigOptions::default());
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let member = Member::connect("eu".into(), config).await.unwrap();
    let ask = |path: &str| http::Request::get(path).body(Vec::new()).unwrap();
    // As many as the hub has open at most: seven watches and four pages. Of none more is read than how it begins.
    let mut unread = Vec::new();
    for _ in 0..11 {
        let list = ask("/apis/volsync.backube/v1alpha1/replicationsources");
        unread.push(member.client().request_stream(list).await.unwrap());
    }
    for _ in 0..50 {
        let other = member.client().request_text(ask("/api/v1/namespaces/kube-system"));
        assert!(tokio::time::timeout(Duration::from_secs(10), other).await.is_ok_and(|answer| answer.is_ok()));
    }
}
