//! The log that a repository itself keeps of who came in and who went out: whether two were ever in it at once.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::stage::LONG;
use crate::harness::Fail;
use crate::harness::fleet::Fleet;
use crate::harness::objects::S3;
use crate::harness::wait::{Seen, wait_for};

/// Of one repository.
pub struct Journal {
    store: PathBuf,
}

/// A line of it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub begins: bool,
    /// `volsync-hub-<epoch>@<member>.<hub>`
    pub client: String,
    pub epoch: u64,
}

impl Journal {
    pub fn of(place: &S3, fleet: &Fleet) -> Self {
        Self { store: place.store(fleet) }
    }

    /// So long each run is in the repository from now on.
    pub fn runs_take(&self, seconds: &str) -> Result<(), Fail> {
        Ok(fs::write(self.store.join("run-seconds"), seconds)?)
    }

    pub fn entries(&self) -> Result<Vec<Entry>, Fail> {
        let log = fs::read_to_string(self.store.join("runs.log"))?;
        log.lines().map(Entry::read).collect()
    }

    /// Waits until a run begins that had not begun when this was called.
    pub async fn runs(&self, what: &str, wanted: impl Fn(&Entry) -> bool) -> Result<(), Fail> {
        let before = self.entries()?.len();
        wait_for(what, LONG, async || {
            let news = self.entries()?.split_off(before);
            Ok(Seen::when(news.iter().any(|entry| entry.begins && wanted(entry)), format!("{news:?}")))
        })
        .await
    }

    /// Waits until a run has ended, and no other has begun.
    pub async fn rests(&self) -> Result<(), Fail> {
        wait_for("nobody to be inside", LONG, async || {
            let before = self.entries()?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            let after = self.entries()?;
            let rests = after.len() == before.len() && after.last().is_some_and(|entry| !entry.begins);
            Ok(Seen::when(rests, format!("{:?}", after.last())))
        })
        .await
    }

    /// Nobody came in while somebody was inside, and no epoch came after a higher one.
    pub fn never_two_at_once(&self) -> Result<(), Fail> {
        let (mut inside, mut highest): (Option<Entry>, u64) = (None, 0);
        for entry in self.entries()? {
            if entry.begins {
                assert!(inside.is_none(), "{inside:?} and {entry:?}");
                assert!(entry.epoch >= highest, "{entry:?} after epoch {highest}");
                highest = entry.epoch;
                inside = Some(entry);
            } else {
                inside = None;
            }
        }
        Ok(())
    }
}

impl Entry {
    fn read(line: &str) -> Result<Self, Fail> {
        let mut words = line.split(' ');
        let begins = words.next() == Some("begin");
        let client = words.nth(1).ok_or_else(|| format!("no client in {line:?}"))?.to_owned();
        let epoch = client.strip_prefix("volsync-hub-").and_then(|rest| rest.split('@').next()?.parse().ok());
        Ok(Self { begins, epoch: epoch.ok_or_else(|| format!("no epoch in {line:?}"))?, client })
    }

    pub fn is_of(&self, member: &str) -> bool {
        self.client.contains(&format!("@{member}."))
    }
}
