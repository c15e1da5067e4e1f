//! `volsync-hub adopt`: has a hub whose ledger and id are lost go on under its old id.

mod decide;

use std::process::ExitCode;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::hub_place;
use super::levers::{self, Hub, resolve};
use super::live;
use super::members::change::REASON;
use super::output::print_text;
use super::run::HubArgs;
use crate::hub::id;
use decide::{Decision, Facts, Wish};

/// On the ConfigMap with the id: the one that it held before, under which objects may still stand in members.
const FORMER_ID: &str = "hub.volsync.backube/former-hub-id";

/// Has this hub go on under the id of one that was lost: writes ConfigMap volsync-hub-id.
#[derive(Clone, Debug, clap::Args)]
pub struct AdoptArgs {
    /// The id of the hub that is gone; without it those are listed that were seen in the members
    #[arg(long, value_name = "ID")]
    pub from_hub: Option<String>,
    /// Also where this hub has made grants under the id that it has now; they are given up
    #[arg(long, requires = "reason")]
    pub force: bool,
    /// Why, for whoever comes next; kept as an annotation
    #[arg(long, value_name = "TEXT", value_parser = levers::reason)]
    pub reason: Option<String>,
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Namespace of the maintenance objects in the members
    #[arg(long, env = "VOLSYNC_HUB_MEMBER_NAMESPACE", value_name = "NAMESPACE", default_value = "volsync-system")]
    pub member_namespace: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub fn run(args: &AdoptArgs) -> Result<ExitCode, String> {
    let runtime = live::runtime()?;
    let hub = runtime.block_on(Hub::connect(&args.hub))?;
    let map: Option<ConfigMap> = runtime.block_on(hub.own(id::NAME))?;
    let given = runtime.block_on(hub_place::given_id(&hub)).or_else(|| args.hub.hub_id.clone());
    let objects = runtime.block_on(hub.repositories())?;
    // Only shown: whoever may not read it adopts all the same.
    let led = runtime.block_on(hub_place::leader(&hub)).is_ok_and(|leader| leader.leads(Timestamp::now()));
    let decision = decide::decide(&Facts {
        namespace: hub.namespace(),
        member_namespace: &args.member_namespace,
        present: map.as_ref().map(id::of),
        given: given.as_deref(),
        led,
        repositories: &resolve::repositories(&objects),
        wish: args.from_hub.as_deref().map(|old| Wish { old, force: args.force }),
    });
    print_text(&decision.text)?;
    if let Some(refusal) = &decision.refusal {
        return Err(refusal.clone());
    }
    let Some(old) = &decision.write else { return Ok(ExitCode::SUCCESS) };
    if !levers::go_on(&decision.questions, args.dry_run, args.yes)? {
        return Ok(ExitCode::SUCCESS);
    }
    runtime.block_on(hub.write_id(&wanted(map, old, args.reason.as_deref())))?;
    print_text(&done(&hub, old, &decision))?;
    Ok(ExitCode::SUCCESS)
}

/// The ConfigMap with the id; all else that it has stays.
fn wanted(before: Option<ConfigMap>, old: &str, reason: Option<&str>) -> ConfigMap {
    let former = before.as_ref().map(id::of).filter(|former| !former.is_empty()).map(str::to_owned);
    let mut map = before.unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta { name: Some(id::NAME.to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    });
    map.metadata.managed_fields = None;
    map.data.get_or_insert_default().insert(id::KEY.to_owned(), old.to_owned());
    let annotations = map.metadata.annotations.get_or_insert_default();
    annotations.extend(former.map(|former| (FORMER_ID.to_owned(), former)));
    annotations.extend(reason.map(|reason| (REASON.to_owned(), reason.to_owned())));
    map
}

fn done(hub: &Hub, old: &str, decision: &Decision) -> String {
    let namespace = hub.namespace();
    let restart = if decision.runs {
        format!(
            "a hub that runs notices it within ten seconds and ends, and its Deployment starts it anew; otherwise: kubectl \
             rollout restart deployment/volsync-hub -n {namespace}"
        )
    } else {
        "the hub takes it when it starts".to_owned()
    };
    format!("wrote ConfigMap {namespace}/{}: this hub goes on as {old}; {restart}\n", id::NAME)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_id_is_written_on_what_was_read_and_the_former_one_is_kept() {
        let before = ConfigMap {
            metadata: ObjectMeta {
                name: Some(id::NAME.to_owned()),
                resource_version: Some("7".to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(id::KEY.to_owned(), "hub-new".to_owned()), ("more".into(), "kept".into())])),
            ..ConfigMap::default()
        };
        let map = wanted(Some(before), "hub-old", Some("rebuilt"));
        assert_eq!((id::of(&map), map.metadata.resource_version.as_deref()), ("hub-old", Some("7")));
        assert_eq!(map.data.iter().flatten().count(), 2);
        let annotations = map.metadata.annotations.unwrap_or_default();
        assert_eq!(annotations.get(FORMER_ID).map(String::as_str), Some("hub-new"));
        assert_eq!(annotations.get(REASON).map(String::as_str), Some("rebuilt"));
        let first = wanted(None, "hub-old", None);
        assert_eq!((first.metadata.resource_version, first.metadata.annotations), (None, Some(BTreeMap::new())));
    }
}
