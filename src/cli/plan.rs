//! `volsync-hub plan`: what should be, and what that would change.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::changes::changes;
use super::document::{self, Document};
use super::live::LiveArgs;
use super::offline;
use super::options::DecisionArgs;
use super::output::{Cell, Format, Table, Tone, print_text, serialized};
use crate::api::yaml;
use crate::diff::Action;
use crate::plan::fleet::{Contact, Fleet, PlanOptions};
use crate::plan::result::State;
use crate::plan::scratch;
use crate::policy::PolicyRecord;

/// Shows which policy rules each repository, which member maintains it, and what would change in the members.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// Plans the fleet in this directory: hub/**/*.yaml and members/NAME/**/*.yaml
    #[arg(long, value_name = "DIR")]
    pub offline: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Plans for this moment instead of now
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    /// Plans as if the policies in this file were applied; may be repeated
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    #[command(flatten)]
    pub live: LiveArgs,
    #[command(flatten)]
    pub decisions: DecisionArgs,
}

/// Some object could not be read; the rest was planned.
pub const INCOMPLETE: u8 = 2;

pub fn run(args: &PlanArgs) -> Result<ExitCode, String> {
    let options = args.decisions.plan_options()?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let Some(directory) = &args.offline else { return live(args, &options, now) };
    let mut fleet = match offline::load(directory, &args.decisions.policy_rules(), &options) {
        Ok(fleet) => fleet,
        Err(message) => {
            anstream::eprintln!("volsync-hub: {message}");
            return Ok(ExitCode::from(INCOMPLETE));
        }
    };
    try_policies(&mut fleet.fleet, args)?;
    let plan = scratch::plan(&fleet.fleet, &options, now);
    let changes = changes(&plan, &fleet.fleet, &options);
    print(&document::document(&plan, &options, changes, &fleet.problems), args.output)?;
    Ok(if fleet.incomplete { ExitCode::from(INCOMPLETE) } else { ExitCode::SUCCESS })
}

/// The fleet as it is now, with the policies of `-f` in place of those of their name.
fn live(args: &PlanArgs, options: &PlanOptions, now: Timestamp) -> Result<ExitCode, String> {
    let planner = super::live::fleet(&args.live, &args.decisions)?;
    let mut fleet = planner.fleet().clone();
    try_policies(&mut fleet, args)?;
    let plan = scratch::plan(&fleet, options, now);
    let changes = changes(&plan, &fleet, options);
    print(&document::document(&plan, options, changes, &[]), args.output)?;
    warn_of_unread(&fleet);
    Ok(ExitCode::SUCCESS)
}

/// A policy that exists keeps its age; a new one is the newest of all, as it would be.
fn try_policies(fleet: &mut Fleet, args: &PlanArgs) -> Result<(), String> {
    let rules = args.decisions.policy_rules();
    for file in &args.filename {
        let shown = file.display();
        let text = fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
        for object in yaml::objects(&text) {
            let unreadable = |error: yaml::Unreadable| format!("cannot read {shown}: {}", error.message);
            let value = object.and_then(yaml::YamlObject::into_value).map_err(unreadable)?;
            if value.get("kind").and_then(Value::as_str) != Some("KopiaMaintenance") {
                return Err(format!("{shown} holds something that is no KopiaMaintenance; -f takes policies only"));
            }
            let mut record = PolicyRecord::read(&value, &rules);
            if let Some(standing) = fleet.policies.get(&record.name) {
                record.created = standing.created;
            }
            fleet.policies.insert(record.name.clone(), Arc::new(record));
        }
    }
    Ok(())
}

fn print(document: &Document, format: Format) -> Result<(), String> {
    let text = match format {
        Format::Table => table(document),
        format => serialized(format, document)?,
    };
    print_text(&text)
}

/// Says on standard error which members could not be read in time.
pub fn warn_of_unread(fleet: &Fleet) {
    let unread = fleet.members.iter().filter(|(_, record)| record.contact != Contact::Synced);
    let unread: Vec<String> = unread.map(|(name, _)| name.to_string()).collect();
    if !unread.is_empty() {
        anstream::eprintln!("not read, so nothing would change there: {}", unread.join(", "));
    }
}

/// How a state is shown.
pub fn tone(state: State) -> Tone {
    match state {
        State::Maintained => Tone::Good,
        State::Suspended | State::Disabled | State::Frozen => Tone::Faint,
        State::Held | State::NoCandidate => Tone::Warning,
        State::NoPolicy => Tone::Plain,
    }
}

fn table(document: &Document) -> String {
    let tables = [repositories(document), sources(document), policies(document), changed(document), problems(document)];
    let texts: Vec<String> = tables.iter().filter(|table| !table.is_empty()).map(Table::render).collect();
    if texts.is_empty() { "nothing to maintain\n".to_owned() } else { texts.join("\n") }
}

fn repositories(document: &Document) -> Table {
    let mut table =
        Table::new(["REPOSITORY", "LOCATION", "STATE", "REASON", "POLICY", "CLUSTER", "SCHEDULE", "SOURCES"]);
    for repository in &document.repositories {
        let schedule = repository.cron_job.as_ref().map(|cron_job| cron_job.schedule.as_str());
        table.row([
            Cell::from(format!("kr-{}", repository.id)),
            (&repository.location).into(),
            Cell::new(format!("{:?}", repository.state), tone(repository.state)),
            repository.reason.unwrap_or_default().into(),
            repository.policy.as_deref().unwrap_or_default().into(),
            repository.cluster.as_deref().unwrap_or_default().into(),
            schedule.unwrap_or_default().into(),
            repository.sources.len().to_string().into(),
        ]);
    }
    table
}

/// Those that are in no repository, or not ready.
fn sources(document: &Document) -> Table {
    let mut table = Table::new(["SOURCE", "SECRET", "REASON"]);
    for source in document.sources.iter().filter(|source| source.reason.is_some()) {
        table.row([
            Cell::from(format!("{}/{}/{}", source.cluster, source.namespace, source.name)),
            source.secret.as_deref().unwrap_or_default().into(),
            Cell::new(source.reason.unwrap_or_default(), Tone::Warning),
        ]);
    }
    table
}

fn policies(document: &Document) -> Table {
    let mut table = Table::new(["POLICY", "VALID", "SOURCES", "REPOSITORIES", "MESSAGE"]);
    for policy in &document.policies {
        table.row([
            Cell::from(&policy.name),
            Cell::new(policy.valid.to_string(), if policy.valid { Tone::Plain } else { Tone::Bad }),
            policy.matched_sources.to_string().into(),
            policy.repositories.to_string().into(),
            (&policy.message).into(),
        ]);
    }
    table
}

fn changed(document: &Document) -> Table {
    let mut table = Table::new(["CHANGE", "CLUSTER", "OBJECT"]);
    for change in &document.changes {
        let (action, tone) = match change.action {
            Action::Create => ("create", Tone::Good),
            Action::Update => ("update", Tone::Warning),
            Action::Delete => ("delete", Tone::Bad),
        };
        let object = format!("{} {}", change.kind, change.object);
        table.row([Cell::new(action, tone), change.cluster.to_string().into(), object.into()]);
    }
    table
}

fn problems(document: &Document) -> Table {
    let mut table = Table::new(["PROBLEM", "OBJECT", "MESSAGE"]);
    for problem in &document.problems {
        table.row([Cell::new(problem.reason, Tone::Warning), (&problem.object).into(), (&problem.message).into()]);
    }
    table
}
