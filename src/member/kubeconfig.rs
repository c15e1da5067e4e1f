//! Reads a kubeconfig and refuses what its origin must not say.
use kube::Config;

use super::resolver::Reach;

/// What it takes to reach a member. Prints no credential.
#[derive(Clone)]
pub struct Credentials {
    pub(super) config: Config,
    pub(super) reach: Reach,
}
impl Credentials {
    pub fn of_config(config: Config) -> Self {
        Self { config, reach: Reach::Anywhere }
    }
}
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}
