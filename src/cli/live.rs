//! The fleet as a hub with these options sees it now; for `plan` and `explain`. Nothing is written anywhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use kube::Config;
use tokio::runtime::{Builder, Runtime};

use super::hub_place;
use super::levers::Hub;
use super::options::DecisionArgs;
use super::run::{HubArgs, MemberArgs, hub_config, options};
use crate::api::kopia_repository::GrantRecord;
use crate::controller::look;
use crate::controller::preview::Preview;
use crate::names::RepositoryId;
use crate::plan::fleet::Fleet;
use crate::plan::foreign::Contender;
use crate::policy::PolicyRecord;

/// The same options as the hub was started with: in its Pod they are in the environment already.
#[derive(Clone, Debug, clap::Args)]
pub struct LiveArgs {
    #[command(flatten)]
    pub hub: HubArgs,
    #[command(flatten)]
    pub members: MemberArgs,
    /// Members that were not read by then count as unreachable
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::options::duration)]
    pub patience: Duration,
}

/// What was seen, and where it was asked for, what would be written.
pub struct Seen {
    pub fleet: Fleet,
    pub preview: Preview,
    /// How the grants of each repository came and went, as the ledger tells.
    pub histories: BTreeMap<RepositoryId, Vec<GrantRecord>>,
    /// Who else maintains each repository.
    pub contenders: BTreeMap<RepositoryId, Vec<Contender>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Fleet,
    Changes,
}

/// `policies` are taken as if they were applied.
pub fn look(args: &LiveArgs, decisions: &DecisionArgs, policies: Vec<PolicyRecord>, ask: Ask) -> Result<Seen, String> {
    let runtime = runtime()?;
    if std::io::stderr().is_terminal() {
        anstream::eprintln!("reading the hub and its members ...");
    }
    // A running hub waits for it to appear.
    if let Some(directory) = args.members.kubeconfig_dir.as_ref().filter(|directory| !directory.is_dir()) {
        return Err(format!("--kubeconfig-dir {} is no directory: give the one that the hub has", directory.display()));
    }
    runtime.block_on(async {
        let config = hub_config(args.hub.hub_kubeconfig.as_deref()).await?;
        let hub = HubArgs { hub_id: id_of(&args.hub, &config).await, ..args.hub.clone() };
        let options = options(&hub, &args.members, decisions, &config)?;
        let look = look::look(config, &options, policies, args.patience).await?;
        let mut preview = match ask {
            Ask::Fleet => Preview::default(),
            Ask::Changes => look.engine.preview().await,
        };
        preview.problems.extend(look.problems);
        let contenders = look.engine.all_contenders();
        let world = look.engine.world();
        let histories = world.ledger.iter().filter_map(|(id, object)| {
            let history = &object.status.as_ref()?.history;
            (!history.is_empty()).then(|| (*id, history.clone()))
        });
        Ok(Seen { fleet: world.planner.fleet().clone(), preview, histories: histories.collect(), contenders })
    })
}

/// The id that the hub was given, where it has none in its ConfigMap: without it, its own objects are another's.
async fn id_of(args: &HubArgs, config: &Config) -> Option<String> {
    match &args.hub_id {
        Some(given) => Some(given.clone()),
        None => hub_place::given_id(&Hub::with(args, config.clone()).ok()?).await,
    }
}

/// What requests are made on.
pub fn runtime() -> Result<Runtime, String> {
    // The client library panics where it finds no provider, or two.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Builder::new_multi_thread().enable_all().build().map_err(|error| format!("failed to start the runtime: {error}"))
}
