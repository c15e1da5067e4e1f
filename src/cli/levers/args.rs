//! What `freeze`, `thaw`, `pin`, `unpin`, `failover` and `trigger` are told on the command line.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cli::live::LiveArgs;
use crate::cli::options::{self, DecisionArgs};
use crate::time::whole_seconds;

/// Lets no run start for some time: sets spec.frozenUntil and spec.reason of KopiaRepositories. What runs ends in peace.
#[derive(Clone, Debug, clap::Args)]
pub struct FreezeArgs {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub end: End,
    /// Why, for whoever finds it frozen
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    #[command(flatten)]
    pub how: How,
}

/// Ends a freeze: takes spec.frozenUntil of KopiaRepositories away.
#[derive(Clone, Debug, clap::Args)]
pub struct ThawArgs {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub how: How,
}

/// Lets only one member maintain a repository: sets spec.cluster of its KopiaRepository.
#[derive(Clone, Debug, clap::Args)]
pub struct PinArgs {
    /// A repository by its id (with or without kr-) or location, or a source as CLUSTER/NAMESPACE/NAME
    #[arg(value_name = "REPOSITORY")]
    pub repository: String,
    /// The name of its MemberCluster
    #[arg(value_name = "MEMBER")]
    pub member: String,
    /// Why, for whoever finds it pinned
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub how: How,
}

/// Leaves the choice of the member to the policy again: takes spec.cluster of a KopiaRepository away.
#[derive(Clone, Debug, clap::Args)]
pub struct UnpinArgs {
    /// A repository by its id (with or without kr-) or location, or a source as CLUSTER/NAMESPACE/NAME
    #[arg(value_name = "REPOSITORY")]
    pub repository: String,
    #[command(flatten)]
    pub how: How,
}

/// Takes repositories from a member that can't be reached: sets spec.failover of KopiaRepositories.
#[derive(Clone, Debug, clap::Args)]
pub struct FailoverArgs {
    #[command(flatten)]
    pub which: Held,
    /// The member that shall have them from now on; they are pinned to it
    #[arg(long, value_name = "MEMBER")]
    pub to: Option<String>,
    /// You have made sure that nothing of these repositories runs there any more, or take the risk
    #[arg(long, requires = "reason")]
    pub force: bool,
    /// Why, for whoever comes next
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub how: How,
}

/// Starts one run now: sets spec.runNow of a KopiaRepository.
#[derive(Clone, Debug, clap::Args)]
pub struct TriggerArgs {
    /// A repository by its id (with or without kr-) or location, or a source as CLUSTER/NAMESPACE/NAME
    #[arg(value_name = "REPOSITORY")]
    pub repository: String,
    /// Wait until the run has ended, 3h where no time is given; the exit code is 1 where it was no success
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "3h",
        value_parser = options::long_duration
    )]
    pub wait: Option<Duration>,
    /// Do not wait for the hub
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub live: LiveArgs,
    #[command(flatten)]
    pub decisions: DecisionArgs,
}

impl TriggerArgs {
    pub fn how(&self) -> How {
        How {
            // One run more does no harm, so that nothing is asked.
            yes: true,
            dry_run: self.dry_run,
            wait: self.wait.unwrap_or(NOTE_WAIT),
            no_wait: self.no_wait,
            live: self.live.clone(),
            decisions: self.decisions.clone(),
        }
    }
}

/// As long as other commands wait for the hub to take note.
const NOTE_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Held {
    /// A repository by its id (with or without kr-) or location, or a source as CLUSTER/NAMESPACE/NAME
    #[arg(value_name = "REPOSITORY")]
    pub repository: Option<String>,
    /// Everything that this member holds
    #[arg(long, value_name = "MEMBER")]
    pub from: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// A repository by its id (with or without kr-) or location, or a source as CLUSTER/NAMESPACE/NAME
    #[arg(value_name = "REPOSITORY")]
    pub repository: Option<String>,
    /// Every repository of the fleet
    #[arg(long)]
    pub all: bool,
    /// Those that this KopiaMaintenance rules now
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct End {
    /// For so long from now on, such as 30m, 4h or 2d
    #[arg(long = "for", value_name = "DURATION", value_parser = options::long_duration)]
    pub length: Option<Duration>,
    /// Until this time, such as 2026-03-29T06:00:00Z
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct How {
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait until the hub has taken note
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = options::duration)]
    pub wait: Duration,
    /// Do not wait for the hub
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
    #[command(flatten)]
    pub live: LiveArgs,
    #[command(flatten)]
    pub decisions: DecisionArgs,
}

/// Whole seconds, as API servers keep them.
pub fn end(end: &End, now: Timestamp) -> Result<Timestamp, String> {
    let too_far = || "no calendar reaches that far: give a shorter --for".to_owned();
    let until = match (end.until, end.length) {
        (Some(until), _) => until,
        (None, length) => {
            let length = SignedDuration::try_from(length.unwrap_or_default()).map_err(|_| too_far())?;
            now.checked_add(length).map_err(|_| too_far())?
        }
    };
    let until = whole_seconds(until);
    if until <= now {
        return Err(format!("the freeze would end at {until}, which is not ahead: nothing was done"));
    }
    Ok(until)
}

/// Longer ones are refused by the API server.
const REASON_MAX: usize = 1024;

pub fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("say why, in a few words".to_owned()),
        length if length > REASON_MAX => Err(format!("it has {length} characters, and {REASON_MAX} fit")),
        _ => Ok(text.to_owned()),
    }
}
