//! `volsync-hub doctor`: checks an installation, and says what is wrong with it and what to do.

mod crds;
mod finding;
mod fix;
mod fleet;
mod installation;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use kube::config::Kubeconfig;
use serde::Serialize;

use super::hub_place;
use super::levers::Hub;
use super::live;
use super::output::{Cell, Format, Table, print_text, serialized};
use super::run::HubArgs;
use super::wrong::Level;
use crate::hub::id;
use crate::hub::kinds;
use crate::hub::rights::{self, Uses};
use crate::member::Member;
use finding::{Facts, Finding, Objects, Rights, Tried};

/// Checks an installation: the hub's cluster, its kinds, who leads, members, policies and repositories.
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorArgs {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub hub: HubArgs,
    /// What the client library takes the cluster from, to be named.
    #[arg(long = "kubeconfig-of-env", env = "KUBECONFIG", hide = true)]
    pub kubeconfig: Option<PathBuf>,
}

/// A stable interface. In the order of the checks.
#[derive(Debug, Serialize)]
struct Report {
    hub: Tried,
    failed: usize,
    warned: usize,
    findings: Vec<Finding>,
}

/// Exit code 0 where nothing failed, else 1.
pub fn run(args: &DoctorArgs) -> Result<ExitCode, String> {
    let runtime = live::runtime()?;
    let (hub, tried) = runtime.block_on(connect(args));
    let facts = match hub {
        Ok(hub) => runtime.block_on(look(&hub, args, tried)),
        Err(error) => Facts::unreachable(tried, error, Timestamp::now()),
    };
    let findings = finding::findings(&facts);
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (failed, warned) = (count(Level::Fail), count(Level::Warn));
    let report = Report { hub: facts.tried, failed, warned, findings };
    print_text(&match args.output {
        Format::Table => text(&report),
        format => serialized(format, &report)?,
    })?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &Report) -> String {
    let mut table = Table::new(["RESULT", "CHECK", "OBJECT", "CLUSTER", "FOUND"]);
    for finding in &report.findings {
        table.row([
            Cell::new(finding.level.as_str(), finding.level.tone()),
            finding.check.into(),
            finding.object.as_deref().unwrap_or_default().into(),
            finding.cluster.as_deref().unwrap_or_default().into(),
            match &finding.fix {
                // In one column: what is found may be long, and what to do is read right after it.
                Some(fix) => format!("{}. To do: {fix}", finding.message).into(),
                None => (&finding.message).into(),
            },
        ]);
    }
    let ok = report.findings.len() - report.failed - report.warned;
    format!("{}{} failed, {} to be looked at, {ok} well\n", table.render(), report.failed, report.warned)
}

/// The hub's cluster, and how it was chosen, which is told also where it can't be used.
async fn connect(args: &DoctorArgs) -> (Result<Hub, String>, Tried) {
    let (from, kubeconfig) = match (&args.hub.hub_kubeconfig, &args.kubeconfig) {
        (Some(file), _) => (format!("--hub-kubeconfig {}", file.display()), Kubeconfig::read_from(file).ok()),
        (None, Some(files)) => (format!("KUBECONFIG {}", files.display()), Kubeconfig::read().ok()),
        (None, None) => match Kubeconfig::read() {
            Ok(kubeconfig) => ("~/.kube/config".to_owned(), Some(kubeconfig)),
            Err(_) => ("the Pod's ServiceAccount".to_owned(), None),
        },
    };
    let context = kubeconfig.and_then(|kubeconfig| kubeconfig.current_context);
    let hub = Hub::connect(&args.hub).await;
    let (server, namespace) = match &hub {
        Ok(hub) => (Some(hub.server().to_owned()), Some(hub.namespace().to_owned())),
        Err(_) => (None, args.hub.namespace.clone()),
    };
    (hub, Tried { server, from, context, namespace })
}

async fn look(hub: &Hub, args: &DoctorArgs, tried: Tried) -> Facts {
    let now = Timestamp::now();
    let version = hub.version().await;
    if let Err(error) = version {
        return Facts::unreachable(tried, error, now);
    }
    let (leader, map) = (hub_place::leader(hub).await, hub.own(id::NAME).await);
    let given_id = hub_place::given_id(hub).await.or_else(|| args.hub.hub_id.clone());
    let definitions = crds::look(hub).await;
    let objects = Objects {
        repositories: hub.repositories().await,
        members: hub.members().await,
        policies: hub.policies().await,
    };
    let rights = asked(hub, given_id.is_none()).await;
    let id = map.map(|map| map.as_ref().map(|map| id::of(map).to_owned()));
    Facts { now, tried, version, definitions, rights, leader, id, given_id, objects }
}

/// What the hub may do can be asked by the hub's own account alone.
async fn asked(hub: &Hub, keeps_id: bool) -> Rights {
    let name = match hub.whoami().await {
        Ok(name) => name,
        Err(error) => return Rights::Unknown(error),
    };
    let Some(account) = name.strip_prefix("system:serviceaccount:").filter(|it| it.ends_with(":volsync-hub")) else {
        return Rights::NotTheHub(name);
    };
    let namespace = account.split(':').next().unwrap_or_default().to_owned();
    let group = match kinds::policy_group(hub.client()).await {
        Ok(group) => group,
        Err(error) => return Rights::Unknown(error),
    };
    let uses = Uses { group, namespace, keeps_id, elects: true };
    let member = Member::new("hub".into(), 0, hub.client().clone(), Arc::default());
    match rights::missing(&member, &uses).await {
        Ok(missing) => Rights::Asked(missing),
        Err(error) => Rights::Unknown(error.to_string()),
    }
}
