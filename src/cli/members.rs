//! `volsync-hub members`: the clusters of the fleet, as the hub sees them, and who is taken out of it.

pub(super) mod bound;
pub(super) mod change;
pub(super) mod lifecycle;

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::levers::Hub;
use super::live;
use super::output::{self, Cell, Format, Table, Tone, relative};
use super::run::HubArgs;
use crate::api::member_cluster::{Lifecycle, MemberCluster};
use crate::status::member::ADOPTED;

/// Shows the members of the fleet, and takes them out of it.
#[derive(Clone, Debug, Subcommand)]
pub enum Members {
    List(ListArgs),
    Retire(lifecycle::RetireArgs),
    Forget(lifecycle::ForgetArgs),
    Activate(lifecycle::ActivateArgs),
}

/// Lists the MemberClusters on the hub, and what is wrong with each.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// A stable interface. Sorted by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    name: String,
    pub(super) labels: BTreeMap<String, String>,
    paused: bool,
    eligible: bool,
    lifecycle: Lifecycle,
    /// `True`, `False` or `Unknown`, as the condition says; null before the hub has looked.
    reachable: Option<String>,
    synced: Option<String>,
    /// Since when it can be reached.
    reachable_since: Option<Timestamp>,
    last_contact: Option<Timestamp>,
    source_count: Option<i64>,
    repository_count: Option<i64>,
    held_count: Option<i64>,
    kubernetes_version: Option<String>,
    #[serde(rename = "clusterUID")]
    pub(super) cluster_uid: Option<String>,
    pub(super) volsync_image: Option<String>,
    credential_expiry: Option<Timestamp>,
    /// Conditions that are not as they should be.
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Problem {
    condition: String,
    status: String,
    reason: String,
    message: String,
}

/// What is said where there is none.
pub(super) const NONE: &str = "there is no MemberCluster on the hub: see Register members in docs/operations.md";

pub(super) const HEADINGS: [&str; 9] =
    ["MEMBER", "REACHABLE", "SYNCED", "SOURCES", "REPOSITORIES", "HELD", "VERSION", "CREDENTIALS END", "REMARKS"];

pub fn run(command: &Members) -> Result<ExitCode, String> {
    match command {
        Members::List(args) => list(args),
        Members::Retire(args) => lifecycle::retire(args),
        Members::Forget(args) => lifecycle::forget(args),
        Members::Activate(args) => lifecycle::activate(args),
    }
}

fn list(args: &ListArgs) -> Result<ExitCode, String> {
    let runtime = live::runtime()?;
    let objects = runtime.block_on(async { Hub::connect(&args.hub).await?.members().await })?;
    let members = members(&objects);
    output::print(args.output, &members, || table(&members, Timestamp::now()))?;
    if members.is_empty() {
        anstream::eprintln!("{NONE}");
    }
    Ok(ExitCode::SUCCESS)
}

fn members(objects: &[MemberCluster]) -> Vec<Member> {
    let mut members: Vec<Member> = objects.iter().map(member).collect();
    members.sort_by(|one, other| one.name.cmp(&other.name));
    members
}

pub(super) fn member(object: &MemberCluster) -> Member {
    let status = object.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let word = |kind: &str| condition(kind).map(|condition| condition.status.clone());
    let problems = status.conditions.iter().filter(|condition| {
        // Duplicate is the one that should be False; what is adopted is as the operator wants it.
        condition.type_ != ADOPTED && condition.status != if condition.type_ == "Duplicate" { "False" } else { "True" }
    });
    let problems = problems.map(|condition| Problem {
        condition: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    });
    Member {
        name: object.metadata.name.clone().unwrap_or_default(),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        paused: object.spec.paused,
        eligible: object.spec.eligible,
        lifecycle: object.spec.lifecycle,
        reachable: word("Reachable"),
        synced: word("Synced"),
        problems: problems.collect(),
        reachable_since: status.reachable_since.map(|time| time.0),
        last_contact: status.last_contact.map(|time| time.0),
        source_count: status.source_count,
        repository_count: status.repository_count,
        held_count: status.held_count,
        kubernetes_version: status.kubernetes_version,
        cluster_uid: status.cluster_uid,
        volsync_image: status.volsync_image,
        credential_expiry: status.credential_expiry.map(|time| time.0),
    }
}

fn table(members: &[Member], now: Timestamp) -> Table {
    let mut table = Table::of(&HEADINGS);
    for member in members {
        table.row(cells(member, now));
    }
    table
}

/// As [`HEADINGS`] names them.
pub(super) fn cells(member: &Member, now: Timestamp) -> Vec<Cell> {
    let count = |count: Option<i64>| Cell::from(count.map(|count| count.to_string()).unwrap_or_default());
    vec![
        Cell::from(&member.name),
        condition(member.reachable.as_deref()),
        condition(member.synced.as_deref()),
        count(member.source_count),
        count(member.repository_count),
        count(member.held_count),
        member.kubernetes_version.as_deref().unwrap_or_default().into(),
        member.credential_expiry.map(|end| relative(end, now)).unwrap_or_default().into(),
        Cell::new(remarks(member), Tone::Warning),
    ]
}

fn condition(status: Option<&str>) -> Cell {
    let tone = match status {
        Some("True") => Tone::Good,
        Some("False") => Tone::Bad,
        _ => Tone::Warning,
    };
    Cell::new(status.unwrap_or("Unknown"), tone)
}

/// What the operator set, and what of the rest matters most: who can't be reached is behind in everything else.
fn remarks(member: &Member) -> String {
    let set = [(member.paused, "paused"), (!member.eligible, "not eligible")];
    let taken_out = member.lifecycle != Lifecycle::Active;
    let set = set.into_iter().chain([(taken_out, lifecycle::word(member.lifecycle))]);
    let mut remarks: Vec<String> = set.filter(|(is, _)| *is).map(|(_, word)| word.to_owned()).collect();
    let away = member.problems.iter().find(|problem| problem.condition == "Reachable");
    let problems = away.map_or_else(|| member.problems.iter().collect::<Vec<_>>(), |away| vec![away]);
    remarks.extend(problems.iter().map(|problem| format!("{}: {}", problem.reason, problem.message)));
    if member.reachable.is_none() {
        remarks.push("the hub has not looked at it yet".to_owned());
    }
    remarks.join("; ")
}
