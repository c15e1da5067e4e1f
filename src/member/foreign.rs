//! Other tools' objects that maintain Kopia repositories, beside CronJobs: looked for now and then, never touched.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::core::params::ListParams;
use kube::core::request::Request;
use tokio::sync::watch::Receiver;

use crate::names::ObjectName;

use super::call::{CallError, Class, Member, Operation};
use super::contact::until_up;
use super::event::{ForeignKind, ForeignObject, MemberEvent};
use super::facts::{groups, optional};
use super::inputs::Looks;
use super::records;
use super::seen::Events;
use super::wire::{Custom, Page};

/// Someone installs such a tool, or has it look after a repository, by hand.
const POLL: Duration = Duration::from_mins(30);
/// After an attempt that failed.
const RETRY: Duration = Duration::from_mins(1);
/// One for each repository; more are of no use in a report.
const OBJECTS_MAX: u32 = 500;

const KINDS: [ForeignKind; 3] =
    [ForeignKind::KopiaMaintenance, ForeignKind::KopiurMaintenance, ForeignKind::BackupRepository];

type Found = BTreeMap<(ForeignKind, ObjectName), ForeignObject>;

/// Looks again and again, and reports what came, changed and went.
pub async fn run(member: Member, mut looks: Receiver<Looks>, events: Events) {
    let mut known = Found::new();
    loop {
        until_up(&member).await;
        looks.mark_unchanged();
        let failed = match look(&member, &events, &mut known).await {
            Ok(()) => false,
            Err(error) => {
                tracing::debug!(member = %events.member, %error, "other maintainers can't be looked for");
                true
            }
        };
        tokio::select! {
            () = tokio::time::sleep(if failed { RETRY } else { POLL }) => {}
            // Somebody may ask for a look; an input that is closed stays as it is.
            Ok(()) = looks.changed() => {}
        }
    }
}

/// Each kind is looked for, also where another one can't be.
async fn look(member: &Member, events: &Events, known: &mut Found) -> Result<(), CallError> {
    let groups = groups(member).await?;
    let mut ended = Ok(());
    for kind in KINDS {
        match find(member, kind, &groups).await {
            Ok(found) => report(events, known, kind, found).await,
            Err(error) => ended = Err(error),
        }
    }
    ended
}

async fn report(events: &Events, known: &mut Found, kind: ForeignKind, found: Found) {
    let gone: Vec<_> = known.keys().filter(|key| key.0 == kind && !found.contains_key(key)).cloned().collect();
    for key in gone {
        known.remove(&key);
        events.send(MemberEvent::Foreign { member: events.member.clone(), kind, name: key.1, object: None }).await;
    }
    for (key, object) in found {
        if known.get(&key) != Some(&object) {
            let (member, name) = (events.member.clone(), key.1.clone());
            let report = Some(Box::new(object.clone()));
            events.send(MemberEvent::Foreign { member, kind, name, object: report }).await;
            known.insert(key, object);
        }
    }
}

/// Objects of one kind; none where its group or the kind is not served. One that may not be listed says nothing of what
/// is there.
async fn find(member: &Member, kind: ForeignKind, groups: &BTreeMap<String, String>) -> Result<Found, CallError> {
    let (group, plural) = kind.resource();
    let Some(version) = groups.get(group) else { return Ok(Found::new()) };
    let parameters = ListParams { limit: Some(OBJECTS_MAX), ..ListParams::default() };
    let request = Request::new(format!("/apis/{group}/{version}/{plural}")).list(&parameters);
    let page = match optional::<Page<Custom>>(member, &Operation::list(format!("{plural}.{group}")), request).await {
        Err(CallError { class: Class::NotServed, .. }) => None,
        result => result?,
    };
    let objects = page.map(|page| page.items).unwrap_or_default();
    // The hub's own policies have the same group and kind, and no namespace.
    let theirs = objects.into_iter().filter(|object| !object.metadata.namespace.is_empty());
    Ok(theirs.map(|object| ((kind, object.metadata.object_name()), records::foreign_of_kind(kind, object))).collect())
}
