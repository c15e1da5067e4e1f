//! Certificates of a simulated cluster: an authority of its own, and a server certificate for the loopback address.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What servers on the loopback address are called.
pub(crate) const LOOPBACK: &[&str] = &["127.0.0.1", "localhost"];

pub(crate) struct Identity {
    /// PEM, for kubeconfigs.
    pub authority: Arc<str>,
    pub config: Arc<ServerConfig>,
}

impl Identity {
    /// Of servers that know no HTTP/2, as behind some proxies.
    pub(crate) fn speaks_http1_only(&mut self) {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![b"http/1.1".to_vec()];
    }
}

/// `names`: what the server is called, as names or addresses.
pub(crate) fn identity(cluster: &str, names: &[&str]) -> io::Result<Identity> {
    let refused = |error: rcgen::Error| io::Error::other(format!("make certificates of cluster {cluster}: {error}"));
    let authority_key = KeyPair::generate().map_err(refused)?;
    let mut authority = CertificateParams::new(Vec::new()).map_err(refused)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, format!("simulated authority of {cluster}"));
    let authority_certificate = authority.self_signed(&authority_key).map_err(refused)?;
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate().map_err(refused)?;
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut server = CertificateParams::new(names).map_err(refused)?;
    server.distinguished_name.push(DnType::CommonName, format!("simulated API server of {cluster}"));
    let certificate = server.signed_by(&key, &issuer).map_err(refused)?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity { authority: authority_certificate.pem().into(), config: Arc::new(config) })
}
