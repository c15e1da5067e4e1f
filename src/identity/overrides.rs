//! What a source itself says about its repository: `moverVolumes`, `policyConfig.repositoryConfig`, `additionalArgs`.

use serde_json::Value;

use super::address::Host;
use super::arguments::Arguments;
use super::facts::location_text;
use super::json::Configured;
use super::path::clean;
use super::repository_url::RepositoryUrl;
use super::storage::Volume;

/// The CRD allows no more arguments, and no Pod mounts more volumes in earnest; what is beyond is ignored.
const ARGUMENTS_MAX: usize = 20;
const VOLUMES_MAX: usize = 32;

/// Holds no credentials: those in a JSON configuration are dropped when it is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Overrides {
    /// Stands in for `KOPIA_REPOSITORY` of the Secret: a claim is mounted for the repository.
    pub(crate) repository: Option<RepositoryUrl>,
    pub(crate) volumes: Vec<MoverVolume>,
    pub(crate) config: Option<Configured>,
    pub(crate) arguments: Arguments,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MoverVolume {
    /// Absolute and cleaned.
    mount: Box<str>,
    source: VolumeSource,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum VolumeSource {
    Claim(Box<str>),
    Nfs { server: Host, export: Box<str> },
}

impl Overrides {
    /// Reads `spec.kopia` of a ReplicationSource. What has the wrong type counts as absent.
    pub fn read(kopia: &Value) -> Self {
        let listed = kopia.get("moverVolumes").and_then(Value::as_array);
        let mut volumes: Vec<MoverVolume> =
            listed.into_iter().flatten().filter_map(mover_volume).take(VOLUMES_MAX).collect();
        let first_claim = volumes.iter().find(|volume| matches!(volume.source, VolumeSource::Claim(_)));
        let mut path = first_claim.map(|volume| volume.mount.to_string());
        if let Some(claim) = text(kopia.get("repositoryPVC")) {
            // Movers of 2025-08 to 2025-11 mount this claim there, whatever else is set.
            volumes.push(MoverVolume { mount: "/kopia".into(), source: VolumeSource::Claim(claim.into()) });
            path = Some("/kopia/repository".to_owned());
        }
        Self {
            repository: path.map(|path| RepositoryUrl::parse(&format!("filesystem://{path}"))),
            volumes,
            config: Configured::read(kopia),
            arguments: Arguments::read(&argument_texts(kopia)),
        }
    }

    /// Most sources have none; the caller then keeps nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Kopia connects by the JSON configuration; the Secret then gives credentials only.
    pub(crate) fn json_counts(&self) -> bool {
        matches!(self.config, Some(Configured::Storage(_))) && self.arguments.items.is_empty()
    }

    /// The volume that a path lies on: the one with the longest mount path.
    pub(crate) fn volume_of(&self, path: &str) -> Option<Volume> {
        let path = clean(path).path;
        let fits = |volume: &&MoverVolume| super::path::below(&path, &volume.mount).is_some();
        let volume = self.volumes.iter().filter(fits).max_by_key(|volume| volume.mount.len())?;
        let below = super::path::below(&path, &volume.mount)?;
        Some(match &volume.source {
            VolumeSource::Claim(claim) => Volume::Claim { claim: claim.clone(), below: below.into() },
            VolumeSource::Nfs { server, export } => {
                Volume::Nfs { server: server.clone(), path: clean(&format!("/{export}/{below}")).path.into() }
            }
        })
    }
}

/// The arguments of a source that are texts.
pub(super) fn argument_texts(kopia: &Value) -> Vec<&str> {
    let listed = kopia.get("additionalArgs").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str).take(ARGUMENTS_MAX).collect()
}

fn mover_volume(volume: &Value) -> Option<MoverVolume> {
    let mount = text(volume.get("mountPath"))?;
    let source = volume.get("volumeSource")?;
    let source = if let Some(claim) = text(source.pointer("/persistentVolumeClaim/claimName")) {
        VolumeSource::Claim(claim.into())
    } else {
        let server = Host::parse(text(source.pointer("/nfs/server"))?).ok()?;
        VolumeSource::Nfs { server, export: text(source.pointer("/nfs/path"))?.into() }
    };
    Some(MoverVolume { mount: clean(&format!("/mnt/{mount}")).path.into(), source })
}

/// A usable, trimmed text that is not empty.
pub(super) fn text(value: Option<&Value>) -> Option<&str> {
    let text = location_text(value?.as_str()?.trim_ascii().as_bytes()).ok()?;
    (!text.is_empty()).then_some(text)
}
