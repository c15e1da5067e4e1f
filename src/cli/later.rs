//! Commands that are not there yet. Each says so, and what does the same until then.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Subcommand;

#[derive(Clone, Debug, Subcommand)]
pub enum Later {
    #[command(hide = true, disable_help_flag = true)]
    Doctor(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Adopt(Rest),
}

/// Whatever follows: nothing is to be said of it before the command is there.
#[derive(Clone, Debug, clap::Args)]
pub struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

impl Later {
    fn name(&self) -> &'static str {
        match self {
            Self::Doctor(_) => "doctor",
            Self::Adopt(_) => "adopt",
        }
    }

    fn until_then(&self) -> &'static str {
        match self {
            Self::Doctor(_) => {
                "the conditions say what is wrong: volsync-hub plan, kubectl get memberclusters, and \
                 kubectl describe kopiarepository kr-ID. See docs/troubleshooting.md"
            }
            Self::Adopt(_) => {
                "give the old hub's id to run as --hub-id, and restore the KopiaRepositories with their status. \
                 See Back up in docs/operations.md"
            }
        }
    }
}

pub fn run(command: &Later) -> Result<ExitCode, String> {
    Err(not_there(command.name(), command.until_then()))
}

/// What a command says that is not there yet.
pub fn not_there(name: &str, until_then: &str) -> String {
    format!("the command {name} is not there yet, and nothing was done. Until then: {until_then}")
}
