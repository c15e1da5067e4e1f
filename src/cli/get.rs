//! `volsync-hub get`: repositories, policies and members at a glance, as the hub's own objects tell.

mod members;
mod policies;
mod repositories;

use std::process::ExitCode;

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::levers::Hub;
use super::levers::near::{hint, near};
use super::live;
use super::output::{Cell, Format, Table, print_text, relative, serialized};
use super::run::HubArgs;
use super::wrong::Level;
pub use policies::status as policy_status;

/// Shows the repositories, policies or members of the fleet, those first that something is wrong with.
#[derive(Clone, Debug, clap::Args)]
pub struct GetArgs {
    #[arg(value_name = "KIND", value_enum, default_value_t)]
    pub what: What,
    /// Only these; a repository by its id (with or without kr-) or location
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Shown,
    /// Repositories that this KopiaMaintenance rules
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Repositories that this member holds
    #[arg(long, value_name = "MEMBER")]
    pub cluster: Option<String>,
    /// Repositories in this state, such as Held
    #[arg(long, value_name = "STATE", value_parser = state)]
    pub state: Option<String>,
    /// Only what something is wrong with
    #[arg(long)]
    pub problems: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Under the names that kubectl takes as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum What {
    #[default]
    #[value(aliases = ["repository", "kopiarepositories", "kopiarepository", "kr"])]
    Repositories,
    #[value(aliases = ["policy", "kopiamaintenances", "kopiamaintenance", "km"])]
    Policies,
    #[value(aliases = ["member", "memberclusters", "membercluster", "vmc"])]
    Members,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Shown {
    /// For people
    #[default]
    Table,
    /// With more columns
    Wide,
    Json,
    Yaml,
}

/// What is shown of one thing.
struct Row {
    /// The objects behind it, for programs.
    objects: Vec<Value>,
    worst: Level,
    cells: Vec<Cell>,
    /// Further ones, where the table is wide.
    wide: Vec<Cell>,
}

/// All that is shown. In the order of names.
struct Listing {
    headings: &'static [&'static str],
    wide: &'static [&'static str],
    rows: Vec<Row>,
    /// A line below the table.
    summary: String,
}

