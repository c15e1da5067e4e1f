//! One cluster: a control plane, its administrator, and the stand-in kubelet that runs its Pods.

use std::path::{Path, PathBuf};

use kube::Client;

use super::Fail;
use super::audit::AuditLog;
use super::control_plane::{ControlPlane, Parts, client_of, write_kubeconfig, write_kubeconfig_with};
use super::kubelet::{Setup, StandInKubelet};
use super::pki::{Authority, Identity};
use super::shell::Shell;

/// A running cluster. Everything ends when it is dropped.
pub struct Cluster {
    pub name: String,
    pub dir: PathBuf,
    pub control_plane: ControlPlane,
    /// The administrator's client: for what the test itself does, never for what it tests.
    pub client: Client,
    /// The administrator's kubectl.
    pub shell: Shell,
    pub kubelet: StandInKubelet,
    authority: Authority,
}

impl Cluster {
    /// Starts the cluster `name` with its files in `dir`.
    pub async fn start(name: &str, parts: Parts<'_>, dir: &Path, setup: Setup) -> Result<Self, Fail> {
        let authority = Authority::new(name)?;
        let control_plane = ControlPlane::start(name, parts, &authority, dir).await?;
        let client = client_of(&control_plane.admin).await?;
        let credentials = dir.join("stand-in-kubelet.kubeconfig");
        let user = authority.client("stand-in-kubelet", "system:masters")?;
        write_kubeconfig(&credentials, &control_plane.url, &authority, name, &user)?;
        let server = authority.server("stand-in-kubelet")?;
        let kubelet =
            StandInKubelet::start(name, client_of(&credentials).await?, &server, &dir.join("pods"), setup).await?;
        let shell = Shell::new(&parts.tools.kubectl, &control_plane.admin, dir);
        Ok(Self { name: name.to_owned(), dir: dir.to_owned(), control_plane, client, shell, kubelet, authority })
    }

    /// A server that this cluster's clients trust.
    pub fn server_identity(&self, name: &str) -> Result<Identity, Fail> {
        self.authority.server(name)
    }

    pub fn audit(&self) -> &AuditLog {
        &self.control_plane.audit
    }

    /// Writes a kubeconfig with a bearer token for this cluster, as the user whose token it is.
    pub fn write_token_kubeconfig(&self, path: &Path, token: &str) -> Result<(), Fail> {
        let credentials = serde_json::json!({"token": token});
        write_kubeconfig_with(path, &self.control_plane.url, &self.authority, &self.name, &credentials)
    }

    /// Writes a kubeconfig with a client certificate for a user of the test's choice.
    pub fn write_certificate_kubeconfig(&self, path: &Path, user: &str, group: &str) -> Result<(), Fail> {
        self.write_certificate_kubeconfig_until(path, user, group, None)
    }

    /// The same with a certificate that ends then.
    pub fn write_certificate_kubeconfig_until(
        &self,
        path: &Path,
        user: &str,
        group: &str,
        end: Option<jiff::Timestamp>,
    ) -> Result<(), Fail> {
        let identity = self.authority.client_until(user, group, end)?;
        write_kubeconfig(path, &self.control_plane.url, &self.authority, &self.name, &identity)
    }
}
