//! Turns the volumes and variables of a Pod into directories and an environment of this machine.
//!
//! A process here can't have its own root directory, so a path of the container becomes another path: in the
//! command, its arguments and the variables that the Pod states, each path below a mount is rewritten. Values
//! that come from Secrets and ConfigMaps are left alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, KeyToPath, Pod, Secret, Volume};
use kube::api::Api;
use kube::{Client, ResourceExt as _};

use crate::harness::Fail;

/// Which path of the container is which path here; longer ones first.
pub struct Mounts(Vec<(String, PathBuf)>);

impl Mounts {
    /// The text with each path below a mount replaced. A path begins at the start, after `=`, or after `:`.
    pub fn rewrite(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((inside, here)) = self.0.iter().find(|(inside, _)| begins_with_path(rest, inside)) {
                out.push_str(&here.display().to_string());
                rest = &rest[inside.len()..];
            }
            let end = rest.find(['=', ':']).map_or(rest.len(), |at| at + 1);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        out
    }

    pub fn here(&self, inside: &str) -> Option<PathBuf> {
        let (mount, here) = self.0.iter().find(|(mount, _)| begins_with_path(inside, mount))?;
        Some(here.join(inside[mount.len()..].trim_start_matches('/')))
    }

    pub fn add(&mut self, inside: &str, here: &Path) {
        self.0.push((inside.trim_end_matches('/').to_owned(), here.to_owned()));
        self.0.sort_by_key(|(inside, _)| std::cmp::Reverse(inside.len()));
    }
}

fn begins_with_path(text: &str, path: &str) -> bool {
    text.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '=']))
}

/// Makes a directory for each volume that the container mounts. An object that is not there yet is an error;
/// the caller tries again, as a kubelet does.
pub async fn mount(client: &Client, pod: &Pod, container: &Container, dir: &Path) -> Result<Mounts, Fail> {
    let namespace = pod.namespace().unwrap_or_default();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let mut mounts = Mounts(Vec::new());
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes
            .iter()
            .find(|volume| volume.name == mount.name)
            .ok_or_else(|| format!("the Pod mounts {}, which is none of its volumes", mount.name))?;
        let root = dir.join("volumes").join(&mount.name);
        fs::create_dir_all(&root)?;
        fill(client, &namespace, volume, &root).await?;
        let here = mount.sub_path.as_ref().map_or(root.clone(), |path| root.join(path));
        mounts.add(&mount.mount_path, &here);
    }
    Ok(mounts)
}

async fn fill(client: &Client, namespace: &str, volume: &Volume, root: &Path) -> Result<(), Fail> {
    if volume.empty_dir.is_some() {
        return Ok(());
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let files = secret(client, namespace, name, source.optional).await?;
        return write_files(root, &files, source.items.as_deref(), source.default_mode);
    }
    if let Some(source) = &volume.config_map {
        let files = config_map(client, namespace, &source.name, source.optional).await?;
        return write_files(root, &files, source.items.as_deref(), source.default_mode);
    }
    let projected = volume.projected.as_ref().ok_or_else(|| {
        format!("volume {}: the stand-in kubelet knows emptyDir, secret, configMap and projected only", volume.name)
    })?;
    for source in projected.sources.iter().flatten() {
        if let Some(source) = &source.secret {
            let files = secret(client, namespace, &source.name, source.optional).await?;
            write_files(root, &files, source.items.as_deref(), projected.default_mode)?;
        }
        if let Some(source) = &source.config_map {
            let files = config_map(client, namespace, &source.name, source.optional).await?;
            write_files(root, &files, source.items.as_deref(), projected.default_mode)?;
        }
    }
    Ok(())
}

type Files = BTreeMap<String, Vec<u8>>;

async fn secret(client: &Client, namespace: &str, name: &str, optional: Option<bool>) -> Result<Files, Fail> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?;
    match found {
        Some(secret) => Ok(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()),
        None if optional == Some(true) => Ok(Files::new()),
        None => Err(format!("secret {name:?} not found").into()),
    }
}

async fn config_map(client: &Client, namespace: &str, name: &str, optional: Option<bool>) -> Result<Files, Fail> {
    let found = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await?;
    match found {
        Some(map) => {
            let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
            Ok(binary.chain(text).collect())
        }
        None if optional == Some(true) => Ok(Files::new()),
        None => Err(format!("configmap {name:?} not found").into()),
    }
}

