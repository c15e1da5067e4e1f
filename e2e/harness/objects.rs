//! The objects that a user of VolSync has in a member: namespaces, repository Secrets and sources.

use super::Fail;
use super::cluster::Cluster;
use super::fleet::Fleet;

/// The password of every repository of the tests, unless one is about passwords. No output may ever hold it.
pub const PASSWORD: &str = "p4ss-w0rd-0f-th3-r3p0s1t0ry";
/// The secret key of every object store of the tests, likewise.
pub const SECRET_KEY: &str = "s3cr3t-k3y-0f-th3-st0r3";

/// An S3 place: what a repository Secret points at.
#[derive(Clone, Debug)]
pub struct S3 {
    pub endpoint: String,
    pub bucket: String,
    /// Empty, or ending in a slash.
    pub prefix: String,
}

impl S3 {
    /// A bucket at an endpoint that means the same in every cluster.
    pub fn bucket(bucket: &str) -> Self {
        Self { endpoint: "s3.example.com".into(), bucket: bucket.into(), prefix: String::new() }
    }

    /// A repository Secret for this place, as the documentation of VolSync's Kopia mover has it.
    pub fn secret(&self, namespace: &str, name: &str) -> String {
        let Self { endpoint, bucket, prefix } = self;
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n  \
             KOPIA_REPOSITORY: s3://{bucket}/{prefix}\n  KOPIA_PASSWORD: {PASSWORD}\n  \
             AWS_S3_ENDPOINT: {endpoint}\n  AWS_ACCESS_KEY_ID: access-key-id\n  AWS_SECRET_ACCESS_KEY: {SECRET_KEY}\n"
        )
    }

    /// Creates the Kopia repository there, owned by a client that is not the hub's, as movers leave it.
    pub async fn create(&self, fleet: &Fleet) -> Result<(), Fail> {
        let (bucket, endpoint) = (format!("--bucket={}", self.bucket), format!("--endpoint={}", self.endpoint));
        let prefix = format!("--prefix={}", self.prefix);
        let mut args = vec!["repository", "create", "s3", &bucket, &endpoint];
        if !self.prefix.is_empty() {
            args.push(&prefix);
        }
        let keys = [
            ("KOPIA_PASSWORD", PASSWORD),
            ("AWS_ACCESS_KEY_ID", "access-key-id"),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ];
        fleet.kopia(&args, &keys).await.map(drop)
    }
}

pub fn namespace(name: &str, labels: &[(&str, &str)]) -> String {
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}: {value:?}")).collect();
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{}}}}}\n", labels.join(", "))
}

/// A source that backs up into the repository of a Secret beside it.
pub fn source(namespace: &str, name: &str, secret: &str) -> String {
    format!(
        "---\napiVersion: volsync.backube/v1alpha1\nkind: ReplicationSource\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  sourcePVC: data\n  \
         trigger: {{schedule: \"0 1 * * *\"}}\n  kopia: {{repository: {secret}}}\n"
    )
}

/// A namespace with one source and its Secret, and nothing special about them.
pub async fn backed_up(member: &Cluster, namespace_name: &str, secret: &str, place: &S3) -> Result<(), Fail> {
    let manifest =
        [namespace(namespace_name, &[]), place.secret(namespace_name, secret), source(namespace_name, "data", secret)];
    member.shell.apply(&manifest.concat()).await.map(drop)
}
