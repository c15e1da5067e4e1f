//! What observers are told to read, each of them only when it is something else than before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::world::World;
use crate::api::member_cluster::MemberCluster;
use crate::hub::secrets::Wanted;
use crate::labels::LOOK_AGAIN;
use crate::member::event::ReferencedKind;
use crate::member::inputs::{Looks, Sheets};
use crate::member::{MemberConfig, SecretRef};
use crate::names::{MemberName, Place};
use crate::plan::fleet::Contact;
use crate::plan::observe;

/// What observers should read is not what they were told.
#[derive(Default)]
pub struct Untold {
    pub places: BTreeSet<Place>,
    /// Some MemberCluster says something else.
    pub configs: bool,
}

/// What of a MemberCluster matters to plan and observers.
pub(super) fn gist(object: Option<&MemberCluster>, contact: Contact) -> Option<impl PartialEq + use<>> {
    let object = object?;
    let created = object.metadata.creation_timestamp.clone();
    Some((object.spec.clone(), created, again(object).map(str::to_owned), observe::member(Some(object), contact)))
}

/// What observers are told to read.
pub(super) struct Published {
    pub(super) configs: watch::Sender<Arc<BTreeMap<MemberName, MemberConfig>>>,
    pub(super) sheets: Arc<Sheets>,
    pub(super) of_hub: watch::Sender<Arc<Wanted>>,
}

impl Published {
    pub(super) fn new() -> Self {
        Self { configs: watch::Sender::default(), sheets: Arc::default(), of_hub: watch::Sender::default() }
    }

    /// Tells whoever is to read something else than before.
    pub(super) fn publish(&self, world: &mut World) {
        let Untold { places, configs } = std::mem::take(&mut world.untold);
        if configs {
            let configs = world.members.iter().filter_map(|(name, state)| {
                let config = config_of(state.cluster.as_deref()?);
                Some((name.clone(), config))
            });
            send(&self.configs, configs.collect());
        }
        for place in &places {
            let cas = |kind| world.used_cas(kind, place).cloned();
            // CAs in Secrets are Secrets that are referenced, too.
            let planned = world.planner.secrets_in_place(place).map(|(name, term)| (name.clone(), term));
            let secrets = cas(ReferencedKind::Secret).map(|name| (name, 0)).chain(planned);
            match place {
                Place::Member(member) => {
                    let looks = world.members.get(member).and_then(|state| state.cluster.as_deref()).map(looks_of);
                    let looks = looks.unwrap_or_default();
                    self.sheets.write(member, looks, secrets.collect(), cas(ReferencedKind::ConfigMap).collect());
                }
                Place::Hub => {
                    let secrets = secrets.map(|(name, _)| (ReferencedKind::Secret, name));
                    let bundles = cas(ReferencedKind::ConfigMap).map(|name| (ReferencedKind::ConfigMap, name));
                    send(&self.of_hub, secrets.chain(bundles).collect());
                }
            }
        }
    }
}

pub(super) fn config_of(cluster: &MemberCluster) -> MemberConfig {
    let secret = cluster.spec.kubeconfig_secret_ref.as_ref();
    MemberConfig {
        created: cluster.metadata.creation_timestamp.as_ref().map(|time| time.0),
        kubeconfig_secret: secret
            .map(|secret| SecretRef { name: secret.name.as_str().into(), key: secret.key.as_deref().map(Into::into) }),
    }
}

fn looks_of(cluster: &MemberCluster) -> Looks {
    Looks {
        volsync_namespace: cluster.spec.volsync_namespace.as_deref().map(Into::into),
        adopt_foreign: cluster.spec.adopt_foreign,
        again: again(cluster).map(Into::into),
    }
}

fn again(cluster: &MemberCluster) -> Option<&str> {
    cluster.metadata.annotations.as_ref()?.get(LOOK_AGAIN).map(String::as_str)
}

fn send<T: PartialEq>(channel: &watch::Sender<Arc<T>>, value: T) {
    channel.send_if_modified(|current| {
        let changed = **current != value;
        if changed {
            *current = Arc::new(value);
        }
        changed
    });
}
