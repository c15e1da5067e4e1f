//! Reads a kubeconfig, refuses what its origin must not say, and makes it whole: what lies in files is read in, so
//! that a change of any part is a change of the whole.

use std::fmt;
use std::path::Path;

use http::Uri;
use jiff::Timestamp;
use kube::Config;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError as Unreadable, NamedCluster};
use kube::config::{NamedAuthInfo, NamedContext};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::MemberSettings;
use super::exec::Program;
use super::expiry;
use super::proxy;
use super::registry::Origin;
use super::resolver::Reach;
use crate::api::schema::short;

/// A kubeconfig with a large CA bundle has 300 KB; Secrets end at 1 MiB anyway.
pub const SIZE_MAX: usize = 1 << 20;
/// Each file that a kubeconfig names: a CA bundle, a key, a token.
const PART_SIZE_MAX: u64 = 1 << 20;

/// What it takes to reach a member. Prints no credential.
#[derive(Clone)]
pub struct Credentials {
    pub(super) config: Config,
    pub(super) reach: Reach,
    /// What makes the token or certificate, where a file names it. Not part of `config`, whose own way of running it
    /// blocks.
    pub(super) program: Option<Program>,
    /// When they end, where that can be read.
    pub expires: Option<Timestamp>,
    /// Equal where nothing changed.
    pub fingerprint: [u8; 32],
}

impl Credentials {
    /// Those the hub itself runs with.
    pub fn of_config(config: Config) -> Self {
        Self { config, reach: Reach::Anywhere, program: None, expires: None, fingerprint: [0; 32] }
    }

    /// The address of the API server, without anything secret.
    pub fn server(&self) -> String {
        let uri = &self.config.cluster_url;
        let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or("https");
        format!("{scheme}://{}{port}{}", uri.host().unwrap_or_default(), uri.path().trim_end_matches('/'))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("server", &self.server()).finish_non_exhaustive()
    }
}

/// Why a kubeconfig can't be used. Holds nothing that could be a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KubeconfigError {
    /// `InvalidKubeconfig` or `RefusedKubeconfig`.
    pub reason: &'static str,
    pub message: String,
}

fn invalid(message: impl Into<String>) -> KubeconfigError {
    KubeconfigError { reason: "InvalidKubeconfig", message: message.into() }
}

fn refused(message: impl Into<String>) -> KubeconfigError {
    KubeconfigError { reason: "RefusedKubeconfig", message: message.into() }
}

