//! The fleet as a hub with these options sees it now; for `plan` and `explain`. Nothing is written anywhere.

use std::io::IsTerminal;
use std::time::Duration;

use super::options::DecisionArgs;
use super::run::{HubArgs, MemberArgs, hub_config, options};
use crate::controller::run::look;
use crate::plan::planner::Planner;

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

pub fn fleet(args: &LiveArgs, decisions: &DecisionArgs) -> Result<Planner, String> {
    // The client library panics where it finds no provider, or two.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("failed to start the runtime: {error}"))?;
    if std::io::stderr().is_terminal() {
        anstream::eprintln!("reading the hub and its members ...");
    }
    runtime.block_on(async {
        let config = hub_config(args.hub.hub_kubeconfig.as_deref()).await?;
        let options = options(&args.hub, &args.members, decisions, &config)?;
        look(config, &options, args.patience).await
    })
}
