//! `volsync-hub members retire`, `forget` and `activate`: edits of a MemberCluster, and what follows.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::bound::{Bound, adopted, bound, named};
use super::change::{self, Change, Decided};
use crate::api::member_cluster::{Lifecycle, MemberCluster};
use crate::cli::levers::decide::{find, known_member};
use crate::cli::levers::{self, Hub, resolve};
use crate::cli::live;
use crate::cli::options;
use crate::cli::output::{duration, print_text};
use crate::cli::run::HubArgs;

/// Between two looks at all repositories.
pub const POLL: Duration = Duration::from_secs(1);

/// Hands over what a member holds, and takes away what the hub has there: sets spec.lifecycle to Retired.
#[derive(Clone, Debug, clap::Args)]
pub struct RetireArgs {
    /// The name of its MemberCluster
    #[arg(value_name = "MEMBER")]
    pub member: String,
    #[command(flatten)]
    pub doing: Doing,
}

/// Says that a cluster is gone for good: sets spec.lifecycle to Forgotten.
#[derive(Clone, Debug, clap::Args)]
pub struct ForgetArgs {
    /// The name of its MemberCluster
    #[arg(value_name = "MEMBER")]
    pub member: String,
    /// It is gone: nothing waits for it
    #[arg(long, requires = "reason")]
    pub force: bool,
    /// Why, for whoever comes next; kept as an annotation
    #[arg(long, value_name = "TEXT", value_parser = levers::reason)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub doing: Doing,
}

/// Takes back a member that was retired or forgotten: sets spec.lifecycle to Active.
#[derive(Clone, Debug, clap::Args)]
pub struct ActivateArgs {
    /// The name of its MemberCluster
    #[arg(value_name = "MEMBER")]
    pub member: String,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// How a member, or all of them, are taken out.
#[derive(Clone, Debug, clap::Args)]
pub struct Doing {
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to follow what becomes of it
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = options::long_duration)]
    pub wait: Duration,
    /// Do not wait for the hub
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub fn retire(args: &RetireArgs) -> Result<ExitCode, String> {
    run(&Change::Retire, &args.member, &args.doing)
}

pub fn forget(args: &ForgetArgs) -> Result<ExitCode, String> {
    run(&Change::Forget { force: args.force, reason: args.reason.clone() }, &args.member, &args.doing)
}

pub fn activate(args: &ActivateArgs) -> Result<ExitCode, String> {
    let doing = Doing { yes: true, dry_run: args.dry_run, wait: Duration::ZERO, no_wait: true, hub: args.hub.clone() };
    run(&Change::Activate, &args.member, &doing)
}

fn run(change: &Change, name: &str, doing: &Doing) -> Result<ExitCode, String> {
    let runtime = live::runtime()?;
    let hub = runtime.block_on(Hub::connect(&doing.hub))?;
    let members = runtime.block_on(hub.members())?;
    known_member(&members, name)?;
    let Some(member) = find(&members, name) else { return Err(format!("there is no MemberCluster {name}")) };
    let objects = runtime.block_on(hub.repositories())?;
    let decided = change::decide(change, member, (&resolve::repositories(&objects), &members), Timestamp::now());
    print_text(&change::before(&decided))?;
    if let Some(refusal) = &decided.refusal {
        return Err(refusal.clone());
    }
    if !levers::go_on(&decided.questions, doing.dry_run, doing.yes)? {
        return Ok(ExitCode::SUCCESS);
    }
    runtime.block_on(carry_out(&hub, change, (name, &decided), doing))
}

