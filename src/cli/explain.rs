//! `volsync-hub explain`: why a repository is ruled, placed and timed as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::document::{self, Repository};
use super::live::{self, Ask, LiveArgs};
use super::offline;
use super::options::DecisionArgs;
use super::output::{Cell, Format, Table, Tone, duration, print_text, serialized};
use super::plan::{INCOMPLETE, tone, warn_of_unread};
use crate::api::kopia_repository::GrantRecord;
use crate::names::{MemberName, RepositoryId, SourceKey};
use crate::plan::explain::{Explanation, MemberWhy, PolicyOutcome, PolicyWhy, Seen, explain};
use crate::plan::fleet::{Fleet, PlanOptions};
use crate::plan::foreign::{self, Contender, ForeignObjects};
use crate::plan::result::{FleetPlan, RepositoryPlan, SourcePlan};
use crate::plan::scratch;

/// Shows why a policy rules a repository, why the others lost, why a member was chosen, where each field came from
/// and when it runs next.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// A repository by its id (with or without kr-) or location, or a source as CLUSTER/NAMESPACE/NAME
    #[arg(value_name = "REPOSITORY")]
    pub repository: String,
    /// Explains the fleet in this directory: hub/**/*.yaml and members/NAME/**/*.yaml
    #[arg(long, value_name = "DIR")]
    pub offline: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Explains the plan for this moment instead of now
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    #[command(flatten)]
    pub live: LiveArgs,
    #[command(flatten)]
    pub decisions: DecisionArgs,
}

#[derive(Debug, Serialize)]
struct Explained {
    #[serde(flatten)]
    repository: Repository,
    message: String,
    #[serde(flatten)]
    why: Explanation,
    remarks: Vec<Remark>,
    /// How its grants came and went, latest first.
    history: Vec<GrantRecord>,
}

#[derive(Debug, Serialize)]
struct Remark {
    reason: &'static str,
    message: String,
}

/// Who else maintains what.
enum Contenders {
    Seen(BTreeMap<RepositoryId, Vec<Contender>>),
    Files(BTreeMap<MemberName, ForeignObjects>),
}

pub fn run(args: &ExplainArgs) -> Result<ExitCode, String> {
    let options = args.decisions.plan_options()?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let (fleet, histories, contenders, incomplete) = if let Some(directory) = &args.offline {
        let loaded = offline::load(directory, &args.decisions.policy_rules(), &options)?;
        for problem in &loaded.problems {
            anstream::eprintln!("{}: {}", problem.object, problem.message);
        }
        let foreign = loaded.foreign();
        (loaded.fleet, loaded.histories, Contenders::Files(foreign), loaded.incomplete)
    } else {
        let seen = live::look(&args.live, &args.decisions, Vec::new(), Ask::Fleet)?;
        for problem in &seen.preview.problems {
            anstream::eprintln!("{}: {}", problem.object, problem.message);
        }
        warn_of_unread(&seen.fleet);
        (seen.fleet, seen.histories, Contenders::Seen(seen.contenders), false)
    };
    let plan = scratch::plan(&fleet, &options, now);
    let repository = find(&plan, &args.repository)?;
    // The record that has the grant has it.
    let history = repository.ids.iter().find_map(|id| histories.get(id)).cloned().unwrap_or_default();
    let mut explained = Explained { history, ..explained(&fleet, &plan, (&options, now), repository) };
    let contenders = match contenders {
        Contenders::Seen(contenders) => contenders,
        Contenders::Files(objects) => foreign::of_fleet(&plan, &objects),
    };
    let others = contenders.get(&repository.id).into_iter().flatten();
    explained.remarks.extend(others.map(|it| Remark { reason: foreign::REASON, message: it.to_string() }));
    let text = match args.output {
        Format::Table => text(&explained),
        format => serialized(format, &explained)?,
    };
    print_text(&text)?;
    Ok(if incomplete { ExitCode::from(INCOMPLETE) } else { ExitCode::SUCCESS })
}

/// By id, by source, by the whole location, and last by a part of it that only one has.
fn find<'a>(plan: &'a FleetPlan, name: &str) -> Result<&'a RepositoryPlan, String> {
    let by_id = |id: RepositoryId| plan.repositories.iter().find(|repository| repository.ids.contains(&id));
    if let Some(found) = name.parse().ok().and_then(by_id) {
        return Ok(found);
    }
    if let Some(source) = plan.sources.iter().find(|source| source.source.to_string() == name) {
        let why = || match source.reason {
            Some(reason) => format!("source {name} is in no repository ({reason}): {}", source.message),
            None => format!("source {name} is in no repository"),
        };
        return source.repository.and_then(by_id).ok_or_else(why);
    }
    if let Some(found) = plan.repositories.iter().find(|repository| repository.location == name) {
        return Ok(found);
    }
    let like: Vec<&RepositoryPlan> =
        plan.repositories.iter().filter(|repository| repository.location.contains(name)).collect();
    match like[..] {
        [found] => Ok(found),
        [] => Err(format!("{name:?} is no repository and no source: see `volsync-hub plan` for those that there are")),
        _ => {
            let names: Vec<String> =
                like.iter().map(|found| format!("{} ({})", found.id.ledger_name(), found.location)).collect();
            Err(format!("{name:?} may mean {}", names.join(", ")))
        }
    }
}

