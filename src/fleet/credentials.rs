//! Rotates the credentials that kubeconfigs of members hold, as whoever hands them out would.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::demo::kubeconfigs::Kubeconfigs;
use crate::sim::{Access, SimCluster};

/// The kubeconfigs of a fleet, and the token that each member's holds where it is no longer the first one.
#[derive(Debug)]
pub struct Credentials {
    kubeconfigs: Kubeconfigs,
    tokens: Mutex<BTreeMap<String, String>>,
}

impl Credentials {
    pub fn new(kubeconfigs: Kubeconfigs) -> Self {
        Self { kubeconfigs, tokens: Mutex::default() }
    }

    /// A new token in the member's kubeconfig; the one before is good for so much longer.
    pub fn rotate(&self, member: &SimCluster, before_lasts: Duration) -> Result<(), String> {
        // One after the other: the file and what is known of it belong together.
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = member.add_user("simulated-admin", Access::Everything);
        self.kubeconfigs
            .renew(member, &token)
            .map_err(|error| format!("failed to rotate the credentials of {}: {error}", member.name()))?;
        let before = tokens.insert(member.name().to_owned(), token).unwrap_or_else(|| member.token().to_owned());
        drop(tokens);
        let member = member.clone();
        tokio::spawn(async move {
            tokio::time::sleep(before_lasts).await;
            member.revoke(&before);
        });
        Ok(())
    }
}
