//! Members from a directory of kubeconfigs: one file a member, named after the file's stem.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{Origin, Registration, Registry, RegistryEvent, check_name};
use crate::member::MemberSettings;
use crate::member::kubeconfig::{self, SIZE_MAX};

/// How soon a changed file is seen. Mounted Secrets replace whole directories by links, which file watches miss.
const POLL: Duration = Duration::from_secs(2);
/// Every this many polls even unchanged files are read anew: files that they name may have changed (half a minute).
const POLLS_PER_FULL_READ: u32 = 15;
/// More files than members that one hub is made for, so that a wrong directory does no harm.
const FILES_MAX: usize = 5000;
/// What may follow the stem; other files, such as a README, are none of ours.
const EXTENSIONS: [&str; 6] = ["", "yaml", "yml", "json", "conf", "kubeconfig"];

/// Watches one directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    settings: MemberSettings,
    /// By stem.
    known: BTreeMap<String, Known>,
    polls: u32,
}

/// When a file was last changed, and its size in bytes.
type Stamp = (SystemTime, u64);

#[derive(Debug)]
struct Known {
    path: PathBuf,
    /// While it has this stamp it need not be read.
    stamp: Option<Stamp>,
    /// Of the file itself.
    content: [u8; 32],
    /// Of what was last registered.
    registered: Option<[u8; 32]>,
    /// What is wrong with it and whether that was said: a file that is just being written is broken once only.
    problem: Option<(String, bool)>,
}

impl Registry for Directory {
    fn run(self: Box<Self>, events: mpsc::Sender<RegistryEvent>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        let mut directory = *self;
        Box::pin(async move {
            loop {
                for event in directory.poll().await {
                    // A closed queue means that nobody listens any more.
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        })
    }
}

impl Directory {
    pub fn new(path: PathBuf, settings: MemberSettings) -> Self {
        Self { path, settings, known: BTreeMap::new(), polls: 0 }
    }

    /// What changed since the last call.
    async fn poll(&mut self) -> Vec<RegistryEvent> {
        let folder = self.path.clone();
        let listed = tokio::task::spawn_blocking(move || list(&folder)).await;
        let files = match listed.map_err(std::io::Error::other).flatten() {
            Ok(files) => files,
            Err(error) => {
                // A directory that can't be read says nothing about its members.
                tracing::warn!(directory = %self.path.display(), %error, "the kubeconfig directory can't be read");
                return Vec::new();
            }
        };
        let full = self.polls.is_multiple_of(POLLS_PER_FULL_READ);
        self.polls = self.polls.wrapping_add(1);
        let mut changes = Vec::new();
        let gone: Vec<_> = self.known.keys().filter(|stem| !files.contains_key(*stem)).cloned().collect();
        for stem in gone {
            changes.extend(
                self.known
                    .remove(&stem)
                    .filter(|known| known.registered.is_some() || known.problem.as_ref().is_some_and(|(_, said)| *said))
                    .map(|known| RegistryEvent::Gone { name: stem.as_str().into(), origin: Origin::File(known.path) }),
            );
        }
        for (stem, (path, stamp)) in files {
            let known = self.known.get(&stem).filter(|known| !full && known.problem.is_none());
            if known.is_none_or(|known| known.stamp.is_none() || known.stamp != stamp || known.path != path) {
                changes.extend(self.look_at(stem, path, stamp, full).await);
            }
        }
        changes
    }

    async fn look_at(
        &mut self,
        stem: String,
        path: PathBuf,
        stamp: Option<Stamp>,
        full: bool,
    ) -> Option<RegistryEvent> {
        let bytes = match read(&path).await {
            Ok(bytes) => bytes,
            // Between listing and reading it went away: the next poll says so.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => return self.broken(stem, path, "InvalidKubeconfig", format!("it can't be read: {error}")),
        };
        let content: [u8; 32] = Sha256::digest(&*bytes).into();
        if let Some(known) = self.known.get_mut(&stem)
            && known.content == content
            && !full
            && known.problem.is_none()
        {
            known.stamp = stamp;
            return None;
        }
        let name = match check_name(&stem) {
            Ok(name) => name,
            Err(message) => return self.broken(stem, path, "InvalidName", message),
        };
        let origin = Origin::File(path.clone());
        let credentials = match kubeconfig::read(&bytes, &origin, &self.settings).await {
            Ok(credentials) => credentials,
            Err(error) => return self.broken(stem, path, error.reason, error.message),
        };
        let registered = Some(credentials.fingerprint);
        let known = Known { path, stamp, content, registered, problem: None };
        let before = self.known.insert(stem, known);
        // Said again where a problem is over.
        let had_problem = before.as_ref().is_some_and(|it| it.problem.as_ref().is_some_and(|(_, said)| *said));
        if !had_problem && before.is_some_and(|it| it.registered == registered) {
            return None;
        }
        Some(RegistryEvent::Present(Box::new(Registration { name, origin, created: None, credentials })))
    }

    /// Says what is wrong once it was seen twice, and only when it changes.
    fn broken(&mut self, stem: String, path: PathBuf, reason: &'static str, message: String) -> Option<RegistryEvent> {
        let known = self.known.entry(stem.clone()).or_insert_with(|| Known {
            path: path.clone(),
            stamp: None,
            content: [0; 32],
            registered: None,
            problem: None,
        });
        let seen_before = known.problem.as_ref().is_some_and(|(before, _)| *before == message);
        let said = known.problem.as_ref().is_some_and(|(_, said)| *said) && seen_before;
        known.problem = Some((message.clone(), seen_before));
        let (name, origin) = (Arc::from(stem), Origin::File(path));
        (seen_before && !said).then_some(RegistryEvent::Broken { name, origin, reason, message })
    }
}

/// Path and stamp by stem; of two files with one stem the first by name. A thousand files are asked about in one go.
fn list(folder: &Path) -> std::io::Result<BTreeMap<String, (PathBuf, Option<Stamp>)>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        if paths.len() == FILES_MAX {
            tracing::warn!(directory = %folder.display(), FILES_MAX, "too many files; the rest is left out");
            break;
        }
        paths.push(entry?.path());
    }
    paths.sort();
    let mut files: BTreeMap<String, (PathBuf, Option<Stamp>)> = BTreeMap::new();
    for path in paths {
        let extension = path.extension().unwrap_or_default();
        let (Some(stem), true) =
            (path.file_stem().and_then(|stem| stem.to_str()), EXTENSIONS.iter().any(|it| extension == *it))
        else {
            continue;
        };
        // Hidden files, such as the links of a mounted Secret.
        if stem.starts_with('.') {
            continue;
        }
        let Some(metadata) = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file) else { continue };
        if let Some((first, _)) = files.get(stem) {
            tracing::warn!(used = %first.display(), ignored = %path.display(), "two kubeconfigs for one member");
            continue;
        }
        let stamp = stamp_of(&metadata);
        files.insert(stem.to_owned(), (path, stamp));
    }
    Ok(files)
}