fn explained(
    fleet: &Fleet,
    plan: &FleetPlan,
    (options, now): (&PlanOptions, Timestamp),
    repository: &RepositoryPlan,
) -> Explained {
    let of_it: Vec<&SourcePlan> =
        plan.sources.iter().filter(|source| source.repository == Some(repository.id)).collect();
    let sources: Vec<SourceKey> = of_it.iter().map(|source| source.source.clone()).collect();
    let seen = Seen { fleet, options, now, sources: &sources };
    let remark = |(reason, message): &(&'static str, String)| Remark { reason, message: message.clone() };
    Explained {
        repository: document::repository(repository, &of_it, options),
        message: repository.message.clone(),
        why: explain(seen, repository),
        remarks: repository.remarks.iter().map(remark).collect(),
        history: Vec::new(),
    }
}

fn text(explained: &Explained) -> String {
    let Explained { repository, message, why, remarks, history } = explained;
    let mut text = String::new();
    let mut say = |line: std::fmt::Arguments<'_>| {
        // Writing to a String does not fail.
        let _ = text.write_fmt(line);
        text.push('\n');
    };
    say(format_args!("kr-{}  {}", repository.id, repository.location));
    let state = format!("{:?}", repository.state);
    let reason = repository.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    say(format_args!("{}{reason}: {message}", tone(repository.state).paint(&state)));
    for remark in remarks {
        say(format_args!("{}: {}", Tone::Warning.paint(remark.reason), remark.message));
    }
    let mut sources = Table::new(["SOURCE", "SECRET"]);
    for source in &repository.sources {
        let name = format!("{}/{}/{}", source.cluster, source.namespace, source.name);
        sources.row([Cell::from(name), source.secret.as_deref().unwrap_or_default().into()]);
    }
    let tables = [
        ("Sources", sources),
        ("Policies", policies(&why.policies)),
        ("Members", members(&why.members)),
        ("Fields", fields(why)),
        ("Next runs", next(why)),
        ("Grants", grants(history)),
    ];
    for (title, table) in tables.iter().filter(|(_, table)| !table.is_empty()) {
        say(format_args!("\n{title}\n{}", table.render().trim_end_matches('\n')));
    }
    text
}

fn policies(policies: &[PolicyWhy]) -> Table {
    let mut table = Table::new(["POLICY", "OUTCOME", "PRIORITY", "MATCHES", "BECAUSE"]);
    for policy in policies {
        let tone = match policy.outcome {
            PolicyOutcome::Won => Tone::Good,
            PolicyOutcome::Lost | PolicyOutcome::NotMatched => Tone::Plain,
            PolicyOutcome::Unreadable => Tone::Bad,
        };
        table.row([
            Cell::from(&policy.name),
            Cell::new(format!("{:?}", policy.outcome), tone),
            policy.priority.map(|priority| priority.to_string()).unwrap_or_default().into(),
            policy.matched_sources.to_string().into(),
            (&policy.because).into(),
        ]);
        for near in &policy.near_misses {
            let message = format!("near miss: {}: {}", near.source, near.message);
            table.row([Cell::from(""), "".into(), "".into(), "".into(), Cell::new(message, Tone::Faint)]);
        }
    }
    table
}

fn members(members: &[MemberWhy]) -> Table {
    let mut table = Table::new(["MEMBER", "CHOSEN", "HOLDER", "REACHABLE", "LAST SYNC", "WEIGHT", "SECRET", "BECAUSE"]);
    for member in members {
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        table.row([
            Cell::from(&member.name),
            Cell::new(yes(member.chosen), if member.chosen { Tone::Good } else { Tone::Plain }),
            yes(member.holder).into(),
            yes(member.reachable).into(),
            if member.last_sync_succeeded { "succeeded" } else { "" }.into(),
            (&member.weight).into(),
            member.secret.as_deref().unwrap_or_default().into(),
            (&member.because).into(),
        ]);
    }
    table
}

fn fields(why: &Explanation) -> Table {
    let mut table = Table::new(["FIELD", "VALUE", "FROM"]);
    for field in &why.fields {
        let value = field.value.as_str().map_or_else(|| field.value.to_string(), str::to_owned);
        table.row([Cell::from(field.name), value.into(), format!("{:?}", field.from).into()]);
    }
    table
}

/// How long each step took stands beside when it began.
fn grants(history: &[GrantRecord]) -> Table {
    let mut table = Table::new(["EPOCH", "CLUSTER", "FROM", "WHY", "BEGAN", "CLAIMED AFTER", "COULD RUN AFTER"]);
    for grant in history {
        let after = |seconds: Option<i64>| {
            seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(duration).unwrap_or_default()
        };
        table.row([
            Cell::from(grant.epoch.to_string()),
            (&grant.cluster).into(),
            grant.from.as_deref().unwrap_or_default().into(),
            (&grant.why).into(),
            grant.began.as_ref().map(|began| began.0.to_string()).unwrap_or_default().into(),
            after(grant.claimed).into(),
            after(grant.active).into(),
        ]);
    }
    table
}

fn next(why: &Explanation) -> Table {
    let mut table = Table::new(["LOCAL", "ZONE", "UTC"]);
    for run in &why.next {
        table.row([Cell::from(&run.local), (&run.zone).into(), run.utc.to_string().into()]);
    }
    table
}
