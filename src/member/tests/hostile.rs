//! Members that lie, hang or flood: nothing is concluded from what they say, and others do not notice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::{BoxError, Layer as _};

use super::front::{Answer, Asked, Front};
use super::world::{World, cluster, source};
use crate::member::breaker::Health;
use crate::member::call::{Class, Operation};
use crate::member::event::ConditionKind;
use crate::member::peer::Peer;
use crate::member::transport::{Counters, TransportLayer};
use crate::member::{Fence, Member};
use crate::plan::fleet::Contact;
use crate::sim::{Refusal, SimCluster};

const SOURCES: &str = "replicationsources";

type Lie = fn() -> Answer;

fn status(code: u16, reason: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "no"})
        .to_string()
}

/// A list of sources without any, with these fields beside.
fn empty_list(fields: &Value) -> String {
    let mut list = json!({"kind": "ReplicationSourceList", "apiVersion": "volsync.backube/v1alpha1",
        "metadata": {"resourceVersion": "1"}, "items": []});
    json_patch::merge(&mut list, fields);
    list.to_string()
}

/// `eu` behind a front, with two sources, and `us`, with one; both synced.
async fn two() -> (World, Front, SimCluster, SimCluster) {
    let (eu, us) = (cluster("eu", &["a", "b"]).await, cluster("us", &["c"]).await);
    let front = Front::before(&eu, "127.0.0.1", "").await;
    let mut world = World::start();
    world.write("eu", &front.kubeconfig(&json!({})));
    world.write("us", &us.kubeconfig_yaml());
    world.wait("sync", |seen| seen.is_synced("eu") && seen.is_synced("us") && seen.sources.len() == 3).await;
    (world, front, eu, us)
}

