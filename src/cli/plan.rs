//! `volsync-hub plan`: what should be, and what that would change.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::changes::changes;
use super::document::{self, Document};
use super::live::LiveArgs;
use super::offline;
use super::options::DecisionArgs;
use super::table::{Table, dash};
use crate::api::yaml;
use crate::plan::fleet::{Contact, Fleet, PlanOptions};
use crate::plan::scratch;
use crate::policy::PolicyRecord;

/// Shows which policy rules each repository, which member maintains it, and what would change in the members.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// Plans the fleet in this directory: hub/**/*.yaml and members/<name>/**/*.yaml
    #[arg(long, value_name = "DIR")]
    pub offline: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
    Yaml,
}

/// Some object could not be read; the rest was planned.
const INCOMPLETE: u8 = 2;

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
    let unread: Vec<String> = fleet
        .members
        .iter()
        .filter(|(_, record)| record.contact != Contact::Synced)
        .map(|(name, _)| name.to_string())
        .collect();
    try_policies(&mut fleet, args)?;
    let plan = scratch::plan(&fleet, options, now);
    let changes = changes(&plan, &fleet, options);
    print(&document::document(&plan, options, changes, &[]), args.output)?;
    if !unread.is_empty() {
        anstream::eprintln!("not read, so nothing would change there: {}", unread.join(", "));
    }
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
        Format::Json | Format::Yaml => serialized(document, format)?,
    };
    let written = anstream::stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| format!("cannot print the plan: {error}"))
}

/// For everything that commands print besides tables.
pub fn serialized(value: &impl Serialize, format: Format) -> Result<String, String> {
    match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| format!("cannot write YAML: {error}")),
        Format::Table | Format::Json => {
            let text = serde_json::to_string_pretty(value).map_err(|error| format!("cannot write JSON: {error}"))?;
            Ok(text + "\n")
        }
    }
}

fn table(document: &Document) -> String {
    let mut repositories =
        Table::new(["REPOSITORY", "LOCATION", "STATE", "REASON", "POLICY", "CLUSTER", "SCHEDULE", "SOURCES"]);
    for repository in &document.repositories {
        repositories.row([
            format!("kr-{}", repository.id),
            repository.location.clone(),
            format!("{:?}", repository.state),
            dash(repository.reason),
            dash(repository.policy.as_deref()),
            dash(repository.cluster.as_deref()),
            dash(repository.cron_job.as_ref().map(|cron_job| cron_job.schedule.as_str())),
            repository.sources.len().to_string(),
        ]);
    }
    let mut unmatched = Table::new(["SOURCE", "SECRET", "REASON"]);
    for source in document.sources.iter().filter(|source| source.reason.is_some()) {
        let name = format!("{}/{}/{}", source.cluster, source.namespace, source.name);
        unmatched.row([name, dash(source.secret.as_deref()), dash(source.reason)]);
    }
    let mut policies = Table::new(["POLICY", "VALID", "SOURCES", "REPOSITORIES", "MESSAGE"]);
    for policy in &document.policies {
        policies.row([
            policy.name.clone(),
            policy.valid.to_string(),
            policy.matched_sources.to_string(),
            policy.repositories.to_string(),
            policy.message.clone(),
        ]);
    }
    let mut changes = Table::new(["CHANGE", "CLUSTER", "OBJECT"]);
    for change in &document.changes {
        let action = format!("{:?}", change.action).to_lowercase();
        changes.row([action, change.cluster.to_string(), format!("{} {}", change.kind, change.object)]);
    }
    let mut problems = Table::new(["PROBLEM", "OBJECT", "MESSAGE"]);
    for problem in &document.problems {
        problems.row([problem.reason.to_owned(), problem.object.clone(), problem.message.clone()]);
    }
    let tables = [repositories, unmatched, policies, changes, problems];
    let texts: Vec<String> = tables.iter().filter_map(Table::text).collect();
    if texts.is_empty() { "nothing to maintain\n".to_owned() } else { texts.join("\n") }
}
