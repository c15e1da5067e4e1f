//! Runs the credential program that a kubeconfig file names, as kubectl does, but under a time limit and beside
//! everything else: a program that hangs or fails costs its own member and no other.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use jiff::Timestamp;
use kube::config::ExecConfig;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::breaker::Health;
use super::call::Member;

/// It may ask an identity provider over a slow line.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A certificate with its chain, a key and a token, many times over.
const OUTPUT_MAX: u64 = 1 << 20;
/// New credentials are fetched this long before the present ones end.
const MARGIN: Duration = Duration::from_mins(1);
/// Between two runs, whatever the program says of the end of what it gave.
const GAP: Duration = Duration::from_secs(30);
/// What client-go speaks; the older v1alpha1 is gone.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// The `Authorization` header that a client sends now.
pub type Authorization = Arc<ArcSwap<HeaderValue>>;

/// A program that prints credentials. Its arguments and variables may hold secrets, so it is never printed.
#[derive(Clone)]
pub struct Program {
    command: String,
    config: ExecConfig,
    /// What it is told through `KUBERNETES_EXEC_INFO`.
    info: String,
}

/// What it printed.
pub struct Credential {
    pub token: Option<Zeroizing<String>>,
    /// In PEM: certificate and key.
    pub certificate: Option<(String, Zeroizing<String>)>,
    pub expires: Option<Timestamp>,
}

/// Why there is no credential. Quotes nothing of what the program printed: it may be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential program {command} {problem}")]
pub struct ExecError {
    command: String,
    problem: String,
}

impl Program {
    /// `folder`: that of the kubeconfig, to which a path with a slash is relative.
    pub fn new(config: ExecConfig, folder: &Path) -> Result<Self, String> {
        let command = config.command.clone().filter(|command| !command.is_empty());
        let command = command.ok_or_else(|| "exec names no command".to_owned())?;
        let version = config.api_version.as_deref().unwrap_or_default();
        if !VERSIONS.contains(&version) {
            return Err(format!("exec's apiVersion has to be {} or {}", VERSIONS[0], VERSIONS[1]));
        }
        let command = if command.contains('/') { folder.join(command).display().to_string() } else { command };
        let mut spec = json!({"interactive": false});
        if config.provide_cluster_info {
            spec["cluster"] = serde_json::to_value(&config.cluster).unwrap_or_default();
        }
        let info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": spec}).to_string();
        Ok(Self { command, config, info })
    }

    pub async fn run(&self) -> Result<Credential, ExecError> {
        match tokio::time::timeout(TIMEOUT, self.output()).await {
            Ok(output) => self.read(&output?),
            // Dropped, it is killed.
            Err(_) => Err(self.failed(format!("did not end within {} s", TIMEOUT.as_secs()))),
        }
    }

    fn failed(&self, problem: String) -> ExecError {
        ExecError { command: self.command.clone(), problem }
    }

    async fn output(&self) -> Result<Zeroizing<Vec<u8>>, ExecError> {
        let ExecConfig { args, env, install_hint, .. } = &self.config;
        let variables =
            env.iter().flatten().filter_map(|variable| Some((variable.get("name")?, variable.get("value")?)));
        let mut child = tokio::process::Command::new(&self.command)
            .args(args.iter().flatten())
            .envs(variables)
            .env("KUBERNETES_EXEC_INFO", &self.info)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                let hint = install_hint.as_deref().map(|hint| format!(" ({})", hint.trim())).unwrap_or_default();
                self.failed(format!("can't be started: {error}; is it in the hub's image?{hint}"))
            })?;
        let mut output = Zeroizing::new(Vec::new());
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(OUTPUT_MAX).read_to_end(&mut output).await;
            read.map_err(|error| self.failed(format!("can't be read: {error}")))?;
        }
        let status = child.wait().await.map_err(|error| self.failed(format!("can't be waited for: {error}")))?;
        if !status.success() {
            return Err(self.failed(format!("failed ({status}); run it where the hub runs to see why")));
        }
        Ok(output)
    }

    fn read(&self, output: &[u8]) -> Result<Credential, ExecError> {
        #[derive(Deserialize)]
        struct Printed {
            status: Option<Status>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Status {
            token: Option<Zeroizing<String>>,
            client_certificate_data: Option<String>,
            client_key_data: Option<Zeroizing<String>>,
            expiration_timestamp: Option<Timestamp>,
        }
        let printed: Printed = serde_json::from_slice(output)
            .map_err(|error| self.failed(format!("printed no ExecCredential (line {})", error.line())))?;
        let status = printed.status.unwrap_or_default();
        let token = status.token.filter(|token| !token.trim().is_empty());
        let certificate = match (status.client_certificate_data, status.client_key_data) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(self.failed("printed a certificate without a key, or a key without one".to_owned())),
        };
        if token.is_none() && certificate.is_none() {
            return Err(self.failed("printed neither a token nor a certificate".to_owned()));
        }
        Ok(Credential { token, certificate, expires: status.expiration_timestamp })
    }
}

impl Credential {
    /// What the token is sent as; none where there is none.
    pub fn authorization(&self) -> Result<Option<HeaderValue>, &'static str> {
        let Some(token) = &self.token else { return Ok(None) };
        let text = Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| "the token holds control characters")?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Keeps what a program gave fresh.
pub struct Renewal {
    pub program: Program,
    pub authorization: Option<Authorization>,
    pub expires: Option<Timestamp>,
}

impl Renewal {
    /// Runs the program again before its credentials end, and when they are refused. Returns once a new client is
    /// needed: certificates belong to connections.
    pub async fn keep(mut self, member: Member) {
        let mut health = member.watch_health();
        loop {
            let due = async {
                match self.expires {
                    Some(end) => tokio::time::sleep(until(end)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                _ = health.wait_for(|health| *health == Health::Refused) => {}
            }
            let fresh = self.program.run().await;
            match fresh {
                Ok(credential) if credential.certificate.is_some() => return,
                Ok(credential) => self.take(&credential, &member),
                Err(error) => tracing::warn!(member = %member.name(), %error, "its credentials can't be renewed"),
            }
            tokio::time::sleep(GAP).await;
        }
    }

    fn take(&mut self, credential: &Credential, member: &Member) {
        match (credential.authorization(), &self.authorization) {
            (Ok(Some(value)), Some(authorization)) => {
                authorization.store(Arc::new(value));
                self.expires = credential.expires;
            }
            (Err(problem), _) => tracing::warn!(member = %member.name(), problem, "its credentials can't be renewed"),
            _ => {}
        }
    }
}

fn until(end: Timestamp) -> Duration {
    let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
    left.saturating_sub(MARGIN)
}
