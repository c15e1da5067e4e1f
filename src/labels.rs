//! The labels, annotations and the field manager by which the hub knows its own objects in the members.

/// Server-side apply and every other write of the hub.
pub const FIELD_MANAGER: &str = "volsync-hub";

/// What the hub changes of other tools' objects.
pub const ADOPTER: &str = "volsync-hub-adopt";

/// On every CronJob, Job and Pod that maintains a Kopia repository, ours and others'.
pub const MAINTENANCE: &str = "volsync.backube/kopia-maintenance";
pub const MAINTENANCE_VALUE: &str = "true";

pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub const MANAGED_BY_VALUE: &str = "volsync-hub";

/// The id of the repository that an object serves.
pub const REPOSITORY: &str = "hub.volsync.backube/repository";
/// The identity of the hub that made an object.
pub const HUB: &str = "hub.volsync.backube/hub";
/// On Jobs: `claim` or `run`.
pub const ROLE: &str = "hub.volsync.backube/role";
/// On Secrets beside the hub: its `kubeconfig` or `value` registers a member.
pub const MEMBER: &str = "hub.volsync.backube/member";

/// Annotations.
pub const POLICY: &str = "hub.volsync.backube/policy";
pub const EPOCH: &str = "hub.volsync.backube/epoch";
/// The Secret that was copied: `cluster/namespace/name`.
pub const SOURCE: &str = "hub.volsync.backube/source";
pub const APPLIED_HASH: &str = "hub.volsync.backube/applied-hash";
/// Annotations of ours begin with this.
pub const PREFIX: &str = "hub.volsync.backube/";

/// The whole identity; names hold only its head.
pub const KEY: &str = "hub.volsync.backube/repository-key";
/// The version of the source that was copied: `uid/resourceVersion`.
pub const SOURCE_VERSION: &str = "hub.volsync.backube/source-version";
/// `traceparent` of what wrote a CronJob or Job: on the object, and on the Jobs that a CronJob makes.
pub const TRACEPARENT: &str = "hub.volsync.backube/traceparent";
/// Which attempt at claiming an epoch a Job belongs to.
pub const ATTEMPT: &str = "hub.volsync.backube/attempt";
/// On CronJobs: what image, script and rendering of the release it has, and since when; what its policy asked for.
pub const REVISION: &str = "hub.volsync.backube/revision";
pub const REVISION_SINCE: &str = "hub.volsync.backube/revision-since";
pub const SETTINGS: &str = "hub.volsync.backube/settings";
/// On the Job of a run by hand: its token.
pub const RUN_NOW: &str = "hub.volsync.backube/run-now";
/// On a MemberCluster: each new value makes the hub look at once at what it otherwise looks at twice an hour.
pub const LOOK_AGAIN: &str = "hub.volsync.backube/look-again";
/// On another tool's object that a hub has suspended: which hub, for which repository, when, and what it was before.
pub const ADOPTED: &str = "hub.volsync.backube/adopted";
/// Of the CronJobs that early versions of VolSync's own maintenance keep beside its operator: the source's namespace.
pub const SOURCE_NAMESPACE: &str = "volsync.backube/source-namespace";
