//! Two replicas that write to disjoint parts of one fleet, at the same time.

use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use super::bench::{Bench, NAMESPACE, POLICY, id, name, secret};
use crate::shard::Share;
use crate::sim::{Access, SimCluster};

/// Of four shards `eu` is in the first two, `us` in the others.
const SHARES: [[u16; 2]; 2] = [[0, 1], [2, 3]];

/// A replica, and what it uses in `eu` and `us`.
struct Replica {
    tokens: [String; 2],
    _folder: tempfile::TempDir,
    _running: DropGuard,
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
        Self { tokens, _running: bench.replica_of(folder.path(), share).await, _folder: folder }
    }
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
    let kind = ("hub.volsync.backube", "kopiarepositories");
    let record = format!("kr-{}", id("both"));
    bench.hub.actor("user").merge(kind, ("", &record), &json!({"spec": {"cluster": to.0}})).unwrap();
    bench.until("the grant moves to the other replica's member", || held(bench, "both", to.0)).await;
    let runs = || cron_job(to.1, "both").filter(|it| it["spec"]["suspend"] == false);
    bench.until("it runs there", runs).await;
    bench.until("nothing is left here", || cron_job(from.1, "both").is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_disjoint_shares_maintain_everything_and_never_both_write_to_a_member() {
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
    let [one, two] = SHARES.map(|shards| Replica::start(&bench, &us, shards));
    let (one, two) = tokio::join!(one, two);

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
