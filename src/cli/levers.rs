//! `volsync-hub freeze`, `thaw`, `pin` and `unpin`: edits of KopiaRepositories, as anybody else could make them.

mod act;
mod decide;
mod near;
mod resolve;
mod say;
#[cfg(test)]
mod testing;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::live::{self, Ask, LiveArgs};
use super::options::{self, DecisionArgs};
use super::output::print_text;
use crate::api::member_cluster::MemberCluster;
use crate::names::RepositoryId;
use crate::plan::fleet::Contact;
use crate::plan::result::FleetPlan;
use crate::plan::scratch;
use crate::time::whole_seconds;
use decide::{Decision, Lever, Scope};
use near::{hint, near};
use resolve::{Repository, Unresolved};

pub use act::Hub;

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

pub fn freeze(args: &FreezeArgs) -> Result<ExitCode, String> {
    let now = Timestamp::now();
    let until = end(&args.end, now)?;
    pull(&Lever::Freeze { until, reason: args.reason.clone() }, &named(&args.which), &args.how, now)
}

pub fn thaw(args: &ThawArgs) -> Result<ExitCode, String> {
    pull(&Lever::Thaw, &named(&args.which), &args.how, Timestamp::now())
}

pub fn pin(args: &PinArgs) -> Result<ExitCode, String> {
    let lever = Lever::Pin { member: args.member.clone(), reason: args.reason.clone() };
    pull(&lever, &Named::One(args.repository.clone()), &args.how, Timestamp::now())
}

pub fn unpin(args: &UnpinArgs) -> Result<ExitCode, String> {
    pull(&Lever::Unpin, &Named::One(args.repository.clone()), &args.how, Timestamp::now())
}

/// What the command line names.
enum Named {
    One(String),
    Policy(String),
    All,
}

fn named(which: &Which) -> Named {
    match (&which.repository, &which.policy) {
        (Some(repository), _) => Named::One(repository.clone()),
        (None, Some(policy)) => Named::Policy(policy.clone()),
        (None, None) => Named::All,
    }
}

/// Whole seconds, as API servers keep them.
fn end(end: &End, now: Timestamp) -> Result<Timestamp, String> {
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

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("say why, in a few words".to_owned()),
        length if length > REASON_MAX => Err(format!("it has {length} characters, and {REASON_MAX} fit")),
        _ => Ok(text.to_owned()),
    }
}

