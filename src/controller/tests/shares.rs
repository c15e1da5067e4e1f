//! Two replicas that write to disjoint parts of one fleet, at the same time.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::bench::{Bench, Controller, NAMESPACE, POLICY, id, name, secret};
use crate::shard::Share;
use crate::sim::{Access, SimCluster};

/// Of four shards `eu` is in the first two, `us` in the others.
const SHARES: [[u16; 2]; 2] = [[0, 1], [2, 3]];

const LEDGER: (&str, &str) = ("hub.volsync.backube", "kopiarepositories");

/// A replica, and what it uses in `eu` and `us`.
struct Replica {
    tokens: [String; 2],
    running: Controller,
    _folder: tempfile::TempDir,
}

impl Replica {
    async fn start(bench: &Bench, us: &SimCluster, shards: [u16; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = [("eu", &bench.member), ("us", us)].map(|(name, member)| {
            let token = member.add_user("replica", Access::Everything);
            std::fs::write(folder.path().join(format!("{name}.yaml")), member.kubeconfig_yaml_of(&token)).unwrap();
            token
        });
        let share = Share::Shards { held: shards.into(), of: 4 };
        Self { tokens, running: bench.replica_of(folder.path(), share).await, _folder: folder }
    }

    async fn stop(self) {
        self.running.0.cancel();
        self.running.1.await.unwrap().unwrap();
    }
}

/// Of two members, the first one backs up what is its alone, and both of them what is in both.
async fn two_members() -> (Bench, SimCluster) {
    let mut bench = Bench::start(60).await;
    bench.stop().await;
    let us = crate::member::tests::world::cluster("us", &[]).await;
    bench.work_in(&us);
    for (member, bucket) in [(&bench.member, "eu-alone"), (&us, "us-alone"), (&bench.member, "both"), (&us, "both")] {
        bench.apply(member, &secret("default", bucket, bucket));
        let mut source = crate::member::tests::world::source(bucket);
        source["spec"]["kopia"]["repository"] = bucket.into();
        bench.apply(member, &source);
    }
    bench.policy(&json!({}));
    (bench, us)
}

async fn two_replicas(bench: &Bench, us: &SimCluster) -> (Replica, Replica) {
    let [one, two] = SHARES.map(|shards| Replica::start(bench, us, shards));
    tokio::join!(one, two)
}

fn pin(bench: &Bench, cluster: &str) {
    let record = format!("kr-{}", id("both"));
    bench.hub.actor("user").merge(LEDGER, ("", &record), &json!({"spec": {"cluster": cluster}})).unwrap();
}

fn held(bench: &Bench, bucket: &str, cluster: &str) -> Option<Value> {
    let status = bench.repository(bucket)?["status"].clone();
    let grant = &status["grant"];
    (grant["phase"] == "Active" && grant["cluster"] == cluster).then_some(status)
}

fn cron_job(member: &SimCluster, bucket: &str) -> Option<Value> {
    member.actor("user").get("batch", "cronjobs", NAMESPACE, &name(bucket))
}

async fn moves(bench: &Bench, from: (&str, &SimCluster), to: (&str, &SimCluster)) {
    pin(bench, to.0);
    bench.until("the grant moves to the other replica's member", || held(bench, "both", to.0)).await;
    let runs = || cron_job(to.1, "both").filter(|it| it["spec"]["suspend"] == false);
    bench.until("it runs there", runs).await;
    bench.until("nothing is left here", || cron_job(from.1, "both").is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_disjoint_shares_maintain_everything_and_never_both_write_to_a_member() {
    let (bench, us) = two_members().await;
    let (one, two) = two_replicas(&bench, &us).await;

    for (bucket, cluster, member) in [("eu-alone", "eu", &bench.member), ("us-alone", "us", &us)] {
        bench.until("what is in one member is granted there", || held(&bench, bucket, cluster)).await;
        let runs = || cron_job(member, bucket).filter(|it| it["spec"]["suspend"] == false);
        bench.until("and runs", runs).await;
    }
    let both = |status: &Value| status["clusterCount"] == 2;
    let shared = || held(&bench, "both", "eu").or_else(|| held(&bench, "both", "us")).filter(both);
    let first = bench.until("what is in both members is granted to one", shared).await["grant"].clone();
    let (eu, us_) = (("eu", &bench.member), ("us", &us));
    let (here, there) = if first["cluster"] == "eu" { (eu, us_) } else { (us_, eu) };
    moves(&bench, here, there).await;
    moves(&bench, there, here).await;
    let last = held(&bench, "both", here.0).unwrap();
    assert_eq!(last["grant"]["epoch"], first["epoch"].as_i64().unwrap() + 2, "{last}");

    bench.hub.actor("user").delete(POLICY.0, POLICY.1, "", "nightly").unwrap();
    for bucket in ["eu-alone", "us-alone", "both"] {
        let gone = || (cron_job(&bench.member, bucket).is_none() && cron_job(&us, bucket).is_none()).then_some(());
        bench.until("each replica takes away what stands in its members", gone).await;
    }
    bench.never_two_at_once();
    let writes = [&one, &two].map(|it| [bench.member.writes_by(&it.tokens[0]), us.writes_by(&it.tokens[1])]);
    let [[own_eu, beside_us], [beside_eu, own_us]] = writes;
    assert!(own_eu > 0 && own_us > 0, "{writes:?}");
    assert_eq!((beside_us, beside_eu), (0, 0), "{writes:?}");
}

/// The record as somebody restores it from a backup.
fn restore(bench: &Bench, status: &Value) {
    let record = format!("kr-{}", id("both"));
    let now = bench.repository("both").unwrap()["status"].as_object().unwrap().clone();
    let nothing: Map<String, Value> = now.into_iter().map(|(key, _)| (key, Value::Null)).collect();
    for status in [Value::from(nothing), status.clone()] {
        bench.hub.actor("user").merge_status(LEDGER, ("", &record), &status).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_record_does_not_know_stands_until_the_replica_that_writes_it_has_taken_it_up() {
    let (bench, us) = two_members().await;
    let (one, two) = two_replicas(&bench, &us).await;
    let anywhere = || held(&bench, "both", "eu").or_else(|| held(&bench, "both", "us"));
    bench.until("it is granted", anywhere).await;
    pin(&bench, "eu");
    let old = bench.until("it is held in eu", || held(&bench, "both", "eu")).await;
    moves(&bench, ("eu", &bench.member), ("us", &us)).await;
    let epoch = held(&bench, "both", "us").unwrap()["grant"]["epoch"].clone();
    one.stop().await;
    two.stop().await;
    pin(&bench, "eu");
    restore(&bench, &old);

    // The record says that eu has it; eu's replica, whose record it is then, is away.
    let two = Replica::start(&bench, &us, SHARES[1]).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let stands = cron_job(&us, "both").unwrap();
    assert_eq!(stands["spec"]["suspend"], false, "{stands}");
    assert_eq!(held(&bench, "both", "eu").unwrap()["grant"], old["grant"], "nobody wrote it");

    let one = Replica::start(&bench, &us, SHARES[0]).await;
    let later = |status: &Value| status["grant"]["epoch"].as_i64() > epoch.as_i64();
    bench.until("eu has it after the later grant", || held(&bench, "both", "eu").filter(later)).await;
    bench.until("nothing is left in us", || cron_job(&us, "both").is_none().then_some(())).await;
    bench.never_two_at_once();
    one.stop().await;
    two.stop().await;
}
