//! The simulated repositories themselves: what an object store would hold of each, and who is in it at the moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// All repositories that the fleet's Secrets point at; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Repositories(Arc<Mutex<BTreeMap<String, Repository>>>);

/// One place in a store.
#[derive(Clone, Debug)]
pub struct Repository {
    pub unique_id: String,
    pub password: String,
    /// Kopia's recorded maintenance owner.
    pub owner: String,
    pub last_run_start: Option<Timestamp>,
    /// Runs that are in it at this moment, as (member, Pod).
    pub inside: Vec<(String, String)>,
    /// Runs that ended well.
    pub runs: u32,
    /// Times at which two runs were in it at once: what must never happen.
    pub collisions: u32,
}

impl Repositories {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Repository>> {
        // Every change is one assignment; a panic elsewhere leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a repository as a backup would: its first owner is whoever connected first.
    pub fn create(&self, location: &str, password: &str, owner: &str) {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(location.as_bytes());
        let unique_id = digest.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"));
        let repository = Repository {
            unique_id,
            password: password.to_owned(),
            owner: owner.to_owned(),
            last_run_start: None,
            inside: Vec::new(),
            runs: 0,
            collisions: 0,
        };
        self.lock().insert(location.to_owned(), repository);
    }

    pub fn get(&self, location: &str) -> Option<Repository> {
        self.lock().get(location).cloned()
    }
    pub fn all(&self) -> BTreeMap<String, Repository> {
        self.lock().clone()
    }

    /// Changes one; none where it does not exist.
    pub fn change<T>(&self, location: &str, change: impl FnOnce(&mut Repository) -> T) -> Option<T> {
        self.lock().get_mut(location).map(change)
    }
}
