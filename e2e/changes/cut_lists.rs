//! A list that ends in the middle says nothing of what it did not come to.

use serde_json::Value;

use super::deleted::{let_go, standing};
use super::stage::{LONG, Stage, policy};
use crate::harness::cutter::Cutter;
use crate::harness::fleet::HUB_USER;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

/// More than two pages.
const SOURCES: u64 = 600;
/// So many lists have to end in the middle.
const CUTS: usize = 3;

#[test]
fn a_list_that_is_cut_off_in_the_middle_takes_nothing_away() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("cut", &["member-a"]).await?;
        let member = stage.member("member-a")?;
        let place = S3::bucket("cut");
        place.create(&stage.fleet).await?;
        objects::backed_up(member, "cut", "repository", &place).await?;
        let more = (1..SOURCES).map(|number| objects::source("cut", &format!("more-{number}"), "repository"));
        member.shell.apply(&more.collect::<String>()).await?;
        // The one that the last page ends with has a repository of its own: only a whole list tells that it is there.
        let last = S3::bucket("last");
        last.create(&stage.fleet).await?;
        objects::backed_up(member, "zzz", "last", &last).await?;
        stage.fleet.hub.shell.apply(&policy("everything", "*", "schedule: \"0 3 1 1 *\"")).await?;

        let file = stage.registered.join("member-a.yaml");
        let cutter = Cutter::start(member, "replicationsources", &stage.fleet.kubeconfig_of("member-a"), &file).await?;
        let hub = stage.start_hub(&[]).await?;
        for bucket in ["cut", "last"] {
            stage.maintained(bucket).await?;
        }
        let counted = async |what: &str| {
            wait_for(what, LONG, async || {
                let count = stage.member_cluster("member-a").await?["status"]["sourceCount"].clone();
                Ok(Seen::when(count == SOURCES + 1, count.to_string()))
            })
            .await
        };
        counted("every source to be counted").await?;
        stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;
        let (before, mark) = (let_go(member, 2).await?, member.audit().mark()?);

        // While it goes on, and for one that starts anew.
        cut_off(&stage, &cutter).await?;
        hub.stop()?;
        cutter.cut();
        let seen = cutter.count();
        let hub = stage.start_hub(&[]).await?;
        many_cuts(&cutter, seen).await?;
        // By then it has waited long enough to act upon what it knows.
        let condition = stage.member_condition("member-a", ("Synced", "False", "ListFailed")).await?;
        assert!(condition.contains("ReplicationSources"), "{condition}");
        assert_eq!(standing(member).await?, before);
        cutter.mend();
        stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;
        counted("every source to be counted by a hub that starts anew").await?;
        for bucket in ["cut", "last"] {
            stage.maintained(bucket).await?;
        }
        assert_eq!(standing(member).await?, before);
        let writes = member.audit().writes_by(HUB_USER, mark)?;
        assert!(writes.is_empty(), "{writes:#?}");
        hub.stop().map(drop)
    })
}

/// Lists of a hub that knows everything are cut off for a while.
async fn cut_off(stage: &Stage, cutter: &Cutter) -> Result<(), Fail> {
    let seen = cutter.count();
    cutter.cut();
    many_cuts(cutter, seen).await?;
    let is_known = |value: &Value| *value == SOURCES + 1;
    let status = stage.member_cluster("member-a").await?["status"].clone();
    assert!(is_known(&status["sourceCount"]), "{status}");
    cutter.mend();
    stage.member_condition("member-a", ("Synced", "True", "Complete")).await.map(drop)
}

async fn many_cuts(cutter: &Cutter, before: usize) -> Result<(), Fail> {
    wait_for("lists to be cut off", LONG, async || {
        let count = cutter.count() - before;
        Ok(Seen::when(count >= CUTS, count.to_string()))
    })
    .await
}
