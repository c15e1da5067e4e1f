//! The cluster at the other end of a client, as traces call it, and what a client may do there.

use std::sync::Arc;

use tokio::sync::Notify;

use super::fence::Fence;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: Arc<str>,
    /// Before every write.
    pub fence: Fence,
    /// Told of every request that was forbidden.
    pub forbidden: Arc<Notify>,
}

impl Peer {
    pub fn new(name: impl Into<Arc<str>>, fence: Fence) -> Self {
        Self { name: name.into(), fence, forbidden: Arc::default() }
    }
}
