//! Which members there are, and how to reach them: a stream of registrations from each place they come from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::names::MemberName;

use super::kubeconfig::Credentials;

pub mod directory;
pub mod secrets;

/// Where a registration comes from. Of two with one name the lesser counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The hub's own cluster, by `--include-hub=NAME`.
    Hub,
    File(PathBuf),
    /// A Secret in the hub's own namespace.
    Secret(Arc<str>),
}

impl Origin {
    /// The name of the Secret that registers the member, where one does.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Secret(name) => Some(name),
            Self::Hub | Self::File(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub's own cluster"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Secret(name) => write!(f, "Secret {name}"),
        }
    }
}

/// One member, with what it takes to reach it.
#[derive(Clone, Debug)]
pub struct Registration {
    pub name: MemberName,
    pub origin: Origin,
    /// Of the Secret; files have none that means anything.
    pub created: Option<Timestamp>,
    pub credentials: Credentials,
}

/// A change in the set of registrations.
#[derive(Debug)]
pub enum RegistryEvent {
    /// New, or changed.
    Present(Box<Registration>),
    Gone {
        name: MemberName,
        origin: Origin,
    },
    /// This one can't be used. What it said before stays in force.
    Broken {
        name: Arc<str>,
        origin: Origin,
        reason: &'static str,
        message: String,
    },
}

/// A place where members are registered.
pub trait Registry: Send + 'static {
    /// Sends the registrations found, then every change, until `stop`.
    fn run(self: Box<Self>, events: mpsc::Sender<RegistryEvent>, stop: CancellationToken) -> BoxFuture<'static, ()>;
}

/// The hub's own cluster as a member.
#[derive(Debug)]
pub struct HubMember {
    pub name: MemberName,
    pub config: kube::Config,
}

impl Registry for HubMember {
    fn run(self: Box<Self>, events: mpsc::Sender<RegistryEvent>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let registration = Registration {
                name: self.name,
                origin: Origin::Hub,
                created: None,
                credentials: Credentials::of_config(self.config),
            };
            // A closed queue means that nobody listens any more.
            if events.send(RegistryEvent::Present(Box::new(registration))).await.is_ok() {
                stop.cancelled().await;
            }
        })
    }
}

/// The longest name that Kubernetes allows for the objects that carry a member's name.
const NAME_LENGTH_MAX: usize = 253;

/// Member names are names of objects too, so they follow RFC 1123 as subdomains.
pub fn check_name(name: &str) -> Result<MemberName, String> {
    let label_is_valid = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(inner)
            && bytes.last().copied().is_some_and(inner)
            && bytes.len() <= 63
            && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
    };
    if name.len() <= NAME_LENGTH_MAX && name.split('.').all(label_is_valid) {
        return Ok(MemberName::from(name));
    }
    Err(format!(
        "{name:?} is no member's name: use lower-case letters, digits and '-', parts of at most 63 divided by '.'"
    ))
}
