//! What all repositories of a member share there: the mover's ServiceAccount and its script.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::info;

use super::act::Trouble;
use super::engine::Engine;
use super::push::{Noted, Push, Standing};
use super::work;
use crate::member::{CallError, Member};
use crate::names::{MemberName, RepositoryId};

/// Repositories of one member bring what they share one after the other: all at once, each would write it.
#[derive(Debug, Default)]
pub struct Turns(Mutex<BTreeMap<MemberName, Turn>>);

/// Held by whoever tries; in it, when the last attempt failed, and how.
type Turn = Arc<tokio::sync::Mutex<Option<(Instant, CallError)>>>;

impl Turns {
    fn of(&self, member: &MemberName) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(member.clone()).or_default())
    }
}

impl Engine {
    /// Does nothing where it stands already, as seen when this look at the repository began.
    pub(super) async fn push_shared(&self, member: &Member, seen: &Standing, id: RepositoryId) -> Result<(), Trouble> {
        let (hub_id, namespace) = (&self.settings.hub_id, &self.settings.member_namespace);
        if Push::new(member, hub_id, seen).has_support(&self.support) {
            return Ok(());
        }
        let (turn, came) = (self.shared_turns.of(member.name()), Instant::now());
        let mut last = turn.lock().await;
        // Each that waited would wait as long again, and keep other members' repositories from being worked on.
        if let Some((_, error)) = last.as_ref().filter(|(failed, _)| *failed > came) {
            return Err(error.clone().into());
        }
        // Whoever had the turn before may have brought it.
        let standing = work::shared(&self.world(), member.name(), hub_id, namespace);
        let mut push = Push::new(member, hub_id, &standing);
        let done = push.support(&self.support).await;
        *last = done.as_ref().err().map(|error| (Instant::now(), error.clone()));
        self.note_push(member.name(), push.noted, id);
        Ok(done?)
    }

    /// Remembers and tells what a push wrote or compared.
    pub(super) fn note_push(&self, member: &MemberName, noted: Vec<Noted>, id: RepositoryId) {
        for note in noted.iter().filter(|note| note.wrote) {
            info!(cluster = %member, kind = ?note.kind, object = %note.name, repository = %id, "applied");
            self.metrics.member_written(note.kind.as_str());
        }
        self.note(member, noted);
    }
}
