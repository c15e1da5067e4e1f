//! Starts etcd, a kube-apiserver and a kube-controller-manager with the options they need on one machine.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::audit;
use super::http::free_port;
use super::pki::{Authority, Identity, token_key};
use super::process::{Process, Program};
use super::tools::Tools;
use super::wait::{Seen, wait_for};
use super::{Fail, tools};

/// An API server is ready in about 2 s on an idle core; four of them start together on two.
const START_TIME: Duration = Duration::from_secs(90);

/// What runs as controllers: what turns CronJobs into Jobs and Pods and cleans up after them, tokens and
/// quota, and the way from a Deployment to Pods.
const CONTROLLERS: &str = "cronjob-controller,job-controller,garbage-collector-controller,namespace-controller,\
ttl-after-finished-controller,serviceaccount-controller,serviceaccount-token-controller,\
root-ca-certificate-publisher-controller,resourcequota-controller,deployment-controller,replicaset-controller";

/// One etcd for all clusters of a fleet: each has a prefix of its own.
#[derive(Debug)]
pub struct Etcd {
    pub url: String,
    _process: Process,
}

impl Etcd {
    pub async fn start(tools: &Tools, dir: &Path) -> Result<Self, Fail> {
        fs::create_dir_all(dir)?;
        let (client, peer) = (free_port()?, free_port()?);
        let (url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let flags = [
            format!("--data-dir={}", dir.join("data").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            // The data is thrown away: a crash of the machine may take it.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
            "--quota-backend-bytes=8589934592".into(),
        ];
        let mut process = Process::start(&program(&tools.etcd, &flags, &dir.join("etcd.log")))?;
        let address = format!("127.0.0.1:{client}");
        wait_for("etcd to listen", START_TIME, async || {
            still_runs("etcd", &mut process)?;
            Ok(Seen::when(tokio::net::TcpStream::connect(&address).await.is_ok(), "no answer"))
        })
        .await?;
        Ok(Self { url, _process: process })
    }
}

/// What the control planes of a fleet have in common.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub tools: &'a Tools,
    pub etcd: &'a Etcd,
    /// Of the API servers, on top of the usual ones.
    pub flags: &'a [String],
}

/// An API server and its controller manager.
#[derive(Debug)]
pub struct ControlPlane {
    pub url: String,
    pub audit: audit::AuditLog,
    pub api_server: Process,
    pub controller_manager: Process,
    /// The kubeconfig of a member of `system:masters`.
    pub admin: PathBuf,
    /// How the API server was started.
    start: Start,
    /// The one that was started again.
    again: Mutex<Option<Process>>,
}

#[derive(Clone, Debug)]
struct Start {
    path: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
}

impl ControlPlane {
    /// Starts the API server again after it was killed: the same address, the same data.
    pub async fn restart_api_server(&self) -> Result<(), Fail> {
        let Start { path, flags, log } = &self.start;
        let mut process = Process::start(&program(path, flags, log))?;
        let client = client_of(&self.admin).await?;
        wait_for("the API server to be ready again", START_TIME, async || {
            still_runs("kube-apiserver", &mut process)?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(Seen::when(client.request_text(request).await? == "ok", "not ready"))
        })
        .await?;
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(())
    }

    /// Starts both, and returns when the API server says that it is ready.
    pub async fn start(name: &str, parts: Parts<'_>, authority: &Authority, dir: &Path) -> Result<Self, Fail> {
        let Parts { tools, etcd, flags: more } = parts;
        fs::create_dir_all(dir)?;
        let files = Files::write(name, authority, dir)?;
        let port = free_port()?;
        let url = format!("https://127.0.0.1:{port}");
        let admin = dir.join("admin.kubeconfig");
        write_kubeconfig(&admin, &url, authority, name, &authority.client("admin", "system:masters")?)?;
        let mut flags = api_server_flags(name, port, etcd, &files);
        flags.extend_from_slice(more);
        let start = Start { path: tools.kube_apiserver.clone(), flags, log: dir.join("kube-apiserver.log") };
        let mut api_server = Process::start(&program(&start.path, &start.flags, &start.log))?;
        let client = client_of(&admin).await?;
        wait_for(&format!("the API server of {name} to be ready"), START_TIME, async || {
            still_runs("kube-apiserver", &mut api_server)?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(Seen::when(client.request_text(request).await? == "ok", "not ready"))
        })
        .await?;
        let controller_manager = start_controller_manager(name, tools, authority, &files, &url)?;
        let audit = audit::AuditLog::new(&files.audit_log);
        Ok(Self { url, audit, api_server, controller_manager, admin, start, again: Mutex::default() })
    }
}

/// A client with the credentials of a kubeconfig file.
pub async fn client_of(kubeconfig: &Path) -> Result<kube::Client, Fail> {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// A kubeconfig with a client certificate, everything inside the file.
pub fn write_kubeconfig(
    path: &Path,
    url: &str,
    authority: &Authority,
    cluster: &str,
    user: &Identity,
) -> Result<(), Fail> {
    let credentials = json!({
        "client-certificate-data": base64(&user.certificate_pem),
        "client-key-data": base64(&user.key_pem),
    });
    write_kubeconfig_with(path, url, authority, cluster, &credentials)
}

/// A kubeconfig with any credentials. JSON is YAML as well.
pub fn write_kubeconfig_with(
    path: &Path,
    url: &str,
    authority: &Authority,
    cluster: &str,
    credentials: &serde_json::Value,
) -> Result<(), Fail> {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": cluster,
        "clusters": [{"name": cluster, "cluster": {
            "server": url, "certificate-authority-data": base64(authority.certificate_pem())}}],
        "users": [{"name": "user", "user": credentials}],
        "contexts": [{"name": cluster, "context": {
            "cluster": cluster, "user": "user", "namespace": "volsync-system"}}],
    });
    Ok(fs::write(path, serde_json::to_string_pretty(&kubeconfig)?)?)
}

