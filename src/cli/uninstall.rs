//! `volsync-hub uninstall`: retires every member, waits until nothing of the hub is maintained there, and says what is left.

mod left;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::levers::decide::{Edit, is_reachable};
use super::levers::{self, Hub, resolve};
use super::live;
use super::members::bound::{adopted, bound, counted};
use super::members::lifecycle::{Doing, POLL, shown, word};
use super::output::{Cell, Table, Tone, one_line, print_text};
use crate::api::member_cluster::{Lifecycle, MemberCluster, MemberClusterSpec};
use left::Places;
use resolve::Repository;

/// Takes the hub out of the fleet: every member is retired, and what is left to be deleted by hand is named.
#[derive(Clone, Debug, clap::Args)]
pub struct UninstallArgs {
    #[command(flatten)]
    pub doing: Doing,
    /// Namespace of the maintenance objects in the members
    #[arg(long, env = "VOLSYNC_HUB_MEMBER_NAMESPACE", value_name = "NAMESPACE", default_value = "volsync-system")]
    pub member_namespace: String,
}

pub fn run(args: &UninstallArgs) -> Result<ExitCode, String> {
    let doing = &args.doing;
    let runtime = live::runtime()?;
    let hub = runtime.block_on(Hub::connect(&doing.hub))?;
    let members = runtime.block_on(hub.members())?;
    let objects = runtime.block_on(hub.repositories())?;
    let decided = decide(&members, &resolve::repositories(&objects));
    print_text(&decided.text)?;
    if !levers::go_on(&decided.questions, doing.dry_run, doing.yes)? {
        return Ok(ExitCode::SUCCESS);
    }
    let places = Places {
        hub: doing.hub.namespace.clone().unwrap_or_else(|| "volsync-system".to_owned()),
        member: args.member_namespace.clone(),
    };
    runtime.block_on(carry_out(&hub, &decided, &places, (!doing.no_wait).then_some(doing.wait)))
}

struct Decided {
    text: String,
    questions: Vec<String>,
    edits: Vec<Edit<MemberClusterSpec>>,
}

