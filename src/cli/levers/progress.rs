//! What becomes of an edit of one repository: each step of a hand-over, or of a run, as a line with the time since the edit.

use std::time::Duration;

use tokio::time::Instant;

use super::act::{Edited, Hub, POLL, is_told};
use super::say::LOOK;
use super::trigger::{self, Ended, maintained};
use crate::api::kopia_repository::{GrantPhase, KopiaRepository, RunStatus};
use crate::cli::output::{duration, one_line, print_text};

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// Another member than this holds it, and may run.
    Moved { from: String },
    /// The run of this token has ended; those that are known before are others.
    Ran { token: String, before: Vec<RunStatus> },
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Done,
    /// A run that was no success.
    Failed,
    /// Patience is over.
    Waits,
}

/// What was seen last, so that nothing is said twice.
#[derive(Debug)]
pub struct Progress {
    edited: Edited,
    goal: Goal,
    said: Option<String>,
}

impl Progress {
    pub fn new(edited: Edited, goal: Goal) -> Self {
        Self { edited, goal, said: None }
    }

    /// A line where something else is to be said than before. The hub's status before it has taken note says nothing.
    pub fn line(&mut self, object: &KopiaRepository, since: Duration) -> Option<String> {
        if !is_told(object, &self.edited) {
            return None;
        }
        let says = says(object);
        if self.said.as_ref() == Some(&says) {
            return None;
        }
        let line = format!("{:>6}  {says}\n", format!("+{}", duration(since.as_secs())));
        self.said = Some(says);
        Some(line)
    }

    /// The end, and what is to be said of it.
    pub fn end(&self, object: &KopiaRepository, since: Duration) -> Option<(End, String)> {
        if !is_told(object, &self.edited) {
            return None;
        }
        let after = duration(since.as_secs());
        match &self.goal {
            Goal::Moved { from } => {
                let grant = object.status.as_ref()?.grant.as_ref()?;
                let moved = grant.cluster != *from && grant.phase == GrantPhase::Active;
                moved.then(|| {
                    (End::Done, format!("done after {after}: {} maintains it, epoch {}\n", grant.cluster, grant.epoch))
                })
            }
            Goal::Ran { token, before } => match trigger::ended(object, token, before)? {
                Ended::NotRecorded => None,
                Ended::With(run) => {
                    let end = if trigger::is_success(run) { End::Done } else { End::Failed };
                    Some((end, format!("ended: {}\n", trigger::told(run))))
                }
            },
        }
    }

    /// Patience is over: what it waits for.
    pub fn waits(&self, object: &KopiaRepository, since: Duration) -> String {
        let after = duration(since.as_secs());
        if !is_told(object, &self.edited) {
            let observed = object.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
            return format!(
                "after {after} the hub has not taken note yet (status.observedGeneration is {observed}, the edit made \
                 generation {}). {LOOK}\n",
                self.edited.generation
            );
        }
        let noted = match &self.goal {
            Goal::Ran { token, before } => trigger::ended(object, token, before) == Some(Ended::NotRecorded),
            Goal::Moved { .. } => false,
        };
        if noted {
            return format!("after {after} the hub is done with it, and status.runs has no run of it\n");
        }
        let what = match &self.goal {
            Goal::Ran { .. } => "the run has not ended",
            Goal::Moved { .. } => "it has not moved yet",
        };
        format!("after {after} {what}: {}. It goes on by itself\n", says(object))
    }
}

/// The grant's phase and the message of the condition, on a line.
fn says(object: &KopiaRepository) -> String {
    let status = object.status.clone().unwrap_or_default();
    let grant = match &status.grant {
        Some(grant) => format!("{:?} in {}", grant.phase, grant.cluster),
        None => "no grant".to_owned(),
    };
    let state = status.state.as_deref().filter(|state| *state != "Maintained").map(|state| format!(", {state}"));
    let message = maintained(&status).map(|message| format!(": {}", one_line(message.trim_end_matches('.'))));
    format!("{grant}{}{}", state.unwrap_or_default(), message.unwrap_or_default())
}

