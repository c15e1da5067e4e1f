//! The hub as a process of its own on a simulated fleet.

use std::path::Path;
use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::fleet::Fleet;
use crate::harness::process::{Process, Program};
use crate::harness::{Fail, http};
use crate::usage::{self, Usage};

/// The waits between a claim and the first run are divided by this; all others are as in production.
const GRANT_FACTOR: u32 = 600;
const READY_WITHIN: Duration = Duration::from_mins(10);
const ENDS_WITHIN: Duration = Duration::from_secs(30);

pub struct Hub {
    process: Process,
    port: u16,
}

impl Hub {
    pub fn start(fleet: &Fleet, folder: &Path) -> Result<Self, Fail> {
        let port = http::free_port()?;
        let options = [
            "run".to_owned(),
            "--leader-election=false".to_owned(),
            "--hub-id=bench".to_owned(),
            "--log=warn".to_owned(),
            "--max-claims=200".to_owned(),
            format!("--grant-factor={GRANT_FACTOR}"),
            format!("--listen=127.0.0.1:{port}"),
            format!("--hub-kubeconfig={}", fleet.hub_kubeconfig().display()),
            format!("--kubeconfig-dir={}", fleet.members().display()),
        ];
        let process = Process::start(&Program {
            path: env!("CARGO_BIN_EXE_volsync-hub").into(),
            args: options.map(Into::into).into(),
            env: Vec::new(),
            log: folder.join("hub.log"),
        })?;
        Ok(Self { process, port })
    }

    pub fn usage(&self) -> Result<Usage, Fail> {
        usage::of(self.process.pid())
    }

    /// Waits until every member has been read.
    pub async fn ready(&mut self) -> Result<Duration, Fail> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.ended()? {
                return Err(format!("the hub ended with {status}: {}", self.process.last_words()).into());
            }
            if http::send(self.port, "GET", "/readyz", "").await.is_ok_and(|(status, _)| status == 200) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(format!("the hub was not ready within {} s", READY_WITHIN.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn stop(self) -> Result<(), Fail> {
        self.process.terminate(ENDS_WITHIN).map(drop)
    }
}

/// The policy that rules everything.
pub struct Policy(Api<DynamicObject>);

impl Policy {
    pub async fn of(fleet: &Fleet) -> Result<Self, Fail> {
        let kubeconfig = kube::config::Kubeconfig::read_from(fleet.hub_kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
        let kind = GroupVersionKind::gvk("volsync.backube", "v1alpha1", "KopiaMaintenance");
        let kind = ApiResource::from_gvk_with_plural(&kind, "kopiamaintenances");
        Ok(Self(Api::all_with(Client::try_from(config)?, &kind)))
    }

    /// Edits it, and waits until its status is of that edit.
    pub async fn edit(&self, spec: &Value) -> Result<Duration, Fail> {
        let began = Instant::now();
        let patch = Patch::Merge(json!({"spec": spec}));
        let edited = self.0.patch("all", &PatchParams::default(), &patch).await?;
        while began.elapsed() < READY_WITHIN {
            let seen = self.0.get("all").await?;
            if seen.data["status"]["observedGeneration"].as_i64() >= edited.metadata.generation {
                return Ok(began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("the policy was not looked at within {} s", READY_WITHIN.as_secs()).into())
    }
}