fn write_files(root: &Path, files: &Files, items: Option<&[KeyToPath]>, mode: Option<i32>) -> Result<(), Fail> {
    let all: Vec<_> = files.keys().map(|key| KeyToPath { key: key.clone(), path: key.clone(), mode: None }).collect();
    for item in items.unwrap_or(&all) {
        let content = files.get(&item.key).ok_or_else(|| format!("references non-existent key: {}", item.key))?;
        let path = root.join(&item.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // A file of an earlier attempt may be read-only by now.
        let _ = fs::remove_file(&path);
        fs::write(&path, content)?;
        let mode = item.mode.or(mode).unwrap_or(0o644);
        fs::set_permissions(&path, fs::Permissions::from_mode(u32::try_from(mode)?))?;
    }
    Ok(())
}

/// The container's variables, in order, later ones able to refer to earlier ones.
pub async fn environment(
    client: &Client,
    pod: &Pod,
    container: &Container,
    mounts: &Mounts,
) -> Result<Vec<(String, String)>, Fail> {
    let mut env: Vec<(String, String)> = Vec::new();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => from_source(client, pod, variable, source).await?,
            (value, None) => Some(mounts.rewrite(&expand(value.as_deref().unwrap_or_default(), &env))),
        };
        if let Some(value) = value {
            env.push((variable.name.clone(), value));
        }
    }
    Ok(env)
}

/// Replaces `$(NAME)` by the value of a variable, as the kubelet does; an unknown one stays as it is.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    env.iter().rev().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

async fn from_source(
    client: &Client,
    pod: &Pod,
    variable: &EnvVar,
    source: &EnvVarSource,
) -> Result<Option<String>, Fail> {
    let namespace = pod.namespace().unwrap_or_default();
    let (files, key, optional) = if let Some(from) = &source.secret_key_ref {
        (secret(client, &namespace, &from.name, from.optional).await?, &from.key, from.optional)
    } else if let Some(from) = &source.config_map_key_ref {
        (config_map(client, &namespace, &from.name, from.optional).await?, &from.key, from.optional)
    } else if let Some(from) = &source.field_ref {
        return Ok(Some(field(pod, &from.field_path)?));
    } else {
        return Err(format!("variable {}: the stand-in kubelet does not know its source", variable.name).into());
    };
    match files.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional == Some(true) => Ok(None),
        None => Err(format!("couldn't find key {key} for variable {}", variable.name).into()),
    }
}

fn field(pod: &Pod, path: &str) -> Result<String, Fail> {
    let quoted = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
    if let Some(key) = quoted("metadata.labels['") {
        return Ok(pod.labels().get(key).cloned().unwrap_or_default());
    }
    if let Some(key) = quoted("metadata.annotations['") {
        return Ok(pod.annotations().get(key).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => Ok(pod.name_any()),
        "metadata.namespace" => Ok(pod.namespace().unwrap_or_default()),
        "metadata.uid" => Ok(pod.uid().unwrap_or_default()),
        "spec.serviceAccountName" => {
            Ok(pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default())
        }
        "spec.nodeName" => Ok(pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default()),
        "status.podIP" | "status.hostIP" => Ok("127.0.0.1".into()),
        _ => Err(format!("the stand-in kubelet does not know the field {path}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_mount_are_rewritten_and_nothing_else() {
        let mut mounts = Mounts(Vec::new());
        mounts.add("/cache", Path::new("/t/v/cache"));
        mounts.add("/cache/deep", Path::new("/t/v/deep"));
        assert_eq!(mounts.rewrite("/cache/kopia.config"), "/t/v/cache/kopia.config");
        assert_eq!(mounts.rewrite("/cache/deep/x"), "/t/v/deep/x");
        assert_eq!(mounts.rewrite("--dir=/cache"), "--dir=/t/v/cache");
        assert_eq!(mounts.rewrite("/usr/bin:/cache"), "/usr/bin:/t/v/cache");
        for same in ["/cached", "https://host/cache", "filesystem:///cache", "", "a=b:c"] {
            assert_eq!(mounts.rewrite(same), same);
        }
    }
}
