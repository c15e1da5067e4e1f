//! `volsync-hub freeze`, `thaw`, `pin`, `unpin`, `failover` and `trigger`: edits of KopiaRepositories, as anybody else could
//! make them.

pub(super) mod act;
mod args;
pub(super) mod decide;
pub(super) mod failover;
mod freeze;
pub(super) mod near;
mod pin;
mod progress;
pub(super) mod resolve;
mod say;
#[cfg(test)]
pub(super) mod testing;
pub(super) mod trigger;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;

use super::live::{self, Ask};
use super::output::print_text;
use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::MemberCluster;
use crate::names::RepositoryId;
use crate::plan::fleet::Contact;
use crate::plan::result::FleetPlan;
use crate::plan::scratch;
use decide::{Decision, Lever, Scope};
use near::{hint, near};
use progress::{End, Goal};
use resolve::{Repository, Unresolved};

pub use act::Hub;
pub use args::{FailoverArgs, FreezeArgs, How, PinArgs, ThawArgs, TriggerArgs, UnpinArgs, Which, reason};

pub fn freeze(args: &FreezeArgs) -> Result<ExitCode, String> {
    let now = Timestamp::now();
    let until = args::end(&args.end, now)?;
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

pub fn failover(args: &FailoverArgs) -> Result<ExitCode, String> {
    let lever = Lever::Failover { to: args.to.clone(), reason: args.reason.clone(), force: args.force };
    let named = match (&args.which.repository, &args.which.from) {
        (None, Some(member)) => Named::From(member.clone()),
        (repository, _) => Named::One(repository.clone().unwrap_or_default()),
    };
    pull(&lever, &named, &args.how, Timestamp::now())
}

pub fn trigger(args: &TriggerArgs) -> Result<ExitCode, String> {
    let lever = Lever::Trigger { to_the_end: args.wait.is_some() };
    pull(&lever, &Named::One(args.repository.clone()), &args.how(), Timestamp::now())
}

/// What the command line names.
enum Named {
    One(String),
    Policy(String),
    From(String),
    All,
}

fn named(which: &Which) -> Named {
    match (&which.repository, &which.policy) {
        (Some(repository), _) => Named::One(repository.clone()),
        (None, Some(policy)) => Named::Policy(policy.clone()),
        (None, None) => Named::All,
    }
}

fn pull(lever: &Lever, named: &Named, how: &How, now: Timestamp) -> Result<ExitCode, String> {
    let runtime = live::runtime()?;
    let hub = runtime.block_on(Hub::connect(&how.live.hub))?;
    let objects = runtime.block_on(hub.repositories())?;
    let repositories = resolve::repositories(&objects);
    let source = |name: &str| source_repository(name, how, now);
    let members = runtime.block_on(members(&hub, lever))?;
    let targets = targets((&repositories, &members), named, source)?;
    let decision = decide::decide(lever, (&targets.0, targets.1), &members, now);
    print_text(&say::before(&decision))?;
    if let Some(refusal) = decision.refusal {
        return Err(refusal);
    }
    if decision.edits().next().is_none() {
        print_text(&format!("{}\n", say::nothing(lever)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !go_on(&decision.questions, how.dry_run, how.yes)? {
        return Ok(ExitCode::SUCCESS);
    }
    runtime.block_on(carry_out(&hub, lever, &decision, (!how.no_wait).then_some(how.wait)))
}

fn targets<'a>(
    (repositories, members): (&[Repository<'a>], &[MemberCluster]),
    named: &Named,
    source: impl FnOnce(&str) -> Result<RepositoryId, String>,
) -> Result<(Scope, Vec<Repository<'a>>), String> {
    match named {
        Named::All => Ok((Scope::All, repositories.to_vec())),
        Named::From(member) => {
            let held = resolve::by_holder(repositories, member);
            if held.is_empty() {
                decide::known_member(members, member)?;
            }
            Ok((Scope::From(member.clone()), held))
        }
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
        // A member that is gone altogether may have no MemberCluster any more.
        Lever::Failover { to, .. } => {
            let members = hub.members().await?;
            to.iter().try_for_each(|member| decide::known_member(&members, member))?;
            Ok(members)
        }
        Lever::Freeze { .. } | Lever::Trigger { .. } => Ok(hub.members().await.unwrap_or_else(|error| {
            anstream::eprintln!("whether the members can be reached is not known: {error}");
            Vec::new()
        })),
        Lever::Thaw | Lever::Unpin => Ok(Vec::new()),
    }
}

/// Asks where something has to be asked. False: it was a dry run, which has said what it would have asked.
pub(super) fn go_on(questions: &[String], dry_run: bool, yes: bool) -> Result<bool, String> {
    if !dry_run {
        return confirm(questions, yes).map(|()| true);
    }
    for question in questions {
        print_text(&format!("would ask first: {question}\n"))?;
    }
    print_text("dry run: nothing was done\n")?;
    Ok(false)
}

/// Whoever can't be asked has not said yes.
fn confirm(questions: &[String], yes: bool) -> Result<(), String> {
    if questions.is_empty() || yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(refusal(questions));
    }
    for question in questions {
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
    for result in hub.edit::<KopiaRepository>(&edits).await {
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
            match (goal(lever, decision), &edited[..]) {
                (Some(goal), [edited]) if failed.is_empty() => return follow(hub, edited, goal, patience).await,
                _ => tell(hub, &edited, patience).await?,
            }
        }
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the edit of a single repository leads to something that takes its time.
fn goal(lever: &Lever, decision: &Decision<'_>) -> Option<Goal> {
    let [step] = &decision.steps[..] else { return None };
    match lever {
        Lever::Pin { member, .. } => {
            let from = step.repository.grant().map(|grant| grant.cluster.clone());
            Some(Goal::Moved { from: from.filter(|from| from != member)? })
        }
        Lever::Failover { .. } => {
            let given_up = step.edits.iter().find_map(|edit| edit.spec["failover"]["cluster"].as_str());
            Some(Goal::Moved { from: given_up?.to_owned() })
        }
        Lever::Trigger { to_the_end: true } => {
            let token = step.edits.iter().find_map(|edit| edit.spec["runNow"].as_str())?;
            let before = step.repository.status().map(|status| status.runs.clone()).unwrap_or_default();
            Some(Goal::Ran { token: token.to_owned(), before })
        }
        _ => None,
    }
}

async fn follow(hub: &Hub, edited: &act::Edited, goal: Goal, patience: Duration) -> Result<ExitCode, String> {
    let runs = matches!(goal, Goal::Ran { .. });
    let end = progress::follow(hub, edited, goal, patience).await?;
    // The edit of a lever is made, whatever comes of it; whoever waits for a run wants to know how it ended.
    let failed = end == End::Failed || (end == End::Waits && runs);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
