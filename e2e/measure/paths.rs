//! Where hub and floor find things on API servers.

/// Once a month: no run starts by itself.
pub const SCHEDULE: &str = "17 3 1 * *";
pub const OTHER_SCHEDULE: &str = "23 4 1 * *";

const OURS: &str = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dvolsync-hub";
pub const CRON_JOBS: &str = "/apis/batch/v1/namespaces/volsync-system/cronjobs";
pub const JOBS: &str = "/apis/batch/v1/namespaces/volsync-system/jobs";
pub const PODS: &str = "/api/v1/namespaces/volsync-system/pods";
pub const SECRETS: &str = "/api/v1/namespaces/volsync-system/secrets";
pub const LEDGER: &str = "/apis/hub.volsync.backube/v1alpha1/kopiarepositories";
pub const POLICIES: &str = "/apis/volsync.backube/v1alpha1/kopiamaintenances";
pub const CLUSTERS: &str = "/apis/hub.volsync.backube/v1alpha1/memberclusters";

/// The collection of this hub's objects.
pub fn ours(collection: &str) -> String {
    format!("{collection}?{OURS}")
}