pub fn run(args: &GetArgs) -> Result<ExitCode, String> {
    if args.what != What::Repositories && (args.policy.is_some() || args.cluster.is_some() || args.state.is_some()) {
        return Err("--policy, --cluster and --state are for repositories: leave the kind out, or say `get \
                    repositories`"
            .to_owned());
    }
    let runtime = live::runtime()?;
    let now = Timestamp::now();
    let mut listing = runtime.block_on(async {
        let hub = Hub::connect(&args.hub).await?;
        match args.what {
            What::Repositories => repositories::listing(&hub, args, now).await,
            What::Policies => policies::listing(&hub, &args.names, now).await,
            What::Members => members::listing(&hub, &args.names, now).await,
        }
    })?;
    if args.problems {
        listing.rows.retain(|row| row.worst > Level::Ok);
    }
    print_text(&match args.output {
        Shown::Table | Shown::Wide => table(listing, args.output == Shown::Wide),
        Shown::Json => serialized(Format::Json, &list(listing))?,
        Shown::Yaml => serialized(Format::Yaml, &list(listing))?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The worst first, and among equals in the order of names.
fn table(mut listing: Listing, wide: bool) -> String {
    listing.rows.sort_by_key(|row| std::cmp::Reverse(row.worst));
    let more: &[&str] = if wide { listing.wide } else { &[] };
    let mut table = Table::of(&[listing.headings, more].concat());
    for row in listing.rows {
        let more = if wide { row.wide } else { Vec::new() };
        table.row(row.cells.into_iter().chain(more));
    }
    let rows = if table.is_empty() { String::new() } else { table.render() };
    rows + &listing.summary + "\n"
}

/// As kubectl prints several objects.
fn list(listing: Listing) -> Value {
    let items: Vec<Value> = listing.rows.into_iter().flat_map(|row| row.objects).collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// Without what only API servers need.
fn shown(object: &DynamicObject) -> Value {
    let mut object = object.clone();
    object.metadata.managed_fields = None;
    serde_json::to_value(object).unwrap_or_default()
}

fn name(object: &DynamicObject) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

/// Those of the names, all where none is given; an error that says what is near.
fn named(objects: Vec<DynamicObject>, names: &[String], kind: &str) -> Result<Vec<DynamicObject>, String> {
    for wanted in names {
        if !objects.iter().any(|object| name(object) == wanted) {
            let near = near(wanted, objects.iter().map(name));
            let all = format!("`volsync-hub get {kind}` lists them");
            return Err(format!("none of the {kind} on the hub is called {wanted:?}: {}", hint(&near, &all)));
        }
    }
    let wanted = |object: &DynamicObject| names.is_empty() || names.iter().any(|wanted| wanted == name(object));
    let mut objects: Vec<_> = objects.into_iter().filter(wanted).collect();
    objects.sort_by(|one, other| name(one).cmp(name(other)));
    Ok(objects)
}

/// What there is, and how much of it is in trouble.
fn summary(count: usize, (one, many): (&str, &str), parts: &str, troubled: usize) -> String {
    let counted = if count == 1 { format!("1 {one}") } else { format!("{count} {many}") };
    let parts = if parts.is_empty() { String::new() } else { format!(": {parts}") };
    let troubled = match troubled {
        0 => String::new(),
        1 => "; something is wrong with 1 of them".to_owned(),
        _ => format!("; something is wrong with {troubled} of them"),
    };
    format!("{counted}{parts}{troubled}")
}

fn when(time: Option<Timestamp>, now: Timestamp) -> Cell {
    time.map(|time| relative(time, now)).unwrap_or_default().into()
}

/// In the spelling of status.
fn state(text: &str) -> Result<String, String> {
    const STATES: [&str; 7] = ["Maintained", "Suspended", "Disabled", "NoPolicy", "NoCandidate", "Held", "Frozen"];
    let found = STATES.iter().find(|state| state.eq_ignore_ascii_case(text));
    found.map(|state| (*state).to_owned()).ok_or_else(|| format!("the states are {}", STATES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Tone;

    fn listing() -> Listing {
        let row = |name: &str, worst: Level| Row {
            objects: vec![json!({"metadata": {"name": name}})],
            worst,
            cells: vec![name.into(), Cell::new(worst.as_str(), worst.tone())],
            wide: vec![Cell::new("more", Tone::Faint)],
        };
        let rows = vec![row("a", Level::Ok), row("b", Level::Warn), row("c", Level::Fail), row("d", Level::Ok)];
        Listing { headings: &["NAME", "NOTE"], wide: &["MORE"], rows, summary: "4 things".to_owned() }
    }

    #[test]
    fn what_is_worst_stands_first_and_scripts_get_all_by_name() {
        let plain = |wide| anstream::adapter::strip_str(&table(listing(), wide)).to_string();
        assert_eq!(plain(false), "NAME   NOTE\nc      fail\nb      warn\na      ok\nd      ok\n4 things\n");
        assert!(plain(true).starts_with("NAME   NOTE   MORE\nc      fail   more\n"));
        let list = list(listing());
        assert_eq!(list["kind"], "List");
        let names: Vec<_> = list["items"].as_array().into_iter().flatten().map(|it| &it["metadata"]["name"]).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }

    #[test]
    fn states_are_taken_in_any_case_and_a_wrong_one_is_told_the_right_ones() {
        assert_eq!(state("nocandidate").as_deref(), Ok("NoCandidate"));
        assert!(state("broken").is_err_and(|told| told.contains("Held, Frozen")));
    }

    #[test]
    fn a_name_that_nothing_has_is_told_what_is_near() {
        let object = |name: &str| DynamicObject::new(name, &crate::hub::kinds::member_cluster());
        let objects = vec![object("tokyo"), object("osaka")];
        let found = named(objects.clone(), &["osaka".to_owned()], "members").unwrap_or_default();
        assert_eq!(found.iter().map(name).collect::<Vec<_>>(), ["osaka"]);
        let error = named(objects.clone(), &["tokio".to_owned()], "members").map(|_| ()).unwrap_err();
        assert_eq!(error, "none of the members on the hub is called \"tokio\": did you mean tokyo?");
        let all = named(objects, &[], "members").unwrap_or_default();
        assert_eq!(all.iter().map(name).collect::<Vec<_>>(), ["osaka", "tokyo"]);
    }
}
