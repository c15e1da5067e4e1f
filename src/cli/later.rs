//! Commands that are not there yet. Each says so, and what does the same until then.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Subcommand;

#[derive(Clone, Debug, Subcommand)]
pub enum Later {
    #[command(hide = true, disable_help_flag = true)]
    Trigger(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Freeze(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Thaw(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Pin(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Unpin(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Failover(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Members(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Doctor(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Get(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Adopt(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Uninstall(Rest),
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
            Self::Trigger(_) => "trigger",
            Self::Freeze(_) => "freeze",
            Self::Thaw(_) => "thaw",
            Self::Pin(_) => "pin",
            Self::Unpin(_) => "unpin",
            Self::Failover(_) => "failover",
            Self::Members(_) => "members",
            Self::Doctor(_) => "doctor",
            Self::Get(_) => "get",
            Self::Adopt(_) => "adopt",
            Self::Uninstall(_) => "uninstall",
        }
    }

    fn until_then(&self) -> String {
        let text = match self {
            Self::Trigger(_) => {
                "while no run is due, with a context of the member that holds it: kubectl create job NAME \
                 --from=cronjob/kopia-maintenance-ID -n volsync-system"
            }
            Self::Freeze(_) => return patch("frozenUntil", "\"2030-01-01T00:00:00Z\""),
            Self::Thaw(_) => return patch("frozenUntil", "null"),
            Self::Pin(_) => {
                return format!(
                    "{}, before the repository is first granted, for no grant is moved yet",
                    patch("cluster", "\"MEMBER\"")
                );
            }
            Self::Unpin(_) => return patch("cluster", "null"),
            Self::Failover(_) => {
                "no grant is moved yet, and a member that is away goes on by itself: bring it back. \
                 See HandoverPending in docs/troubleshooting.md"
            }
            Self::Members(_) => {
                "kubectl get memberclusters lists them; spec.paused and spec.eligible of a MemberCluster say what may \
                 run there, and it is deleted by hand once the cluster is gone. See Register members in \
                 docs/operations.md"
            }
            Self::Doctor(_) => {
                "the conditions say what is wrong: volsync-hub plan, kubectl get memberclusters, and \
                 kubectl describe kopiarepository kr-ID. See docs/troubleshooting.md"
            }
            Self::Get(_) => "kubectl get kopiamaintenances,kopiarepositories,memberclusters",
            Self::Adopt(_) => {
                "give the old hub's id to run as --hub-id, and restore the KopiaRepositories with their status. \
                 See Back up in docs/operations.md"
            }
            Self::Uninstall(_) => "take it away by hand, in the order of Uninstall in docs/operations.md",
        };
        text.to_owned()
    }
}

/// Sets a field of a repository.
fn patch(field: &str, value: &str) -> String {
    format!("kubectl patch kopiarepository kr-ID --type merge -p '{{\"spec\":{{\"{field}\":{value}}}}}'")
}

pub fn run(command: &Later) -> Result<ExitCode, String> {
    let (name, until_then) = (command.name(), command.until_then());
    Err(format!("the command {name} is not there yet, and nothing was done. Until then: {until_then}"))
}
