//! Writes the ledger: creates KopiaRepositories, and replaces their status only on the version that was read.

use std::time::Duration;

use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::api::kopia_repository::{KopiaRepository, KopiaRepositoryStatus};
use crate::labels::FIELD_MANAGER;
use crate::names::RepositoryId;

/// The hub's own API server is near; one that takes longer is in trouble, and the write is tried again.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why the ledger was not written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else wrote it since it was read: decide again.
    #[error("KopiaRepository {0} on the hub changed meanwhile")]
    Conflict(String),
    #[error("failed to {attempt} KopiaRepository {name} on the hub: {detail}")]
    Failed { attempt: &'static str, name: String, detail: String },
}

#[derive(Clone)]
pub struct Ledger {
    api: Api<KopiaRepository>,
}

impl Ledger {
    pub fn new(client: &Client) -> Self {
        Self { api: Api::all(client.clone()) }
    }

    /// The object that stands afterwards, made by whoever was first.
    pub async fn create(&self, id: RepositoryId) -> Result<KopiaRepository, LedgerError> {
        let name = id.ledger_name();
        let object = KopiaRepository {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..KopiaRepository::default()
        };
        match self.timed("create", &name, self.api.create(&parameters(), &object)).await {
            Err(LedgerError::Conflict(_)) => self.get(id).await,
            done => done,
        }
    }

    pub async fn get(&self, id: RepositoryId) -> Result<KopiaRepository, LedgerError> {
        let name = id.ledger_name();
        self.timed("get", &name, self.api.get(&name)).await
    }

    /// Fails with `Conflict` unless `read` is still what stands there.
    pub async fn write(
        &self,
        read: &KopiaRepository,
        status: KopiaRepositoryStatus,
    ) -> Result<KopiaRepository, LedgerError> {
        let name = read.metadata.name.clone().unwrap_or_default();
        let mut object = KopiaRepository { status: Some(status), ..read.clone() };
        object.metadata.managed_fields = None;
        self.timed("update the status of", &name, self.api.replace_status(&name, &parameters(), &object)).await
    }

    async fn timed<T>(
        &self,
        attempt: &'static str,
        name: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, LedgerError> {
        let failed = |detail: String| LedgerError::Failed { attempt, name: name.to_owned(), detail };
        match tokio::time::timeout(TIMEOUT, request).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(LedgerError::Conflict(name.to_owned())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
