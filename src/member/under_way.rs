//! The Jobs of one member, and their Pods, that have not ended: while there are any, those of a member whose watches
//! tell nothing are listed sooner.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};

use crate::names::ObjectName;

use super::contact::Part;

/// A claim and most runs take less than a minute, and others wait for their turn meanwhile.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// What was just made has ended at the soonest after this, and more may be made by then.
const LOOK_AFTER_MADE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct UnderWay {
    seen: Mutex<BTreeSet<(Part, ObjectName)>>,
    made: Sender<()>,
}

impl UnderWay {
    fn seen(&self) -> MutexGuard<'_, BTreeSet<(Part, ObjectName)>> {
        // Each change is one insertion or one removal.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This hub made a Job, which nobody has seen yet.
    pub fn made(&self) {
        self.made.send_replace(());
    }

    /// A Job or a Pod was seen, or is gone.
    pub fn saw(&self, part: Part, name: &ObjectName, goes_on: bool) {
        let it = (part, name.clone());
        if goes_on {
            self.seen().insert(it);
        } else {
            self.seen().remove(&it);
        }
    }

    /// Wakes for each Job made from now on.
    pub fn follow(&self) -> Receiver<()> {
        self.made.subscribe()
    }

    /// Waits for `pause`, or less where Jobs are under way; true: it was less because of them.
    pub async fn wait(&self, made: &mut Receiver<()>, pause: Duration) -> bool {
        if pause > LOOK_AFTER && !self.seen().is_empty() {
            tokio::time::sleep(LOOK_AFTER).await;
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => !self.seen().is_empty(),
            Ok(()) = made.changed() => {
                tokio::time::sleep(LOOK_AFTER_MADE).await;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_looked_at_soon_and_what_is_over_is_not() {
        let (jobs, minute) = (UnderWay::default(), Duration::from_mins(1));
        let job = ObjectName::new("volsync-system", "claim");
        let mut made = jobs.follow();
        let begin = Instant::now();
        assert!(!jobs.wait(&mut made, minute).await);
        assert_eq!(begin.elapsed(), minute);
        jobs.made();
        assert!(jobs.wait(&mut made, minute).await, "made while a watch was tried");
        assert_eq!(begin.elapsed(), minute + LOOK_AFTER_MADE);
        for (part, goes_on) in [(Part::Jobs, true), (Part::Pods, true), (Part::Jobs, false)] {
            jobs.saw(part, &job, goes_on);
            let begin = Instant::now();
            assert!(jobs.wait(&mut made, minute).await, "{part:?}");
            assert_eq!(begin.elapsed(), LOOK_AFTER);
        }
        jobs.saw(Part::Pods, &job, false);
        assert!(!jobs.wait(&mut made, minute).await);
    }
}