/// Reads the current context of a kubeconfig. May read files that it names, if it is a file itself.
pub async fn read(bytes: &[u8], origin: &Origin, settings: &MemberSettings) -> Result<Credentials, KubeconfigError> {
    if bytes.len() > SIZE_MAX {
        return Err(invalid(format!("the kubeconfig is larger than {SIZE_MAX} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("the kubeconfig is not UTF-8 text"))?;
    let whole = Kubeconfig::from_yaml(text).map_err(|error| invalid(location_of(&error)))?;
    let mut part = current(&whole)?;
    let reach = match origin {
        Origin::Secret(_) => {
            check_secret(&part, settings)?;
            Reach::Guarded { loopback: settings.allow_loopback }
        }
        Origin::File(path) => {
            check_file(&part, settings)?;
            read_parts(&mut part, path.parent().unwrap_or(Path::new("."))).await?;
            Reach::Anywhere
        }
        Origin::Hub => Reach::Anywhere,
    };
    trim_token(&mut part.user);
    check_user(&part.user)?;
    let folder = match origin {
        Origin::File(path) => path.parent().unwrap_or(Path::new(".")),
        Origin::Secret(_) | Origin::Hub => Path::new("."),
    };
    finish(part, reach, folder).await
}

/// The cluster and user of the current context.
struct Part {
    namespace: Option<String>,
    cluster: Cluster,
    user: AuthInfo,
    /// As written, parsed and with a host.
    server: Uri,
}

fn current(whole: &Kubeconfig) -> Result<Part, KubeconfigError> {
    let name = whole.current_context.as_deref().filter(|name| !name.is_empty());
    let name =
        name.ok_or_else(|| invalid("current-context is not set; choose one with `kubectl config use-context`"))?;
    let context = whole.contexts.iter().find(|it| it.name == name).and_then(|it| it.context.as_ref());
    let context =
        context.ok_or_else(|| invalid(format!("current-context {:?} is not among the contexts", short(name))))?;
    let cluster = whole.clusters.iter().find(|it| it.name == context.cluster).and_then(|it| it.cluster.clone());
    let missing = || invalid(format!("cluster {:?} is not among the clusters", short(&context.cluster)));
    let cluster = cluster.ok_or_else(missing)?;
    let user = match &context.user {
        Some(user) => {
            let found = whole.auth_infos.iter().find(|it| it.name == *user).and_then(|it| it.auth_info.clone());
            found.ok_or_else(|| invalid(format!("user {:?} is not among the users", short(user))))?
        }
        None => AuthInfo::default(),
    };
    let server = cluster.server.as_deref().ok_or_else(|| invalid("the cluster has no server address"))?;
    let server: Uri = server.trim().parse().map_err(|_| invalid("the cluster's server is no URL"))?;
    if server.host().is_none_or(str::is_empty) || !matches!(server.scheme_str(), Some("https" | "http")) {
        return Err(invalid("the cluster's server has to be a URL such as https://api.example.com:6443"));
    }
    Ok(Part { namespace: context.namespace.clone(), cluster, user, server })
}

/// Whoever may write a Secret must not make the hub run programs, read its files, or call where only it can reach.
fn check_secret(part: &Part, settings: &MemberSettings) -> Result<(), KubeconfigError> {
    let Part { cluster, user, server, .. } = part;
    let fields = [
        ("exec", user.exec.is_some()),
        ("auth-provider", user.auth_provider.is_some()),
        ("tokenFile", user.token_file.is_some()),
        ("client-certificate", user.client_certificate.is_some()),
        ("client-key", user.client_key.is_some()),
        ("certificate-authority", cluster.certificate_authority.is_some()),
    ];
    if let Some((field, _)) = fields.iter().find(|(_, used)| *used) {
        return Err(refused(format!(
            "{field} is refused in a kubeconfig from a Secret, because it would run a program or read a file of the \
             hub; put the data itself in the kubeconfig"
        )));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err(refused(
            "insecure-skip-tls-verify is refused in a kubeconfig from a Secret; give certificate-authority-data",
        ));
    }
    if server.scheme_str() != Some("https") {
        return Err(refused("the server of a kubeconfig from a Secret has to be https"));
    }
    let reach = Reach::Guarded { loopback: settings.allow_loopback };
    check_host("server", server, reach)?;
    if let Some(proxy) = cluster.proxy_url.as_deref().filter(|url| !url.is_empty()) {
        let proxy = proxy.parse().map_err(|_| invalid("proxy-url is no URL"))?;
        check_host("proxy-url", &proxy, reach)?;
    }
    Ok(())
}

/// Names are checked again when they are resolved.
fn check_host(field: &str, uri: &Uri, reach: Reach) -> Result<(), KubeconfigError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let refused_name = host.eq_ignore_ascii_case("localhost") && reach == Reach::Guarded { loopback: false };
    let refused_address = host.parse().is_ok_and(|address| !reach.admits(address));
    if refused_name || refused_address {
        return Err(refused(format!(
            "{field} {host} is refused in a kubeconfig from a Secret: loopback and link-local addresses lead to the \
             hub itself or its cloud"
        )));
    }
    Ok(())
}

fn check_file(part: &Part, settings: &MemberSettings) -> Result<(), KubeconfigError> {
    if part.user.exec.is_some() && !settings.allow_exec {
        return Err(refused("the user has an exec program; start the hub with --allow-exec to have it run"));
    }
    if part.user.auth_provider.is_some() {
        return Err(refused("auth-provider is not supported; use a token, a client certificate, or exec"));
    }
    Ok(())
}

fn check_user(user: &AuthInfo) -> Result<(), KubeconfigError> {
    let certificate = user.client_certificate_data.is_some();
    if certificate != user.client_key_data.is_some() {
        let (there, missing) =
            if certificate { ("certificate", "client-key-data") } else { ("key", "client-certificate-data") };
        return Err(invalid(format!("the user has a client {there} and no {missing}")));
    }
    let token = user.token.as_ref().map(ExposeSecret::expose_secret);
    if token.is_some_and(|token| token.bytes().any(|byte| !byte.is_ascii_graphic())) {
        return Err(invalid("the user's token holds blanks or control characters"));
    }
    Ok(())
}

/// Reads in the files that a kubeconfig file names, relative to its own folder.
async fn read_parts(part: &mut Part, folder: &Path) -> Result<(), KubeconfigError> {
    let Part { cluster, user, .. } = part;
    if let Some(path) = cluster.certificate_authority.take()
        && cluster.certificate_authority_data.is_none()
    {
        cluster.certificate_authority_data = Some(encoded("certificate-authority", folder, &path).await?.to_string());
    }
    if let Some(path) = user.client_certificate.take()
        && user.client_certificate_data.is_none()
    {
        user.client_certificate_data = Some(encoded("client-certificate", folder, &path).await?.to_string());
    }
    if let Some(path) = user.client_key.take()
        && user.client_key_data.is_none()
    {
        let key = encoded("client-key", folder, &path).await?;
        user.client_key_data = Some(SecretString::from(key.as_str()));
    }
    if let Some(path) = user.token_file.take()
        && user.token.is_none()
    {
        let token = part_of("tokenFile", folder, &path).await?;
        let token = std::str::from_utf8(&token).map_err(|_| invalid(format!("tokenFile {path} is not text")))?;
        user.token = Some(SecretString::from(token));
    }
    Ok(())
}

async fn encoded(field: &str, folder: &Path, path: &str) -> Result<Zeroizing<String>, KubeconfigError> {
    let bytes = part_of(field, folder, path).await?;
    Ok(Zeroizing::new(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &*bytes)))
}

async fn part_of(field: &str, folder: &Path, path: &str) -> Result<Zeroizing<Vec<u8>>, KubeconfigError> {
    let full = folder.join(path);
    let failed = |error: std::io::Error| invalid(format!("{field} {} can't be read: {error}", full.display()));
    let metadata = tokio::fs::metadata(&full).await.map_err(failed)?;
    if !metadata.is_file() || metadata.len() > PART_SIZE_MAX {
        return Err(invalid(format!("{field} {} is no file of at most {PART_SIZE_MAX} bytes", full.display())));
    }
    tokio::fs::read(&full).await.map(Zeroizing::new).map_err(failed)
}

/// A line end behind a token makes every request fail.
fn trim_token(user: &mut AuthInfo) {
    if let Some(token) = &user.token {
        let trimmed = token.expose_secret().trim();
        user.token = (!trimmed.is_empty()).then(|| SecretString::from(trimmed));
    }
}

async fn finish(part: Part, reach: Reach, folder: &Path) -> Result<Credentials, KubeconfigError> {
    let Part { namespace, cluster, user, server } = part;
    let expires = expiry::of(&user);
    let proxy = proxy::of(&cluster, &server).map_err(invalid)?;
    let kubeconfig = minimal(namespace, cluster, user);
    // By way of a value, whose keys are sorted: the variables of a program have no order of their own.
    let text = serde_json::to_value(&kubeconfig).and_then(|value| serde_json::to_vec(&value)).map(Zeroizing::new);
    let text = text.map_err(|_| invalid("the kubeconfig can't be written again"))?;
    let mut fingerprint = Sha256::new();
    fingerprint.update(&*text);
    fingerprint.update(proxy.as_ref().map(Uri::to_string).unwrap_or_default());
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| invalid(material(&error)))?;
    config.proxy_url = proxy;
    let program = config.auth_info.exec.take().map(|exec| Program::new(exec, folder)).transpose().map_err(invalid)?;
    Ok(Credentials { config, reach, program, expires, fingerprint: fingerprint.finalize().into() })
}

/// A kubeconfig of one context, so that nothing else of the file has any effect.
fn minimal(namespace: Option<String>, cluster: Cluster, user: AuthInfo) -> Kubeconfig {
    let name = || "member".to_owned();
    let context = kube::config::Context { cluster: name(), user: Some(name()), namespace, ..Default::default() };
    Kubeconfig {
        clusters: vec![NamedCluster { name: name(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: name(), auth_info: Some(user), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: name(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(name()),
        ..Kubeconfig::default()
    }
}

/// Where it is wrong; a parser's own text may quote a credential.
fn location_of(error: &Unreadable) -> String {
    let location = match error {
        Unreadable::Parse(error) => error.location(),
        _ => None,
    };
    let place = location.map(|it| format!(" (line {}, column {})", it.line(), it.column())).unwrap_or_default();
    format!("the kubeconfig can't be read as YAML of kind Config{place}")
}

fn material(error: &Unreadable) -> &'static str {
    match error {
        Unreadable::LoadCertificateAuthority(_) => "certificate-authority-data is not base64",
        Unreadable::ParseCertificates(_) => "certificate-authority-data holds no PEM certificates",
        Unreadable::LoadClientCertificate(_) => "client-certificate-data is not base64",
        Unreadable::LoadClientKey(_) => "client-key-data is not base64",
        Unreadable::ParseProxyUrl(_) => "proxy-url is no URL",
        _ => "the kubeconfig can't be used",
    }
}

#[cfg(test)]
mod tests;