/// Tells each change until the goal is reached or patience is over.
pub async fn follow(hub: &Hub, edited: &Edited, goal: Goal, patience: Duration) -> Result<End, String> {
    let (begin, mut progress) = (Instant::now(), Progress::new(edited.clone(), goal));
    loop {
        let object = hub.repository(&edited.name).await?;
        let since = begin.elapsed();
        if let Some(line) = progress.line(&object, since) {
            print_text(&line)?;
        }
        if let Some((end, text)) = progress.end(&object, since) {
            print_text(&text)?;
            return Ok(end);
        }
        if since >= patience {
            print_text(&progress.waits(&object, since))?;
            return Ok(End::Waits);
        }
        tokio::time::sleep(POLL.min(patience.saturating_sub(since))).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{name, record};
    use super::*;

    fn seen(generation: i64, grant: &Value, message: &str) -> KopiaRepository {
        let condition = json!({"type": "Maintained", "status": "False", "reason": "Any", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        record(1, &json!({}), &json!({"observedGeneration": generation, "grant": grant, "conditions": [condition]}))
    }

    fn grant(cluster: &str, phase: &str) -> Value {
        json!({"cluster": cluster, "epoch": 4, "phase": phase})
    }

    fn progress(goal: Goal) -> Progress {
        Progress::new(Edited { name: name(1), generation: 2 }, goal)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_step_of_a_hand_over_is_said_once() {
        let mut progress = progress(Goal::Moved { from: "east".to_owned() });
        let steps = [
            (seen(1, &grant("east", "Active"), "before"), None),
            (seen(2, &grant("west", "Claiming"), "claims"), Some("   +1s  Claiming in west: claims\n")),
            (seen(2, &grant("west", "Claiming"), "claims"), None),
            (seen(2, &grant("west", "Claiming"), "waits."), Some("   +1s  Claiming in west: waits\n")),
            (seen(2, &grant("west", "Draining"), "waits"), Some("   +1s  Draining in west: waits\n")),
        ];
        for (object, line) in steps {
            assert_eq!(progress.line(&object, SECOND).as_deref(), line);
            assert_eq!(progress.end(&object, SECOND), None);
        }
        let stays = seen(2, &grant("east", "Active"), "");
        assert_eq!(progress.end(&stays, SECOND), None);
        let done = seen(2, &grant("west", "Active"), "");
        let (end, text) = progress.end(&done, SECOND * 130).unwrap();
        assert_eq!((end, text.as_str()), (End::Done, "done after 2m10s: west maintains it, epoch 4\n"));
    }

    #[test]
    fn who_waits_is_told_for_what() {
        let moved = progress(Goal::Moved { from: "east".to_owned() });
        let waits = moved.waits(&seen(2, &grant("west", "Draining"), "waits for the former holder"), SECOND * 30);
        assert!(waits.starts_with("after 30s it has not moved yet: Draining in west: waits for the former"), "{waits}");
        let unnoted = moved.waits(&seen(1, &grant("east", "Active"), ""), SECOND * 30);
        assert!(unnoted.contains("observedGeneration is 1, the edit made generation 2"), "{unnoted}");
        let ran = progress(Goal::Ran { token: "t".to_owned(), before: Vec::new() });
        let mut object = seen(2, &grant("east", "Active"), "");
        assert!(ran.waits(&object, SECOND).contains("the run has not ended"));
        object.status.as_mut().unwrap().run_now_seen = Some("t".to_owned());
        assert!(ran.end(&object, SECOND).is_none() && ran.waits(&object, SECOND).contains("no run of it"));
    }

    #[test]
    fn a_run_that_was_no_success_is_no_success() {
        let ran = progress(Goal::Ran { token: "t".to_owned(), before: Vec::new() });
        for (outcome, end) in [("Succeeded", End::Done), ("Fenced", End::Failed), ("Unheard", End::Failed)] {
            let mut object = seen(2, &grant("east", "Active"), "");
            let status = object.status.as_mut().unwrap();
            status.run_now_seen = Some("t".to_owned());
            status.runs = vec![RunStatus { outcome: outcome.to_owned(), ..RunStatus::default() }];
            let (ended, text) = ran.end(&object, SECOND).unwrap();
            assert!(ended == end && text.contains(outcome), "{text}");
        }
    }
}
