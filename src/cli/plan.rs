//! `volsync-hub plan`: what should be, and what that would change.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::Value;

use super::changes;
use super::document::{self, Document};
use super::live::{self, Ask, LiveArgs, Seen};
use super::offline;
use super::options::DecisionArgs;
use super::output::{Cell, Format, Table, Tone, one_line, print_text, serialized};
use crate::api::yaml;
use crate::controller::preview::Preview;
use crate::diff::{Action, Change, Field};
use crate::plan::fleet::{Contact, Fleet, PlanOptions};
use crate::plan::foreign;
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
    let policies = policies_to_try(args)?;
    let Some(directory) = &args.offline else { return live(args, policies, &options, now) };
    let mut offline = match offline::load(directory, &args.decisions.policy_rules(), &options) {
        Ok(offline) => offline,
        Err(message) => {
            anstream::eprintln!("volsync-hub: {message}");
            return Ok(ExitCode::from(INCOMPLETE));
        }
    };
    offline.try_policies(policies, &options);
    let plan = scratch::plan(&offline.fleet, &options, now);
    let hub =
        changes::Hub { id: args.live.hub.hub_id.as_deref(), mover_image: args.live.members.mover_image.as_deref() };
    let Preview { changes, mut problems } = changes::changes(&plan, &offline, &options, hub);
    problems.append(&mut offline.problems);
    problems.extend(foreign::problems(&plan, &foreign::of_fleet(&plan, &offline.foreign())));
    print(&document::document(&plan, &options, changes, &problems), args.output)?;
    Ok(if offline.incomplete { ExitCode::from(INCOMPLETE) } else { ExitCode::SUCCESS })
}

/// The fleet as it is now, with the policies of `-f` in place of those of their name.
fn live(
    args: &PlanArgs,
    policies: Vec<PolicyRecord>,
    options: &PlanOptions,
    now: Timestamp,
) -> Result<ExitCode, String> {
    let Seen { fleet, mut preview, contenders, .. } = live::look(&args.live, &args.decisions, policies, Ask::Changes)?;
    let plan = scratch::plan(&fleet, options, now);
    preview.problems.extend(foreign::problems(&plan, &contenders));
    print(&document::document(&plan, options, preview.changes, &preview.problems), args.output)?;
    warn_of_unread(&fleet);
    if args.live.members.observe {
        anstream::eprintln!("the hub only observes (--observe), so it writes none of these changes");
    }
    Ok(ExitCode::SUCCESS)
}

/// The policies of `-f`.
fn policies_to_try(args: &PlanArgs) -> Result<Vec<PolicyRecord>, String> {
    let rules = args.decisions.policy_rules();
    let mut policies = Vec::new();
    for file in &args.filename {
        let shown = file.display();
        let text = fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
        for object in yaml::objects(&text) {
            let unreadable = |error: yaml::Unreadable| format!("cannot read {shown}: {}", error.message);
            let value = object.and_then(yaml::YamlObject::into_value).map_err(unreadable)?;
            if value.get("kind").and_then(Value::as_str) != Some("KopiaMaintenance") {
                return Err(format!("{shown} holds something that is no KopiaMaintenance; -f takes policies only"));
            }
            policies.push(PolicyRecord::read(&value, &rules));
        }
    }
    Ok(policies)
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
        anstream::eprintln!(
            "not read, so nothing would change there: {}; kubectl get memberclusters says why (was --kubeconfig-dir given as the hub has it?)",
            unread.join(", ")
        );
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
    let tables = [repositories(document), sources(document), policies(document)];
    let render = |table: &Table| (!table.is_empty()).then(|| table.render());
    let mut texts: Vec<String> = tables.iter().filter_map(render).collect();
    if texts.is_empty() {
        texts.push("nothing to maintain\n".to_owned());
    }
    texts.push(diff(&document.changes));
    texts.extend(render(&problems(document)));
    texts.join("\n")
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

/// A section a member, and below an update a line a field.
fn diff(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "NO CHANGES\n".to_owned();
    }
    let sections = changes.chunk_by(|one, next| one.cluster == next.cluster).map(|changes| {
        let width = changes.iter().map(|change| change.kind.as_str().len()).max().unwrap_or(0);
        let rows = changes.iter().map(|change| {
            let (action, tone) = match change.action {
                Action::Create => ("create", Tone::Good),
                Action::Update => ("update", Tone::Warning),
                Action::Delete => ("delete", Tone::Bad),
            };
            let fields =
                change.fields.iter().flat_map(|field| ["      ".to_owned(), field_line(field), "\n".to_owned()]);
            let fields: String = fields.collect();
            format!(
                "  {}   {:width$}   {}\n{fields}",
                tone.paint(action),
                change.kind.as_str(),
                one_line(&change.object.to_string())
            )
        });
        let rows: String = rows.collect();
        format!("CHANGES IN {}\n{rows}", one_line(changes.first().map_or("", |change| change.cluster.as_str())))
    });
    sections.collect::<Vec<_>>().join("\n")
}

fn field_line(field: &Field) -> String {
    let side = |value: &Option<Value>| match value {
        None => "(none)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let change = match (&field.from, &field.to) {
        (None, None) => "contents changed".to_owned(),
        (from, to) => format!("{} -> {}", side(from), side(to)),
    };
    one_line(&format!("{}: {change}", field.path))
}

fn problems(document: &Document) -> Table {
    let mut table = Table::new(["PROBLEM", "OBJECT", "MESSAGE"]);
    for problem in &document.problems {
        table.row([Cell::new(problem.reason, Tone::Warning), (&problem.object).into(), (&problem.message).into()]);
    }
    table
}
