//! What a hub costs on a large simulated fleet: `cargo bench --bench fleet`. `docs/scale.md` says what is measured and how to read it.

mod harness {
    //! What of the harness needs no control planes.

    #[path = "../harness/http.rs"]
    pub mod http;
    #[path = "../harness/process.rs"]
    #[allow(dead_code)]
    pub mod process;

    pub type Fail = Box<dyn std::error::Error + Send + Sync>;
}
#[path = "real/usage.rs"]
mod usage;
mod scale {
    pub mod fleet;
    pub mod hub;
    pub mod report;
    pub mod scenarios;
}

use std::process::ExitCode;

use clap::Parser as _;

/// Measures one hub on a simulated fleet: 1,000 members with 50 sources each, 10,000 repositories
#[derive(Clone, Debug, clap::Parser)]
pub struct Args {
    /// 100 members, 1,000 repositories, short pauses
    #[arg(long)]
    quick: bool,
    #[arg(long, value_name = "N")]
    members: Option<usize>,
    #[arg(long, value_name = "N", default_value_t = 50)]
    sources: usize,
    /// Of the whole fleet [default: ten a member]
    #[arg(long, value_name = "N")]
    repositories: Option<usize>,
    /// Makes the fleet
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// What Cargo says to benchmarks
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn members(&self) -> usize {
        self.members.unwrap_or(if self.quick { 100 } else { 1_000 })
    }

    fn repositories(&self) -> usize {
        self.repositories.unwrap_or(10 * self.members())
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        say("nothing is measured but by `cargo bench --bench fleet`");
        return ExitCode::SUCCESS;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = tokio::runtime::Runtime::new()
        .map_err(harness::Fail::from)
        .and_then(|runtime| runtime.block_on(scale::scenarios::all(&args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Progress, where the table does not go.
#[expect(clippy::print_stderr, reason = "this is what people watch")]
fn say(text: &str) {
    eprintln!("fleet: {text}");
}