/// Who is forgotten stays so: it is not waited for.
fn decide(members: &[MemberCluster], repositories: &[Repository<'_>]) -> Decided {
    let mut table = Table::new(["MEMBER", "REACHABLE", "LIFECYCLE", "HELD", "THEN"]);
    let (mut edits, mut maintained, mut notes) = (Vec::new(), 0, Vec::new());
    for object in members {
        let name = object.metadata.name.clone().unwrap_or_default();
        let (reachable, held) = (is_reachable(members, &name), bound(repositories, &name).held.len());
        let active = object.spec.lifecycle == Lifecycle::Active;
        maintained += held;
        if active {
            edits.push(Edit::new(object, json!({"lifecycle": Lifecycle::Retired})));
        }
        if !reachable {
            notes.push(format!(
                "{name}: can't be reached, so that its own CronJobs go on until you take them away there"
            ));
        }
        let (then, tone) = if active { ("retired", Tone::Warning) } else { ("no change", Tone::Faint) };
        table.row([
            Cell::from(&name),
            Cell::new(if reachable { "True" } else { "False" }, if reachable { Tone::Good } else { Tone::Bad }),
            word(object.spec.lifecycle).into(),
            held.to_string().into(),
            Cell::new(then, tone),
        ]);
    }
    let frozen = repositories.iter().filter(|it| it.status().is_some_and(|it| it.state.as_deref() == Some("Frozen")));
    let frozen = frozen.count();
    if frozen > 0 {
        notes.push(format!(
            "{}: frozen, so that the grant stays where it is: volsync-hub thaw --all lets it go",
            counted(frozen)
        ));
    }
    let mut text = if table.is_empty() { "there is no MemberCluster on the hub\n".to_owned() } else { table.render() };
    text.extend(notes.iter().map(|note| format!("{}\n", one_line(note))));
    let members = if edits.len() == 1 { "1 member".to_owned() } else { format!("{} members", edits.len()) };
    let question =
        format!("this retires {members}: {} will not be maintained by this hub any more", counted(maintained));
    let questions = if edits.is_empty() { Vec::new() } else { vec![question] };
    Decided { text, questions, edits }
}

async fn carry_out(hub: &Hub, decided: &Decided, places: &Places, wait: Option<Duration>) -> Result<ExitCode, String> {
    let edits: Vec<_> = decided.edits.iter().collect();
    let results = hub.edit::<MemberCluster>(&edits).await;
    let failed: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    for message in &failed {
        anstream::eprintln!("volsync-hub: {message}");
    }
    if !failed.is_empty() {
        return Err("not every member could be retired; repeat the command".to_owned());
    }
    match edits.len() {
        0 => print_text("nothing to do: every member is retired or forgotten already\n")?,
        count => print_text(&format!("retired {count} of the members\n"))?,
    }
    let Some(patience) = wait else {
        return print_text("the same command follows what becomes of it, and says what is left\n")
            .map(|()| ExitCode::SUCCESS);
    };
    let done = follow(hub, patience).await?;
    let members = hub.members().await?;
    print_text(&left::left(&members, places, done))?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Until no member that can be reached holds anything. False where patience was over first.
async fn follow(hub: &Hub, patience: Duration) -> Result<bool, String> {
    if io::stderr().is_terminal() {
        anstream::eprintln!("following for up to {}; what was begun goes on without this command ...", shown(patience));
    }
    let (begin, mut said) = (Instant::now(), None);
    loop {
        let (members, objects) = (hub.members().await?, hub.repositories().await?);
        let (since, waits) = (begin.elapsed(), waits(&members, &resolve::repositories(&objects)));
        if waits.is_empty() {
            print_text(&format!("after {} no member that can be reached holds anything\n", shown(since)))?;
            return Ok(true);
        }
        if said.as_ref() != Some(&waits) {
            let time = format!("+{}", shown(since));
            let lines: Vec<String> = waits.iter().map(|line| format!("{time:>6}  {line}\n")).collect();
            print_text(&lines.concat())?;
        }
        if since >= patience {
            print_text(&format!("after {} it is not done; it goes on by itself\n", shown(since)))?;
            return Ok(false);
        }
        said = Some(waits);
        tokio::time::sleep(POLL.min(patience.saturating_sub(since))).await;
    }
}

/// A line for each member that can be reached and still holds something.
fn waits(members: &[MemberCluster], repositories: &[Repository<'_>]) -> Vec<String> {
    let names = members.iter().filter_map(|object| object.metadata.name.as_deref());
    let reachable = names.filter(|name| is_reachable(members, name));
    let bound = reachable.map(|name| (name, bound(repositories, name)));
    let waits = bound.map(|(name, bound)| (name, bound, adopted(members, name)));
    let waits = waits.filter(|(_, bound, adopted)| !bound.is_free() || adopted.is_some());
    waits
        .map(|(name, bound, adopted)| {
            let adopted = adopted.map(|adopted| format!("; {adopted}")).unwrap_or_default();
            format!("{name} {}{adopted}", bound.says())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::levers::testing::{held, member, record};
    use super::*;

    #[test]
    fn every_member_is_retired_but_those_that_are_so_or_gone() {
        let members = [
            member("east", &json!({}), "True"),
            member("north", &json!({"lifecycle": "Forgotten"}), "False"),
            member("south", &json!({"lifecycle": "Retired"}), "True"),
            member("west", &json!({}), "False"),
        ];
        let frozen = record(3, &json!({}), &json!({"state": "Frozen"}));
        let objects = [held(1, &json!({})), held(2, &json!({})), frozen];
        let told = decide(&members, &resolve::repositories(&objects));
        let names: Vec<&str> = told.edits.iter().map(|edit| edit.name.as_str()).collect();
        assert_eq!(names, ["east", "west"]);
        assert!(told.edits.iter().all(|edit| edit.spec == json!({"lifecycle": "Retired"})));
        assert_eq!(
            told.questions,
            ["this retires 2 members: 2 repositories will not be maintained by this hub any more"]
        );
        for part in ["west: can't be reached", "1 repository: frozen", "volsync-hub thaw --all"] {
            assert!(told.text.contains(part), "no {part} in {}", told.text);
        }
        let again = decide(&members[1..3], &[]);
        assert!(again.edits.is_empty() && again.questions.is_empty());
        assert!(decide(&[], &[]).text.contains("no MemberCluster"));
    }

    #[test]
    fn it_waits_for_members_that_can_be_reached_and_for_no_other() {
        let objects = [held(1, &json!({}))];
        let repositories = resolve::repositories(&objects);
        let lines = waits(&[member("east", &json!({}), "True")], &repositories);
        assert_eq!(lines, ["east holds 1 repository"]);
        assert!(waits(&[member("east", &json!({}), "False")], &repositories).is_empty());
        let let_go = [record(
            1,
            &json!({}),
            &json!({"state": "NoCandidate",
            "grant": {"cluster": "east", "epoch": 1, "phase": "Active"}}),
        )];
        assert!(waits(&[member("east", &json!({}), "True")], &resolve::repositories(&let_go)).is_empty());
    }
}
