//! `volsync-hub run`: the hub itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::options::DecisionArgs;
use crate::controller::engine::Settings;
use crate::controller::run::{self, Options};
use crate::descriptors;
use crate::shard::Share;
use crate::telemetry::{self, LogFormat};
use crate::web::{self, Health};

/// Where the hub itself runs, its members and how it talks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Hub")]
pub struct HubArgs {
    /// Kubeconfig of the hub's own cluster [default: KUBECONFIG, ~/.kube/config, else the Pod's ServiceAccount]
    #[arg(long, env = "VOLSYNC_HUB_KUBECONFIG", value_name = "FILE")]
    pub hub_kubeconfig: Option<PathBuf>,
    /// The hub's own namespace [default: the Pod's or the context's, else volsync-system]
    #[arg(long, env = "VOLSYNC_HUB_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The hub's id in members and in Kopia's owner records [default: kept in ConfigMap volsync-hub-id]
    #[arg(long, env = "VOLSYNC_HUB_ID", value_name = "ID")]
    pub hub_id: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Members")]
pub struct MemberArgs {
    /// Directory with one kubeconfig a member; the file's name without its ending is the member's name
    #[arg(long, env = "VOLSYNC_HUB_KUBECONFIG_DIR", value_name = "DIR")]
    pub kubeconfig_dir: Option<PathBuf>,
    /// Kubeconfig files may name a program that gets credentials (never those from Secrets)
    #[arg(long, env = "VOLSYNC_HUB_ALLOW_EXEC")]
    pub allow_exec: bool,
    /// Kubeconfigs from Secrets may point at loopback addresses: for tests and single machines
    #[arg(long, env = "VOLSYNC_HUB_ALLOW_LOOPBACK", hide = true)]
    pub allow_loopback: bool,
    /// Where VolSync's Deployment is in members whose MemberCluster does not say
    #[arg(long, env = "VOLSYNC_HUB_VOLSYNC_NAMESPACE", value_name = "NAMESPACE", default_value = "volsync-system")]
    pub volsync_namespace: String,
    /// Image of maintenance Pods where neither policy, MemberCluster nor VolSync names one
    #[arg(long, env = "VOLSYNC_HUB_MOVER_IMAGE", value_name = "IMAGE")]
    pub mover_image: Option<String>,
    /// Write nothing to members: compute and report only
    #[arg(long, env = "VOLSYNC_HUB_OBSERVE")]
    pub observe: bool,
    /// How long it is not believed that most sources of a member, most policies or the last one are gone at once
    #[arg(long, env = "VOLSYNC_HUB_SHRINK_HOLD", value_name = "DURATION", default_value = "10m", value_parser = super::options::duration)]
    pub shrink_hold: std::time::Duration,
    /// How long a wave of a rollout of another image or script lasts whose runs tell nothing; 0s: all at once
    #[arg(long, env = "VOLSYNC_HUB_ROLLOUT_WAVE", value_name = "DURATION", default_value = "24h", value_parser = super::options::duration)]
    pub rollout_wave: std::time::Duration,
    /// Claims under way in the whole fleet at once
    #[arg(long, env = "VOLSYNC_HUB_MAX_CLAIMS", value_name = "N", default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_claims: usize,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logs and probes")]
pub struct LogArgs {
    /// Address of /healthz, /readyz and /metrics
    #[arg(long, env = "VOLSYNC_HUB_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// What is logged, such as `info` or `info,volsync_hub=debug`
    #[arg(long, env = "VOLSYNC_HUB_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How log lines are written
    #[arg(long, env = "VOLSYNC_HUB_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Replicas")]
pub struct ReplicaArgs {
    /// Several replicas may run, of which the one that holds Lease volsync-hub writes; `false`: this is the only one
    #[arg(long, env = "VOLSYNC_HUB_LEADER_ELECTION", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// What this replica is called in the Lease and in Events [default: HOSTNAME, which is the Pod's name]
    #[arg(long, env = "VOLSYNC_HUB_REPLICA", value_name = "NAME")]
    pub replica: Option<String>,
    #[arg(long, env = "HOSTNAME", hide = true)]
    pub hostname: Option<String>,
}

impl ReplicaArgs {
    /// The name, and eight hex digits that no other process has, former ones of the same Pod neither.
    fn identity(&self) -> String {
        let name = self.replica.as_deref().or(self.hostname.as_deref()).unwrap_or("volsync-hub");
        format!("{name}_{:08x}", random())
    }
}

/// Runs the hub until it is told to stop (SIGTERM or SIGINT).
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub hub: HubArgs,
    #[command(flatten)]
    pub members: MemberArgs,
    #[command(flatten)]
    pub decisions: DecisionArgs,
    #[command(flatten)]
    pub logs: LogArgs,
    #[command(flatten)]
    pub replicas: ReplicaArgs,
    /// Divides every wait of the protocol; only in builds for tests and the demo
    #[cfg(any(feature = "e2e", feature = "sim"))]
    #[arg(long, env = "VOLSYNC_HUB_TIME_FACTOR", value_name = "N", default_value_t = 1, hide = true)]
    pub time_factor: u32,
    /// Divides the waits between a claim and the first run alone [default: as --time-factor]
    #[cfg(any(feature = "e2e", feature = "sim"))]
    #[arg(long, env = "VOLSYNC_HUB_GRANT_FACTOR", value_name = "N", hide = true)]
    pub grant_factor: Option<u32>,
    /// Ends like a crash after each write
    #[cfg(any(feature = "e2e", feature = "sim"))]
    #[arg(long, hide = true)]
    pub crash_after_write: bool,
}

pub fn run(args: &RunArgs) -> Result<ExitCode, String> {
    // The client library panics where it finds no provider, or two.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("failed to start the runtime: {error}"))?;
    // Dropped before the runtime, on which the last spans are sent.
    let _telemetry = runtime.block_on(async { telemetry::init(&args.logs.log, args.logs.log_format) })?;
    runtime.block_on(serve(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &RunArgs) -> Result<(), String> {
    let config = hub_config(args.hub.hub_kubeconfig.as_deref()).await?;
    let cancel = CancellationToken::new();
    stop_on_signal(cancel.clone())?;
    tokio::spawn(descriptors::watch(descriptors::raise(), cancel.clone()));
    let health = Arc::new(Health::default());
    // Probes are answered until the very end: a hub that stops is not ready, and healthy.
    let probes = CancellationToken::new();
    let _until_the_end = probes.clone().drop_guard();
    let address = web::serve(args.logs.listen, Arc::clone(&health), probes).await?;
    tracing::info!(%address, "serving probes");
    let mut options = options(&args.hub, &args.members, &args.decisions, &config)?;
    options.identity = args.replicas.identity();
    options.leader_election = args.replicas.leader_election;
    #[cfg(any(feature = "e2e", feature = "sim"))]
    let options = with_factors(options, args.time_factor, args.grant_factor);
    #[cfg(any(feature = "e2e", feature = "sim"))]
    if args.crash_after_write {
        crate::member::crash::after_a_write();
    }
    run::run(config, options, health, cancel).await
}

/// The hub's own cluster: a file that was named, else what kubectl would take, else the Pod's own account.
pub async fn hub_config(file: Option<&std::path::Path>) -> Result<Config, String> {
    match file {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file)
                .map_err(|error| format!("failed to read --hub-kubeconfig {}: {error}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(|error| format!("failed to use --hub-kubeconfig {}: {error}", file.display()))
        }
        None => Config::infer().await.map_err(|error| {
            format!("found no cluster for the hub: {error}; set KUBECONFIG or --hub-kubeconfig, or run it in a Pod")
        }),
    }
}

/// The hub's own namespace.
pub fn namespace(hub: &HubArgs, config: &Config) -> String {
    match &hub.namespace {
        Some(namespace) => namespace.clone(),
        // What a context does not name is called so.
        None if config.default_namespace == "default" => "volsync-system".to_owned(),
        None => config.default_namespace.clone(),
    }
}

/// What `run`, `plan` and `explain` have in common.
pub fn options(
    hub: &HubArgs,
    members: &MemberArgs,
    decisions: &DecisionArgs,
    config: &Config,
) -> Result<Options, String> {
    let plan = decisions.plan_options()?;
    let namespace = namespace(hub, config);
    Ok(Options {
        kubeconfig_dir: members.kubeconfig_dir.clone(),
        include_hub: plan.hub_member.clone(),
        namespace: namespace.clone(),
        hub_id: hub.hub_id.clone(),
        new_hub_id: new_hub_id(),
        identity: String::new(),
        leader_election: false,
        volsync_namespace: members.volsync_namespace.clone(),
        allow_exec: members.allow_exec,
        allow_loopback: members.allow_loopback,
        rules: decisions.policy_rules(),
        settings: Settings {
            hub_id: String::new(),
            namespace,
            member_namespace: plan.member_namespace.to_string(),
            observe: members.observe,
            mover_image: members.mover_image.clone(),
            max_claims: members.max_claims,
            shrink_hold: members.shrink_hold,
            rollout_wave: jiff::SignedDuration::try_from(members.rollout_wave).unwrap_or(jiff::SignedDuration::MAX),
            time_factor: 1,
            grant_factor: 1,
            share: Share::Whole,
        },
        plan,
    })
}

#[cfg(any(feature = "e2e", feature = "sim"))]
fn with_factors(mut options: Options, time: u32, grant: Option<u32>) -> Options {
    options.settings.time_factor = time;
    options.plan.time_factor = time;
    options.settings.grant_factor = grant.unwrap_or(time);
    options
}

/// Eight hex digits that no other hub has: they tell hubs apart, and are no secret.
fn new_hub_id() -> String {
    format!("hub-{:08x}", random())
}

fn random() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish();
    u32::try_from(random >> 32).unwrap_or_default()
}

/// The first signal stops gracefully, the second at once.
fn stop_on_signal(cancel: CancellationToken) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("failed to listen for signals: {error}"));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancel.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        #[expect(clippy::disallowed_methods, reason = "somebody asked twice and will not wait")]
        std::process::exit(130);
    });
    Ok(())
}
