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
mod measure;
mod scale {
    pub mod cold;
    pub mod cores;
    pub mod edits;
    // The soak shares it, and uses more.
    #[allow(dead_code)]
    pub mod fleet;
    pub mod floors;
    pub mod growth;
    pub mod hub;
    pub mod loss;
    pub mod micro;
    pub mod report;
    pub mod scenarios;
    pub mod stage;
    pub mod steady;
    pub mod takeover;
}

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

/// Measures one hub on a simulated fleet: 1,000 members with 50 sources each, 10,000 repositories
#[derive(Clone, Debug, clap::Parser)]
pub struct Args {
    /// 100 members, 1,000 repositories, short pauses
    #[arg(long)]
    quick: bool,
    /// Only these parts: main, loss, takeover, growth, big, micro
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
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
    #[arg(long, hide = true)]
    floor: Option<PathBuf>,
    #[arg(long, hide = true)]
    micro: bool,
}

/// What belongs together on a fleet of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    Main,
    Loss,
    Takeover,
    Growth,
    Big,
    Micro,
}

impl Args {
    fn members(&self) -> usize {
        self.members.unwrap_or(if self.quick { 100 } else { 1_000 })
    }

    fn repositories(&self) -> usize {
        self.repositories.unwrap_or(10 * self.members())
    }

    /// `big` takes gigabytes, and is no part of a quick run.
    fn wants(&self, part: Part) -> bool {
        if self.only.is_empty() { !self.quick || part != Part::Big } else { self.only.contains(&part) }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let in_runtime = |work: std::pin::Pin<Box<dyn Future<Output = Result<(), harness::Fail>>>>| {
        tokio::runtime::Runtime::new().map_err(harness::Fail::from).and_then(|runtime| runtime.block_on(work))
    };
    let done = if let Some(orders) = &args.floor {
        in_runtime(Box::pin(measure::floor::run(orders)))
    } else if args.micro {
        scale::micro::tell()
    } else if args.bench {
        in_runtime(Box::pin(scale::scenarios::all(&args)))
    } else {
        say("nothing is measured but by `cargo bench --bench fleet`");
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

/// Progress, where the table does not go.
#[expect(clippy::print_stderr, reason = "this is what people watch")]
fn say(text: &str) {
    eprintln!("fleet: {text}");
}
