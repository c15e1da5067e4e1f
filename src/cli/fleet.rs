//! `volsync-hub fleet`: a large simulated fleet, for a hub that runs as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procfs::process::Process;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::output::print_text;
use crate::demo::kubeconfigs::Kubeconfigs;
use crate::descriptors;
use crate::fleet::control::Control;
use crate::fleet::credentials::Credentials;
use crate::fleet::scheme::Scheme;
use crate::fleet::{Fleet, Place};

/// A repository for so many sources, where nobody says how many.
const SOURCES_A_REPOSITORY: usize = 5;
/// A listener and the connections of a hub and a person, for each member.
const FILES_A_MEMBER: usize = 4;
/// The same without HTTP/2: seven watches of a hub, and calls beside.
const FILES_A_MEMBER_HTTP1: usize = 14;
/// What the process has open besides.
const FILES_BESIDES: usize = 64;

/// Runs a simulated fleet of any size, for hubs, kubectl and measurements
///
/// One simulated management cluster and many simulated members run in this process, each as an API server with a port
/// and credentials of its own on the loopback address. No container runs and no backup exists; Jobs end as the mover
/// would end them. The same seed makes the same fleet.
#[derive(Clone, Debug, clap::Args)]
pub struct FleetArgs {
    /// Member clusters
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub members: usize,
    /// ReplicationSources of each member
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub sources: usize,
    /// Repositories of the whole fleet [default: one for each five sources]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub repositories: Option<usize>,
    /// What UIDs, tokens, and who has which repository are made from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Where kubeconfigs are written: hub.yaml, and one a member in members [default: a new one for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Port of the hub's API server, from which on the members have theirs [default: any that are free]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// Loopback address of the control endpoint, which changes what stands there and makes clusters fail
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8970")]
    pub control: SocketAddr,
    /// Seconds that pass for CronJobs in one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub speed: u32,
    /// How long the simulated Pods work, at least; 0s: runs end at once
    #[arg(long, value_name = "DURATION", default_value = "1500ms", value_parser = super::options::duration)]
    pub runs: Duration,
    /// The API servers know no HTTP/2, as behind some proxies: a hub has a connection for each watch
    #[arg(long)]
    pub http1: bool,
    /// Ends after this time, such as 10m [default: Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = super::options::duration)]
    pub run_for: Option<Duration>,
}

pub fn run(args: &FleetArgs) -> Result<ExitCode, String> {
    let scheme = scheme(args)?;
    if !args.control.ip().is_loopback() {
        return Err(format!("--control {} is no loopback address: whoever reaches it rules the fleet", args.control));
    }
    check_open_files(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("failed to start the runtime: {error}"))?;
    runtime.block_on(serve(args, scheme))
}

fn scheme(args: &FleetArgs) -> Result<Scheme, String> {
    let sources = args.members * args.sources;
    let repositories = args.repositories.unwrap_or_else(|| (sources / SOURCES_A_REPOSITORY).max(1));
    if repositories > sources {
        return Err(format!(
            "--repositories {repositories} is more than the {sources} sources of the fleet: each repository has one at \
             least; name fewer, or more --members or --sources"
        ));
    }
    Ok(Scheme { members: args.members, sources: args.sources, repositories, seed: args.seed })
}

/// Said before anything starts, not when the last connection fails.
fn check_open_files(args: &FleetArgs) -> Result<(), String> {
    let members = args.members;
    let each = if args.http1 { FILES_A_MEMBER_HTTP1 } else { FILES_A_MEMBER };
    let needed = (members * each + FILES_BESIDES) as u64;
    match descriptors::raise() {
        Some(limit) if limit < needed => Err(format!(
            "{members} members need {needed} open files, and this process may have {limit}; have the hard limit \
             raised (`ulimit -Hn` shows it), or start fewer --members"
        )),
        _ => Ok(()),
    }
}

async fn serve(args: &FleetArgs, scheme: Scheme) -> Result<ExitCode, String> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| format!("failed to listen for signals: {error}"))?;
    let ended = async {
        match args.run_for {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let running = async {
        let started = Instant::now();
        // First: another fleet on this address is known before a minute has passed.
        let listener = TcpListener::bind(args.control).await.map_err(|error| {
            format!("failed to listen on --control {}: {error}; name another address", args.control)
        })?;
        let fleet = Fleet::start(
            scheme,
            Place { port: args.port, speed: args.speed, runs: args.runs, http1: args.http1 },
            |standing| {
                progress(standing, scheme.members);
            },
        )
        .await
        .map_err(|error| format!("failed to start the simulated fleet: {error}"))?;
        let folder = args.dir.clone().unwrap_or_else(|| Kubeconfigs::folder_for("fleet"));
        let kubeconfigs = Kubeconfigs::write(&folder, &fleet.hub, &fleet.members)
            .map_err(|error| format!("failed to write kubeconfigs of the simulated fleet: {error}"))?;
        let control =
            listener.local_addr().map_err(|error| format!("failed to find the control endpoint's port: {error}"))?;
        print_text(&summary(&fleet, &kubeconfigs, control, started.elapsed()))?;
        Control::new(Arc::new(fleet), Credentials::new(kubeconfigs))
            .serve(listener)
            .await
            .map_err(|error| format!("failed to serve the control endpoint: {error}"))
    };
    tokio::select! {
        failed = running => failed?,
        () = ended => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// A line at each tenth of the way.
fn progress(standing: usize, members: usize) {
    let tenth = |standing: usize| standing * 10 / members;
    if members >= 100 && tenth(standing) != tenth(standing - 1) {
        anstream::eprintln!("{standing} of {members} members stand");
    }
}

fn summary(fleet: &Fleet, kubeconfigs: &Kubeconfigs, control: SocketAddr, took: Duration) -> String {
    let Scheme { members, sources, repositories, seed } = fleet.scheme;
    let address = |index: usize| fleet.members.get(index).map(|member| member.address().to_string());
    let between = [address(0), address(members - 1)].map(Option::unwrap_or_default).join(" to ");
    let (hub, folder) = (kubeconfigs.hub(), kubeconfigs.members());
    let rows = [
        ("members", members.to_string(), between),
        (
            "sources",
            (members * sources).to_string(),
            format!("{sources} a member, in {} namespaces", fleet.scheme.namespaces()),
        ),
        ("repositories", repositories.to_string(), String::new()),
        ("hub", fleet.hub.address().to_string(), "with its definitions, and the policy \"all\"".to_owned()),
        ("control", format!("http://{control}/"), String::new()),
        ("resident", resident(), String::new()),
    ];
    let rows: String = rows
        .into_iter()
        .map(|(what, value, more)| format!("  {what:<14}{value:<18}{more}").trim_end().to_owned() + "\n")
        .collect();
    format!(
        "A simulated fleet of seed {seed} stands after {:.1} s.\n\n{rows}\nA hub on it:\n  volsync-hub run \
         --leader-election=false --hub-kubeconfig {} --kubeconfig-dir {}\n\nCtrl-C ends it.\n",
        took.as_secs_f64(),
        hub.display(),
        folder.display()
    )
}

/// What this process has in memory.
fn resident() -> String {
    let bytes = Process::myself().and_then(|process| process.stat()).map(|stat| stat.rss * procfs::page_size());
    match bytes {
        Ok(bytes) => format!("{} MiB", bytes >> 20),
        Err(_) => "unknown".to_owned(),
    }
}
