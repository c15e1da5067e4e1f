//! `volsync-hub plan`: what should be, and what that would change.

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;

use super::changes::changes;
use super::document::{self, Document};
use super::offline;
use super::options::DecisionArgs;
use super::output::{Cell, Format, Table, Tone, print_text, serialized};
use crate::diff::Action;
use crate::plan::result::State;
use crate::plan::scratch;

/// Shows which policy rules each repository, which member maintains it, and what would change in the members.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// Plans the fleet in this directory: hub/**/*.yaml and members/<name>/**/*.yaml
    #[arg(long, value_name = "DIR")]
    pub offline: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Plans for this moment instead of now
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    #[command(flatten)]
    pub decisions: DecisionArgs,
}

/// Some object could not be read; the rest was planned.
pub const INCOMPLETE: u8 = 2;

pub fn run(args: &PlanArgs) -> Result<ExitCode, String> {
    let Some(directory) = &args.offline else {
        return Err("plan needs --offline DIR: planning a live fleet is not there yet".to_owned());
    };
    let options = args.decisions.plan_options()?;
    let fleet = match offline::load(directory, &args.decisions.policy_rules(), &options) {
        Ok(fleet) => fleet,
        Err(message) => {
            anstream::eprintln!("volsync-hub: {message}");
            return Ok(ExitCode::from(INCOMPLETE));
        }
    };
    let plan = scratch::plan(&fleet.fleet, &options, args.at.unwrap_or_else(Timestamp::now));
    let changes = changes(&plan, &fleet.fleet, &options);
    let document = document::document(&plan, &options, changes, &fleet.problems);
    let text = match args.output {
        Format::Table => table(&document),
        format => serialized(format, &document)?,
    };
    print_text(&text)?;
    Ok(if fleet.incomplete { ExitCode::from(INCOMPLETE) } else { ExitCode::SUCCESS })
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