/// None: it was changed so recently that another change may leave the stamp as it is.
fn stamp_of(metadata: &std::fs::Metadata) -> Option<Stamp> {
    let changed = metadata.modified().ok()?;
    changed.elapsed().is_ok_and(|age| age > POLL).then_some((changed, metadata.len()))
}

async fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let size = tokio::fs::metadata(path).await?.len();
    if size > SIZE_MAX as u64 {
        return Err(std::io::Error::other(format!("it is larger than {SIZE_MAX} bytes")));
    }
    tokio::fs::read(path).await.map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::member::tests::settings;

    fn kubeconfig(token: &str) -> String {
        format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
             clusters: [{{name: a, cluster: {{server: 'https://example.com'}}}}]\nusers: [{{name: a, user: {{token: {token}}}}}]\n"
        )
    }

    fn shown(events: &[RegistryEvent]) -> Vec<String> {
        let show = |event: &RegistryEvent| match event {
            RegistryEvent::Present(registration) => format!("+{}", registration.name),
            RegistryEvent::Gone { name, .. } => format!("-{name}"),
            RegistryEvent::Broken { name, reason, .. } => format!("!{name} {reason}"),
        };
        events.iter().map(show).collect()
    }

    #[tokio::test]
    async fn files_come_change_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(folder.path().to_owned(), settings());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("eu.yaml", &kubeconfig("one"));
        write("us", &kubeconfig("one"));
        write("README.md", "how to");
        write(".hidden.yaml", "x");
        assert_eq!(shown(&directory.poll().await), ["+eu", "+us"]);
        assert!(directory.poll().await.is_empty());
        write("eu.yaml", &kubeconfig("two"));
        assert_eq!(shown(&directory.poll().await), ["+eu"]);
        std::fs::remove_file(folder.path().join("us")).unwrap();
        assert_eq!(shown(&directory.poll().await), ["-us"]);
    }

    #[tokio::test]
    async fn a_broken_file_is_a_problem_of_its_own_and_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(folder.path().to_owned(), settings());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("eu.yaml", &kubeconfig("one"));
        directory.poll().await;
        write("eu.yaml", "half of");
        write("Bad_Name.yaml", &kubeconfig("one"));
        assert!(directory.poll().await.is_empty(), "it may still be under way");
        assert_eq!(shown(&directory.poll().await), ["!Bad_Name InvalidName", "!eu InvalidKubeconfig"]);
        assert!(directory.poll().await.is_empty());
        write("eu.yaml", &kubeconfig("one"));
        assert_eq!(shown(&directory.poll().await), ["+eu"], "the problem is over");
    }

    #[tokio::test]
    async fn a_directory_that_is_gone_says_nothing_about_its_members() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("eu"), kubeconfig("one")).unwrap();
        let mut directory = Directory::new(path.clone(), settings());
        assert_eq!(shown(&directory.poll().await), ["+eu"]);
        std::fs::rename(&path, folder.path().join("away")).unwrap();
        assert!(directory.poll().await.is_empty());
    }
}
