//! Two hubs on a simulated fleet for as long as one likes, with everything that goes wrong there, and what became of them:
//! `cargo run --release --features demo --example soak -- --for 30m`. `docs/scale.md` says what is judged.

mod harness {
    //! What of the harness needs no control planes.

    #[path = "../harness/http.rs"]
    pub mod http;
    #[path = "../harness/process.rs"]
    #[allow(dead_code)]
    pub mod process;

    pub type Fail = Box<dyn std::error::Error + Send + Sync>;
}
// Shared with the benchmarks, which use more of it.
#[allow(dead_code)]
mod measure {
    #[path = "../measure/cores.rs"]
    pub mod cores;
    #[path = "../measure/paths.rs"]
    pub mod paths;
    #[path = "../measure/probes.rs"]
    pub mod probes;
    #[path = "../measure/usage.rs"]
    pub mod usage;
    #[path = "../measure/wire.rs"]
    pub mod wire;
}
#[allow(dead_code)]
mod scale {
    #[path = "../scale/cores.rs"]
    pub mod cores;
    #[path = "../scale/fleet.rs"]
    pub mod fleet;
}
mod soak {
    pub mod course;
    pub mod hubs;
    pub mod samples;
    pub mod troubles;
    pub mod verdict;
}

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Two hubs on a simulated fleet, with backups, faults, restarts, members that come and go, and credentials that are rotated
#[derive(Clone, Debug, clap::Parser)]
pub struct Args {
    /// How long there is trouble, such as 30m
    #[arg(long = "for", value_name = "DURATION", default_value = "30m", value_parser = duration)]
    run_for: Duration,
    #[arg(long, value_name = "N", default_value_t = 100)]
    members: usize,
    /// Of each member
    #[arg(long, value_name = "N", default_value_t = 20)]
    sources: usize,
    /// Of the whole fleet
    #[arg(long, value_name = "N", default_value_t = 500)]
    repositories: usize,
    /// Draws the fleet and its trouble
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Args {
    fn members(&self) -> usize {
        self.members
    }
    fn repositories(&self) -> usize {
        self.repositories
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |error: jiff::Error| format!("{text:?} is no duration, such as 30m: {error}");
    let span: jiff::SignedDuration = text.parse().map_err(wrong)?;
    Duration::try_from(span).map_err(wrong)
}

fn main() -> ExitCode {
    // Fleet and hubs are this program under the names of the product's commands, so that nothing else has to be built.
    if std::env::args().nth(1).is_some_and(|first| ["run", "fleet"].contains(&first.as_str())) {
        return volsync_hub::cli::main();
    }
    let args = Args::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("failed to start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(soak::course::run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Progress, where the table does not go.
#[expect(clippy::print_stderr, reason = "this is what people watch")]
fn say(text: &str) {
    eprintln!("soak: {text}");
}