async fn carry_out(
    hub: &Hub,
    change: &Change,
    (name, decided): (&str, &Decided),
    doing: &Doing,
) -> Result<ExitCode, String> {
    match &decided.edit {
        Some(edit) => {
            hub.edit::<MemberCluster>(&[edit]).await.pop().unwrap_or_else(|| Err("nothing was edited".to_owned()))?;
            print_text(&format!("edited MemberCluster {name}: {}\n", follows(change)))?;
        }
        None => print_text(&format!("nothing to do: {name} is {} already\n", word(change.lifecycle())))?,
    }
    if *change != Change::Activate && !doing.no_wait {
        follow(hub, name, doing.wait).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As the field says it, for people.
pub fn word(lifecycle: Lifecycle) -> &'static str {
    match lifecycle {
        Lifecycle::Active => "active",
        Lifecycle::Retired => "retired",
        Lifecycle::Forgotten => "forgotten",
    }
}

fn follows(change: &Change) -> &'static str {
    match change {
        Change::Retire => "what it holds is handed over, and what the hub has there is taken away",
        Change::Forget { .. } => "what it holds is handed over, and nothing waits for it longer than known deadlines",
        Change::Activate => "it may be granted repositories again; none comes back by itself",
    }
}

/// Tells each change until nothing is bound to it, or patience is over.
async fn follow(hub: &Hub, name: &str, patience: Duration) -> Result<(), String> {
    if io::stderr().is_terminal() {
        anstream::eprintln!("following for up to {}; what was begun goes on without this command ...", shown(patience));
    }
    let (begin, mut said) = (Instant::now(), None);
    loop {
        let (members, objects) = (hub.members().await?, hub.repositories().await?);
        let bound = bound(&resolve::repositories(&objects), name);
        let since = begin.elapsed();
        let adopted = adopted(&members, name);
        if bound.is_free() && adopted.is_none() {
            return print_text(&done(name, find(&members, name), &bound, since));
        }
        let says = adopted.map_or_else(|| bound.says(), |adopted| format!("{}; {adopted}", bound.says()));
        if said.as_ref() != Some(&says) {
            print_text(&format!("{:>6}  {name} {says}\n", format!("+{}", shown(since))))?;
            said = Some(says.clone());
        }
        if since >= patience {
            return print_text(&format!(
                "after {} {name} still {says}. It goes on by itself; the same command follows it again\n",
                shown(since)
            ));
        }
        tokio::time::sleep(POLL.min(patience.saturating_sub(since))).await;
    }
}

pub fn shown(time: Duration) -> String {
    duration(time.as_secs())
}

/// Nothing is bound to it any more: what is left to do.
fn done(name: &str, member: Option<&MemberCluster>, bound: &Bound, since: Duration) -> String {
    let free = format!("after {} {name} holds nothing any more\n", shown(since));
    let unmaintained = (!bound.let_go.is_empty()).then(|| {
        format!(
            "nobody maintains {}: no other member can have it. Once one can it takes over, for as long as the MemberCluster \
             {name} is kept\n",
            named(&bound.let_go)
        )
    });
    let end = member.map(|member| {
        if is_registered(member) {
            format!(
                "to end it, take its registration away (its kubeconfig file or Secret), for while there is one the hub makes \
                 the MemberCluster again; then: kubectl delete membercluster {name}\n"
            )
        } else {
            format!("it has no registration any more, so `kubectl delete membercluster {name}` ends it\n")
        }
    });
    [Some(free), unmaintained, end].into_iter().flatten().collect()
}

/// The hub says so where there is neither file nor Secret.
pub fn is_registered(member: &MemberCluster) -> bool {
    let conditions = member.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    !conditions.iter().any(|condition| condition.type_ == "Reachable" && condition.reason == "NotRegistered")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::levers::testing::member;

    #[test]
    fn the_end_says_what_is_left_to_do() {
        let mut object = member("east", &json!({"lifecycle": "Retired"}), "True");
        let lost = Bound { let_go: vec!["kr-1".to_owned()], ..Bound::default() };
        let text = done("east", Some(&object), &lost, Duration::from_secs(90));
        assert!(text.starts_with("after 90s east holds nothing any more\nnobody maintains kr-1"), "{text}");
        assert!(
            text.contains("take its registration away") && text.contains("kubectl delete membercluster east"),
            "{text}"
        );
        object.status.as_mut().unwrap().conditions[0].reason = "NotRegistered".to_owned();
        let text = done("east", Some(&object), &Bound::default(), Duration::ZERO);
        assert!(text.contains("no registration any more, so `kubectl delete membercluster east`"), "{text}");
    }
}
