//! How fast the hub is on real control planes, beside the least that the same requests take on the same machine:
//! `cargo bench --features e2e --bench real`. `docs/performance.md` says what is measured and how to read it.

mod harness;
mod measure;
mod real {
    pub mod micro;
    pub mod observe;
    pub mod report;
    pub mod run;
    pub mod stage;
}

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use harness::tools::say;
use measure::floor;
use real::{micro, run};

/// Measures the hub on one hub cluster and three members
#[derive(Clone, Debug, clap::Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Args {
    /// Only these scenarios: cold-start-300, cold-start-3000 (any number), reaction-policy, reaction-secret, micro
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Edits of each kind, at least
    #[arg(long, default_value_t = 160)]
    samples: usize,
    /// Every source has a repository of its own, also beyond the first 300: for machines with time
    #[arg(long)]
    own: bool,
    /// No floor that goes as fast as it can
    #[arg(long)]
    limited: bool,
    /// What Cargo says to benchmarks
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    floor: Option<PathBuf>,
    #[arg(long, hide = true)]
    micro: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = if let Some(orders) = &args.floor {
        harness::run(floor::run(orders))
    } else if args.micro {
        micro::tell()
    } else if args.bench {
        harness::run(run::all(&args))
    } else {
        say("nothing is measured but by `cargo bench --features e2e --bench real`");
        Ok(())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
