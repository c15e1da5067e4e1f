//! What the demo says before it begins and when it is over, for people who see the hub for the first time.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;

use super::screen;
use crate::cli::output::Tone;
use crate::demo::changes::count;
use crate::demo::fleet::{DemoFleet, SPEED, TIME_FACTOR};
use crate::demo::verdict::Verdict;
use crate::demo::view::View;

pub fn introduction(fleet: &DemoFleet) -> String {
    let mut text = format!(
        "A simulated fleet: one management cluster and {} members, over TLS on this machine. The hub is the real one.\n\
         No container runs and no backup exists. A minute of a member's clock passes in {} s, and the waits of the \
         protocol are divided by {TIME_FACTOR}.\n\
         The management cluster for kubectl, while this runs:\n  export KUBECONFIG={}\n\
         A member: kubectl --kubeconfig {}/paris.yaml get cronjobs,jobs -A\n\nIts policies:\n",
        fleet.members.len(),
        60 / SPEED,
        fleet.hub_kubeconfig().display(),
        fleet.kubeconfig_dir().display()
    );
    for (name, shows) in fleet.policies() {
        let _ = writeln!(text, "  {name:<18}{shows}");
    }
    text.push('\n');
    text
}

/// `changed`: whoever looked on has changed the fleet, and left it so.
pub fn text(view: &View, verdict: &Verdict, fleet: &DemoFleet, (elapsed, changed): (Duration, bool)) -> String {
    let mut text = format!("\n{}\n", screen::repositories(view, Timestamp::now(), screen::LOCATION_MAX));
    // Writing to a String does not fail.
    let _ = writeln!(text, "{}", sums(view, verdict, fleet, elapsed));
    let holders = holders(view);
    let _ = writeln!(
        text,
        "  {} maintained on schedule, each by exactly one cluster ({holders})",
        Tone::Good.paint(&verdict.maintained.len().to_string())
    );
    for location in &verdict.opted_out {
        let _ = writeln!(text, "  opted out by a policy: {location}");
    }
    for (location, why) in &verdict.held {
        let _ = writeln!(text, "  held, nothing starts: {location}: {why}");
    }
    let _ = writeln!(
        text,
        "  {} of maintenance succeeded, and {} two were in one repository at once",
        runs(verdict.runs),
        if verdict.collisions == 0 { "never".to_owned() } else { format!("{} times", verdict.collisions) }
    );
    if verdict.missing.is_empty() {
        let _ = writeln!(text, "{}", Tone::Good.paint("Everything that should be maintained is."));
    } else {
        let why = if changed { "as you changed the fleet" } else { "yet" };
        let _ = writeln!(text, "{}", Tone::Bad.paint(&format!("Not as it should be ({why}):")));
        for missing in &verdict.missing {
            let _ = writeln!(text, "  {missing}");
        }
    }
    text
}

fn runs(number: u32) -> String {
    count(number.into(), "run", "runs")
}

fn sums(view: &View, verdict: &Verdict, fleet: &DemoFleet, elapsed: Duration) -> String {
    let sources: i64 = view.repositories.iter().map(|row| row.sources).sum();
    let reached = view.members.iter().filter(|row| row.reachable == Some(true)).count();
    let lost: Vec<&str> =
        view.members.iter().filter(|row| row.reachable != Some(true)).map(|row| row.name.as_str()).collect();
    let mut text = format!(
        "After {} s: {} behind {} in {reached} of {} members",
        elapsed.as_secs(),
        count(i64::try_from(view.repositories.len()).unwrap_or_default(), "repository", "repositories"),
        count(sources, "source", "sources"),
        fleet.members.len()
    );
    if !lost.is_empty() {
        let _ = write!(text, "; {} out of reach, which changes nothing for the others", lost.join(", "));
    }
    if verdict.maintained.is_empty() {
        text += "; it had only just begun";
    }
    text
}

/// `lima 3, oslo 4`
fn holders(view: &View) -> String {
    let holds = |member: &str| {
        view.repositories.iter().filter(|row| row.holder.as_ref().is_some_and(|(name, _)| name == member)).count()
    };
    let shares = view.members.iter().map(|row| (row.name.as_str(), holds(&row.name))).filter(|(_, number)| *number > 0);
    shares.map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>().join(", ")
}
