//! The simulated repositories themselves: what an object store would hold of each, and who is in it at the moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// All repositories that the fleet's Secrets point at; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Repositories(Arc<Mutex<Store>>);

#[derive(Debug, Default)]
struct Store {
    by_location: BTreeMap<String, Repository>,
    /// Other locations of theirs, as a store has that goes by several host names.
    aliases: BTreeMap<String, String>,
}

impl Store {
    fn resolve<'a>(&'a self, location: &'a str) -> &'a str {
        self.aliases.get(location).map_or(location, String::as_str)
    }
}

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
    fn lock(&self) -> MutexGuard<'_, Store> {
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
        self.lock().by_location.insert(location.to_owned(), repository);
    }

    /// From now on `location` is another name for what lies at `of`.
    pub fn alias(&self, location: &str, of: &str) {
        self.lock().aliases.insert(location.to_owned(), of.to_owned());
    }

    pub fn get(&self, location: &str) -> Option<Repository> {
        let store = self.lock();
        store.by_location.get(store.resolve(location)).cloned()
    }

    pub fn all(&self) -> BTreeMap<String, Repository> {
        self.lock().by_location.clone()
    }

    /// Changes one; none where it does not exist.
    pub fn change<T>(&self, location: &str, change: impl FnOnce(&mut Repository) -> T) -> Option<T> {
        let mut store = self.lock();
        let location = store.resolve(location).to_owned();
        store.by_location.get_mut(&location).map(change)
    }
}