fn pull(lever: &Lever, named: &Named, how: &How, now: Timestamp) -> Result<ExitCode, String> {
    let runtime = live::runtime()?;
    let hub = runtime.block_on(Hub::connect(&how.live.hub))?;
    let objects = runtime.block_on(hub.repositories())?;
    let repositories = resolve::repositories(&objects);
    let source = |name: &str| source_repository(name, how, now);
    let targets = targets(&repositories, named, source)?;
    let members = runtime.block_on(members(&hub, lever))?;
    let decision = decide::decide(lever, (&targets.0, targets.1), &members, now);
    print_text(&say::before(&decision))?;
    if decision.edits().next().is_none() {
        print_text(&format!("{}\n", say::nothing(lever)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if how.dry_run {
        for question in &decision.questions {
            print_text(&format!("would ask first: {question}\n"))?;
        }
        print_text("dry run: nothing was done\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    confirm(&decision, how.yes)?;
    runtime.block_on(carry_out(&hub, lever, &decision, (!how.no_wait).then_some(how.wait)))
}

fn targets<'a>(
    repositories: &[Repository<'a>],
    named: &Named,
    source: impl FnOnce(&str) -> Result<RepositoryId, String>,
) -> Result<(Scope, Vec<Repository<'a>>), String> {
    match named {
        Named::All => Ok((Scope::All, repositories.to_vec())),
        Named::Policy(policy) => Ok((Scope::Policy(policy.clone()), resolve::by_policy(repositories, policy)?)),
        Named::One(name) => {
            let found = match resolve::by_name(repositories, name) {
                Ok(found) => found,
                Err(Unresolved::Error(message)) => return Err(format!("{message}; nothing was done")),
                Err(Unresolved::MayBeSource) => resolve::by_id(repositories, source(name)?)
                    .map_err(|message| format!("the repository of source {name} is not in the ledger: {message}"))?,
            };
            Ok((Scope::One, vec![found.clone()]))
        }
    }
}

/// Which repository a source is in is known to the members alone.
fn source_repository(name: &str, how: &How, now: Timestamp) -> Result<RepositoryId, String> {
    let seen = live::look(&how.live, &how.decisions, Vec::new(), Ask::Fleet)?;
    let unread = seen.fleet.members.iter().filter(|(_, record)| record.contact != Contact::Synced);
    let unread: Vec<String> = unread.map(|(member, _)| member.to_string()).collect();
    of_source(&scratch::plan(&seen.fleet, &how.decisions.plan_options()?, now), name, &unread)
}

fn of_source(plan: &FleetPlan, name: &str, unread: &[String]) -> Result<RepositoryId, String> {
    let names: Vec<String> = plan.sources.iter().map(|source| source.source.to_string()).collect();
    let Some(source) = plan.sources.iter().zip(&names).find(|(_, known)| *known == name).map(|(source, _)| source)
    else {
        let near = near(name, names.iter().map(String::as_str));
        let hint = hint(&near, "`volsync-hub plan` shows repositories, and sources that are in none");
        let unread = if unread.is_empty() { String::new() } else { format!("; not read: {}", unread.join(", ")) };
        return Err(format!(
            "no KopiaRepository and no source of a member that was read is called {name:?}: {hint}{unread}"
        ));
    };
    source.repository.ok_or_else(|| match source.reason {
        Some(reason) => format!("source {name} is in no repository ({reason}): {}", source.message),
        None => format!("source {name} is in no repository"),
    })
}

/// A pin needs them; a freeze only tells more with them.
async fn members(hub: &Hub, lever: &Lever) -> Result<Vec<MemberCluster>, String> {
    match lever {
        Lever::Pin { member, .. } => {
            let members = hub.members().await?;
            decide::known_member(&members, member)?;
            Ok(members)
        }
        Lever::Freeze { .. } => Ok(hub.members().await.unwrap_or_else(|error| {
            anstream::eprintln!("whether the members can be reached is not known: {error}");
            Vec::new()
        })),
        Lever::Thaw | Lever::Unpin => Ok(Vec::new()),
    }
}

/// Whoever can't be asked has not said yes.
fn confirm(decision: &Decision<'_>, yes: bool) -> Result<(), String> {
    if decision.questions.is_empty() || yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(refusal(&decision.questions));
    }
    for question in &decision.questions {
        anstream::eprintln!("{question}");
    }
    anstream::eprint!("Do it? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| format!("failed to read the answer: {error}"))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err("nothing was done".to_owned()),
    }
}

fn refusal(questions: &[String]) -> String {
    let questions = questions.join("; ");
    format!(
        "{questions}. That is asked about first, and standard input is no terminal: nothing was done. Give --yes to do it without being asked"
    )
}

async fn carry_out(
    hub: &Hub,
    lever: &Lever,
    decision: &Decision<'_>,
    wait: Option<Duration>,
) -> Result<ExitCode, String> {
    let edits: Vec<_> = decision.edits().collect();
    let (mut edited, mut failed) = (Vec::new(), Vec::new());
    for result in hub.edit(&edits).await {
        match result {
            Ok(done) => edited.push(done),
            Err(message) => failed.push(message),
        }
    }
    for message in &failed {
        anstream::eprintln!("volsync-hub: {message}");
    }
    if !edited.is_empty() {
        let objects = if edited.len() == 1 { "KopiaRepository" } else { "KopiaRepositories" };
        print_text(&format!("edited {} {objects}: {}\n", edited.len(), say::follows(lever)))?;
        // The hub keeps one status for records that mean one repository.
        let shown = |name: &str| decision.steps.iter().any(|step| step.repository.name() == name);
        edited.retain(|edited| shown(&edited.name));
        if let Some(patience) = wait {
            tell(hub, &edited, patience).await?;
        }
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn tell(hub: &Hub, edited: &[act::Edited], patience: Duration) -> Result<(), String> {
    if edited.is_empty() {
        return Ok(());
    }
    if io::stderr().is_terminal() {
        anstream::eprintln!("waiting for the hub to take note ...");
    }
    let seen = hub.follow(edited, patience).await?;
    print_text(&say::after(edited, &seen))?;
    if let Some(advice) = say::waited_in_vain(edited, &seen) {
        anstream::eprintln!("{advice}");
    }
    Ok(())
}
