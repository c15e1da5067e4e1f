//! The objects that a user of VolSync has in a member: namespaces, repository Secrets and sources.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

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
        self.create_with(fleet, &[]).await
    }

    /// The same with more variables for the client that creates it.
    pub async fn create_with(&self, fleet: &Fleet, variables: &[(&str, &str)]) -> Result<(), Fail> {
        self.kopia(fleet, &["repository", "create"], variables).await
    }

    /// Makes a client the recorded maintenance owner: another tool, or another grant.
    pub async fn set_owner(&self, fleet: &Fleet, user: &str, host: &str) -> Result<(), Fail> {
        let home = tempfile::tempdir_in(&fleet.dir)?;
        let (config, cache) = (home.path().join("config"), home.path().join("cache"));
        let (config, cache) = (config.display().to_string(), cache.display().to_string());
        let places = [("KOPIA_CONFIG_PATH", config.as_str()), ("KOPIA_CACHE_DIRECTORY", cache.as_str())];
        let (user, host) = (format!("--override-username={user}"), format!("--override-hostname={host}"));
        self.kopia(fleet, &["repository", "connect", &user, &host], &places).await?;
        let keys = [places[0], places[1], ("KOPIA_PASSWORD", PASSWORD)];
        fleet.kopia(&["maintenance", "set", "--owner=me"], &keys).await.map(drop)
    }

    /// Where the stand-in for Kopia keeps this place.
    pub fn store(&self, fleet: &Fleet) -> PathBuf {
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("prefix={};", self.prefix) };
        let place = format!("bucket={};endpoint={};{prefix}", self.bucket, self.endpoint);
        let hash = Sha256::digest(place.as_bytes());
        let head = hash.iter().take(8).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
        fleet.dir.join("stores").join(format!("s3-{head:016x}"))
    }

    /// From now on every client of this place meets a fault that the stand-in knows.
    pub fn break_with(&self, fleet: &Fleet, fault: &str) -> Result<(), Fail> {
        Ok(std::fs::write(self.store(fleet).join("faults").join(fault), "")?)
    }

    pub fn mend(&self, fleet: &Fleet, fault: &str) -> Result<(), Fail> {
        Ok(std::fs::remove_file(self.store(fleet).join("faults").join(fault))?)
    }

    async fn kopia(&self, fleet: &Fleet, command: &[&str], variables: &[(&str, &str)]) -> Result<(), Fail> {
        let (bucket, endpoint) = (format!("--bucket={}", self.bucket), format!("--endpoint={}", self.endpoint));
        let prefix = format!("--prefix={}", self.prefix);
        let (words, flags) = command.split_at(2);
        let mut args = [words, &["s3", &bucket, &endpoint], flags].concat();
        if !self.prefix.is_empty() {
            args.push(&prefix);
        }
        let keys = [
            ("KOPIA_PASSWORD", PASSWORD),
            ("AWS_ACCESS_KEY_ID", "access-key-id"),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ];
        fleet.kopia(&args, &[&keys, variables].concat()).await.map(drop)
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

/// A policy for every source in these namespaces; `more` are further lines of its spec.
pub fn policy_in(name: &str, namespaces: &[&str], more: &str) -> String {
    let (namespaces, more) = (namespaces.join(", "), more.replace('\n', "\n  "));
    format!(
        "---\napiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {{name: {name}}}\nspec:\n  \
         repositorySelector: {{repository: \"*\", namespaceSelector: {{matchNames: [{namespaces}]}}}}\n  {more}\n"
    )
}