pub fn base64(text: &str) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

/// The files that the servers read and write.
struct Files {
    dir: PathBuf,
    ca: PathBuf,
    token_key: PathBuf,
    token_public_key: PathBuf,
    server: (PathBuf, PathBuf),
    kubelet_client: (PathBuf, PathBuf),
    audit_policy: PathBuf,
    audit_log: PathBuf,
}

impl Files {
    fn write(name: &str, authority: &Authority, dir: &Path) -> Result<Self, Fail> {
        let path = |file: &str| dir.join(file);
        let (private, public) = token_key()?;
        fs::write(path("ca.crt"), authority.certificate_pem())?;
        fs::write(path("token.key"), private)?;
        fs::write(path("token.pub"), public)?;
        fs::write(path("audit-policy.yaml"), audit::POLICY)?;
        fs::write(path("audit.log"), "")?;
        Ok(Self {
            dir: dir.to_owned(),
            ca: path("ca.crt"),
            token_key: path("token.key"),
            token_public_key: path("token.pub"),
            server: authority.server(name)?.write(dir, "server")?,
            kubelet_client: authority.client("kube-apiserver", "system:masters")?.write(dir, "kubelet-client")?,
            audit_policy: path("audit-policy.yaml"),
            audit_log: path("audit.log"),
        })
    }
}

fn api_server_flags(name: &str, port: u16, etcd: &Etcd, files: &Files) -> Vec<String> {
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    vec![
        format!("--etcd-servers={}", etcd.url),
        format!("--etcd-prefix=/{name}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        file("tls-cert-file", &files.server.0),
        file("tls-private-key-file", &files.server.1),
        file("client-ca-file", &files.ca),
        file("kubelet-certificate-authority", &files.ca),
        file("kubelet-client-certificate", &files.kubelet_client.0),
        file("kubelet-client-key", &files.kubelet_client.1),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--authorization-mode=RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        file("service-account-signing-key-file", &files.token_key),
        file("service-account-key-file", &files.token_public_key),
        "--service-account-max-token-expiration=8760h".into(),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        file("audit-policy-file", &files.audit_policy),
        file("audit-log-path", &files.audit_log),
        // Entries are written before the request is answered, so that a test never reads too early.
        "--audit-log-mode=blocking-strict".into(),
        "--enable-aggregator-routing=false".into(),
        "--profiling=false".into(),
    ]
}

fn start_controller_manager(
    name: &str,
    tools: &Tools,
    authority: &Authority,
    files: &Files,
    url: &str,
) -> Result<Process, Fail> {
    let kubeconfig = files.dir.join("controller-manager.kubeconfig");
    let user = authority.client("system:kube-controller-manager", "system:masters")?;
    write_kubeconfig(&kubeconfig, url, authority, name, &user)?;
    let flags = [
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--controllers={CONTROLLERS}"),
        format!("--service-account-private-key-file={}", files.token_key.display()),
        format!("--root-ca-file={}", files.ca.display()),
        "--leader-elect=false".into(),
        "--secure-port=0".into(),
        "--profiling=false".into(),
        // The defaults (20 and 30) make a burst of CronJobs wait for seconds.
        "--kube-api-qps=500".into(),
        "--kube-api-burst=1000".into(),
    ];
    Process::start(&program(&tools.kube_controller_manager, &flags, &files.dir.join("kube-controller-manager.log")))
}

fn program(path: &Path, flags: &[String], log: &Path) -> Program {
    // Two cores are shared by many Go processes: a small heap costs less than it gains.
    let env = vec![("GOGC".into(), OsString::from("75"))];
    Program { path: path.to_owned(), args: flags.iter().map(OsString::from).collect(), env, log: log.to_owned() }
}

fn still_runs(name: &str, process: &mut Process) -> Result<(), Fail> {
    if let Some(status) = process.ended()? {
        tools::say(&format!("{name} ended with {status}:\n{}", process.last_words()));
        return Err(format!("{name} ended with {status}: {}", process.last_words()).into());
    }
    Ok(())
}
