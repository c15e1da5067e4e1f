//! The hub's own cluster: policies, the ledger and members are read and written here.

pub mod event;
pub mod events;
pub mod id;
pub mod kinds;
pub mod lease;
pub mod ledger;
pub mod rights;
pub mod secrets;
pub mod statuses;
pub mod watch;

use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use tracing::warn;

use crate::member::Class;
use crate::member::error::classify;

/// A hub that starts while its API server is away for a moment waits for it, for so long.
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const ATTEMPT_EVERY: Duration = Duration::from_secs(1);

/// Returns once the API server answers, whatever it says, or has not for too long: the next request tells why.
pub async fn until_it_answers(client: &Client) {
    let began = Instant::now();
    let mut is_told = false;
    // Something that is in etcd: the API server may answer before that does.
    let (api, name) = (Api::<CustomResourceDefinition>::all(client.clone()), kinds::crd_name(&kinds::ledger()));
    loop {
        let detail = match tokio::time::timeout(ANSWERS_WITHIN, api.get_opt(&name)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => match classify(&error) {
                (Class::Unreachable, detail) => detail,
                _ => return,
            },
            Err(_) => format!("no answer within {} s", ANSWERS_WITHIN.as_secs()),
        };
        if began.elapsed() > PATIENCE {
            return;
        }
        if !std::mem::replace(&mut is_told, true) {
            warn!(
                error = detail,
                "the hub's API server does not answer; it is tried again for {} s",
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(ATTEMPT_EVERY).await;
    }
}

/// What the hub's own cluster said, and what to do about it.
pub fn told(error: &kube::Error) -> String {
    let (class, detail) = classify(error);
    match class {
        Class::Forbidden { .. } => format!("{detail}; every rule that the hub needs is in deploy/hub"),
        Class::Unauthorized => format!("{detail}; its API server refuses the credentials: renew the kubeconfig"),
        Class::Unreachable => format!("{detail}; check that the cluster is up, and that the kubeconfig is the hub's"),
        _ => detail,
    }
}
