//! Each fault as a client of the cluster meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use kube::config::KubeConfigOptions;
use serde_json::Value;
use tokio::time::timeout;

use super::*;
use crate::fleet::scheme::Scheme;
use crate::fleet::{Fleet, Place};

const SOURCES: &str = "/apis/volsync.backube/v1alpha1/replicationsources";
const SOON: Duration = Duration::from_secs(20);
/// Nothing that is answered takes so long on a machine that does something else besides.
const SILENCE: Duration = Duration::from_secs(2);

struct Ill {
    fleet: Fleet,
    given: Given,
}

impl Ill {
    async fn start() -> Self {
        let scheme = Scheme { members: 1, sources: 30, repositories: 5, seed: 7 };
        let fleet = Fleet::start(scheme, Place::ANY, |_| {}).await.unwrap();
        Self { fleet, given: Given::default() }
    }

    fn member(&self) -> &SimCluster {
        &self.fleet.members[0]
    }

    fn put(&mut self, order: Value) {
        let given: Given = serde_json::from_value(order).unwrap();
        given.check().unwrap();
        given.put(&self.given, self.member()).unwrap();
        self.given = given;
    }

    async fn client(&self) -> kube::Client {
        let kubeconfig = self.member().kubeconfig().unwrap();
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    /// What a GET gets; the code where it is refused.
    async fn get(&self, path: &str) -> Result<String, u16> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match timeout(SOON, self.client().await.request_text(request)).await.unwrap() {
            Ok(text) => Ok(text),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn names(&self, path: &str) -> usize {
        let list: Value = serde_json::from_str(&self.get(path).await.unwrap()).unwrap();
        list["items"].as_array().unwrap().len()
    }

    async fn is_silent(&self) -> bool {
        let client = self.client().await;
        timeout(SILENCE, client.apiserver_version()).await.is_err()
    }
}

#[tokio::test]
async fn each_request_gets_the_code_that_was_given_until_it_is_lifted() {
    let mut ill = Ill::start().await;
    for code in [401, 429, 503] {
        ill.put(json!({"answer": code}));
        assert_eq!(ill.get(SOURCES).await, Err(code));
    }
    ill.put(json!({}));
    assert_eq!(ill.names(SOURCES).await, 30);
    for order in [json!({"answer": 404}), json!({"latency": 5}), json!({"pile": -1})] {
        assert!(serde_json::from_value::<Given>(order.clone()).is_err(), "{order}");
    }
}

#[tokio::test]
async fn latency_and_slow_bodies_take_their_time_and_lose_nothing() {
    let mut ill = Ill::start().await;
    ill.put(json!({"latencyMillis": 700}));
    let began = Instant::now();
    let whole = ill.get(SOURCES).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(700));
    ill.put(json!({"bytesPerSecond": whole.len()}));
    let began = Instant::now();
    assert_eq!(ill.get(SOURCES).await.unwrap(), whole);
    assert!(began.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn a_body_that_is_cut_ends_cleanly_in_the_middle() {
    let mut ill = Ill::start().await;
    let whole = ill.get(SOURCES).await.unwrap();
    ill.put(json!({"cutBodiesAfter": 10_000}));
    assert_eq!(ill.get(SOURCES).await.unwrap(), whole[..10_000]);
}

#[tokio::test]
async fn a_silent_server_takes_connections_and_a_hanging_one_takes_requests_and_neither_answers() {
    let mut ill = Ill::start().await;
    ill.put(json!({"silent": true}));
    assert!(tokio::net::TcpStream::connect(ill.member().address()).await.is_ok());
    let asked = ill.member().tally().told().requests();
    assert!(ill.is_silent().await);
    assert_eq!(ill.member().tally().told().requests(), asked);
    ill.put(json!({"hang": true}));
    assert!(ill.is_silent().await);
    assert_eq!(ill.member().tally().told().requests(), asked + 1);
    ill.put(json!({"down": true}));
    assert!(ill.client().await.apiserver_version().await.is_err());
    ill.put(json!({}));
    assert!(!ill.is_silent().await);
}

#[tokio::test]
async fn a_storm_of_410_meets_further_pages_and_watches_that_resume_or_are_open() {
    let mut ill = Ill::start().await;
    let first: Value = serde_json::from_str(&ill.get(&format!("{SOURCES}?limit=10")).await.unwrap()).unwrap();
    let metadata = &first["metadata"];
    let version = metadata["resourceVersion"].as_str().unwrap();
    let resumes = format!("{SOURCES}?watch=true&timeoutSeconds=15&resourceVersion={version}");
    let further = format!("{SOURCES}?limit=10&continue={}", metadata["continue"].as_str().unwrap());
    assert_eq!(ill.names(&further).await, 10);
    let (open, ()) = tokio::join!(ill.get(&resumes), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        ill.member().faults().expire_versions(true);
    });
    ill.put(json!({"expireVersions": true}));
    for watched in [open.unwrap(), ill.get(&resumes).await.unwrap()] {
        let event: Value = serde_json::from_str(&watched).unwrap();
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    }
    assert_eq!(ill.get(&further).await, Err(410));
    assert_eq!(ill.names(SOURCES).await, 30, "a list from the start goes through");
    ill.put(json!({"endWatches": true}));
    assert_eq!(ill.get(&resumes).await.unwrap(), "");
}

#[tokio::test]
async fn a_clock_that_is_ahead_dates_what_is_made() {
    let mut ill = Ill::start().await;
    ill.put(json!({"clockAheadSeconds": -86_400}));
    let made = ill
        .member()
        .actor("test")
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}));
    let created: jiff::Timestamp = made.unwrap()["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap();
    assert_eq!(jiff::Timestamp::now().duration_since(created).as_hours(), 24);
    let century = Given { clock_ahead_seconds: i64::MIN, ..Given::default() };
    assert!(century.check().is_err());
}

#[tokio::test]
async fn a_pile_is_listed_with_the_rest_and_goes_again() {
    let mut ill = Ill::start().await;
    ill.put(json!({"pile": 20_000}));
    let page: Value = serde_json::from_str(&ill.get(&format!("{SOURCES}?limit=250")).await.unwrap()).unwrap();
    assert_eq!(page["metadata"]["remainingItemCount"], 20_030 - 250);
    let further = format!("{SOURCES}?limit=250&continue={}", page["metadata"]["continue"].as_str().unwrap());
    assert_eq!(ill.names(&further).await, 250);
    ill.put(json!({"pile": 3}));
    assert_eq!(ill.names(SOURCES).await, 33);
    ill.put(json!({}));
    assert_eq!(ill.names(SOURCES).await, 30);
}