/// Watches of sources have to start anew with a list, which is answered so.
fn lists_say(answer: impl Fn() -> Answer + Send + 'static) -> impl Fn(&Asked) -> Answer + Send + 'static {
    move |asked| match asked {
        _ if asked.lists(SOURCES) => answer(),
        _ if asked.is_watch() && asked.path.contains(SOURCES) => Answer::Say(410, status(410, "Expired")),
        _ => Answer::Right,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_gone_because_of_a_list_that_is_none() {
    let lies: [(&str, Lie); 9] = [
        ("an empty object", || Answer::Say(200, "{}".to_owned())),
        ("nothing at all", || Answer::Say(200, String::new())),
        ("a page for people", || Answer::Say(200, "<html>Sign in</html>".to_owned())),
        ("a failure with a good code", || Answer::Say(200, status(500, "InternalError"))),
        ("no items", || {
            Answer::Say(200, r#"{"kind":"ReplicationSourceList","metadata":{"resourceVersion":"1"}}"#.into())
        }),
        ("no version", || Answer::Say(200, empty_list(&json!({"metadata": {"resourceVersion": ""}})))),
        ("half a list", || Answer::Half),
        ("a proxy's 404", || Answer::Say(404, "404 page not found".to_owned())),
        ("a forbidden list", || Answer::Say(403, status(403, "Forbidden"))),
    ];
    futures::future::join_all(lies.map(|(what, answer)| nothing_is_gone_because_of(what, answer))).await;
}

async fn nothing_is_gone_because_of(what: &str, answer: Lie) {
    let (mut world, front, eu, us) = two().await;
    front.answer(lists_say(answer));
    world
        .wait(what, |seen| {
            let synced = seen.condition("eu", ConditionKind::Synced);
            seen.contact_of("eu") != Some(Contact::Synced) && synced.is_some_and(|it| it.status != Some(true))
        })
        .await;
    world.pass(Duration::from_secs(2)).await;
    assert_eq!(world.seen.sources.len(), 3, "{what}");
    assert!(world.seen.is_synced("us"), "{what}");
    front.answer(|_| Answer::Right);
    world.wait("recovery", |seen| seen.is_synced("eu")).await;
    assert_eq!(world.seen.sources.len(), 3, "{what}");
    eu.actor("test").delete("volsync.backube", SOURCES, "default", "a").unwrap();
    us.actor("test").create(source("d")).unwrap();
    world.wait("what is true", |seen| seen.sources.iter().map(|it| &*it.object.name).eq(["b", "c", "d"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_end_is_given_up_and_nothing_is_gone_because_of_it() {
    let (mut world, front, _eu, us) = two().await;
    front.answer(lists_say(|| Answer::Say(200, empty_list(&json!({"metadata": {"continue": "again"}})))));
    world
        .wait("the end of patience", |seen| {
            seen.condition("eu", ConditionKind::Synced).is_some_and(|it| it.message.contains("does not end after"))
        })
        .await;
    assert!(cut_off(&world) > 0);
    us.actor("test").create(source("d")).unwrap();
    world.wait("news from the other", |seen| seen.sources.len() == 4).await;
    assert!(world.seen.is_synced("us"));
}

/// What of `eu` was too large to be taken.
fn cut_off(world: &World) -> u64 {
    let eu = world.supervisor.member(&"eu".into()).unwrap();
    eu.counters().cut_off.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_cut_off_counted_and_told() {
    let (mut world, front, _eu, us) = two().await;
    let before = cut_off(&world);
    let event = json!({"type": "ADDED", "object": {"metadata": {"annotations": {"padding": "x".repeat(9 << 20)}}}});
    front.answer(move |asked| match asked {
        _ if asked.is_watch() && asked.path.contains(SOURCES) => Answer::Say(200, event.to_string()),
        _ => Answer::Right,
    });
    world
        .wait("what is told of it", |seen| {
            let synced = seen.condition("eu", ConditionKind::Synced);
            synced.is_some_and(|it| it.status == Some(false) && it.message.contains("an event is longer than"))
        })
        .await;
    assert!(cut_off(&world) > before);
    assert_eq!(world.seen.sources.len(), 3);
    front.answer(|_| Answer::Right);
    world.wait("recovery", |seen| seen.is_synced("eu")).await;
    us.actor("test").create(source("d")).unwrap();
    world.wait("news from the other", |seen| seen.sources.len() == 4).await;
}

#[tokio::test]
async fn a_page_that_is_too_large_is_cut_off_counted_and_no_loss_of_contact() {
    const PIECE: usize = 1 << 20;
    let answer = tower::service_fn(|_: http::Request<Body>| async move {
        let pieces = std::iter::repeat_with(|| Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; PIECE]))));
        Ok::<_, BoxError>(http::Response::new(StreamBody::new(futures::stream::iter(pieces.take(65)))))
    });
    let counters = Arc::<Counters>::default();
    let service = TransportLayer::new(counters.clone(), Peer::new("eu", Fence::open())).layer(answer);
    let member = Member::new("eu".into(), 1, Client::new(service, "default"), counters);
    for times in 1..=6 {
        let list = http::Request::get("/api/v1/pods").body(Vec::new()).unwrap();
        let page = member.page(&Operation::list("Pods"), Ok(list), &Arc::new(Semaphore::new(1))).await;
        let error = page.unwrap_err();
        assert_eq!(error.class, Class::Other, "{error}");
        assert!(error.to_string().contains("is larger than 67108864 bytes"), "{error}");
        assert_eq!(member.counters().cut_off.load(Ordering::Relaxed), times);
    }
    assert_eq!(member.health(), Health::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_watches_all_expire_is_listed_less_and_less_often() {
    let (mut world, front, _eu, _us) = two().await;
    front.answer(|asked| if asked.is_watch() { Answer::Say(410, status(410, "Expired")) } else { Answer::Right });
    let before = front.asked().len();
    world.pass(Duration::from_secs(16)).await;
    let lists = front.asked().split_off(before).into_iter().filter(|asked| asked.lists(SOURCES)).count();
    assert!((2..=7).contains(&lists), "{lists} lists in 16 s");
    assert_eq!(world.seen.sources.len(), 3);
    assert!(world.seen.is_synced("us"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_less_gets_less_and_keeps_what_it_had() {
    for refusal in [Refusal::TooManyRequests, Refusal::Unavailable] {
        let (mut world, _front, eu, us) = two().await;
        eu.faults().answer_with(Some(refusal));
        eu.faults().drop_connections();
        world.wait("loss", |seen| seen.contact_of("eu") == Some(Contact::Unreachable)).await;
        let (before, began) = (eu.tally().told().requests(), std::time::Instant::now());
        us.actor("test").create(source("d")).unwrap();
        world.wait("news from the other", |seen| seen.sources.len() == 4).await;
        world.pass(Duration::from_secs(8)).await;
        let asked = eu.tally().told().requests() - before;
        // On a busy machine these eight seconds are longer.
        let seconds = began.elapsed().as_secs();
        assert!(2 * asked <= 5 * seconds, "{refusal:?}: {asked} requests in {seconds} s");
        eu.faults().answer_with(None);
        world.wait("return", |seen| seen.is_synced("eu")).await;
        assert_eq!(world.seen.sources.len(), 4, "{refusal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_never_answer_a_list_or_drop_by_drop_do_not_hold_up_the_first_list_of_another() {
    let is_list = |asked: &Asked| asked.path.contains("limit=250") || asked.path.contains("sendInitialEvents");
    let (silent, good) = (cluster("silent", &[]).await, cluster("good", &["a"]).await);
    let mut fronts = Vec::new();
    let mut world = World::start();
    for number in 0..40 {
        let front = Front::before(&silent, "127.0.0.1", "").await;
        let uid =
            json!({"kind": "PartialObjectMetadata", "metadata": {"name": "kube-system", "uid": number.to_string()}});
        front.answer(move |asked| match asked {
            _ if asked.path.contains("/kube-system") => Answer::Say(200, uid.to_string()),
            _ if !is_list(asked) => Answer::Right,
            _ if number < 4 => Answer::Drip,
            _ => Answer::Never,
        });
        world.write(&format!("silent-{number}"), &front.kubeconfig(&json!({})));
        fronts.push(front);
    }
    world.wait("all of them", |seen| seen.registered.len() == 40).await;
    let hanging = |front: &Front| front.asked().iter().filter(|it| is_list(it)).count() >= 4;
    let all_hang = tokio::time::timeout(Duration::from_secs(30), async {
        while !fronts.iter().all(hanging) {
            world.pass(Duration::from_millis(200)).await;
        }
    });
    assert!(all_hang.await.is_ok());
    let began = std::time::Instant::now();
    world.write("good", &good.kubeconfig_yaml());
    world.wait("sync of the good one", |seen| seen.is_synced("good") && seen.sources.len() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}
