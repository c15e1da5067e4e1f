//! The kubeconfigs of a simulated fleet: one of the hub's cluster, one a member, readable by their owner alone, and gone
//! with the fleet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sim::SimCluster;

/// `hub.yaml` and `members/NAME.yaml` in a folder.
#[derive(Debug)]
pub struct Kubeconfigs(PathBuf);

impl Kubeconfigs {
    /// A folder that nobody else has.
    pub fn folder_for(what: &str) -> PathBuf {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new().hash_one(0) >> 32;
        std::env::temp_dir().join(format!("volsync-hub-{what}-{}-{random:08x}", std::process::id()))
    }

    /// Kubeconfigs of others that are there already are left alone, and are an error: a hub would take them for members.
    pub fn write(folder: &Path, hub: &SimCluster, members: &[SimCluster]) -> io::Result<Self> {
        let failed = |what: &str, path: &Path, error: &io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::AlreadyExists => "; remove what an earlier fleet left there, or name another directory",
                _ => "",
            };
            io::Error::new(error.kind(), format!("{what} {}: {error}{hint}", path.display()))
        };
        fs::create_dir_all(folder).map_err(|error| failed("make the directory", folder, &error))?;
        let of_members = folder.join("members");
        fs::create_dir(&of_members).map_err(|error| failed("make the directory", &of_members, &error))?;
        let written = Self(folder.to_owned());
        for cluster in members {
            let path = of_members.join(format!("{}.yaml", cluster.name()));
            write_private(&path, &cluster.kubeconfig_yaml())
                .map_err(|error| failed("write the kubeconfig", &path, &error))?;
        }
        let path = written.hub();
        write_private(&path, &hub.kubeconfig_yaml()).map_err(|error| failed("write the kubeconfig", &path, &error))?;
        Ok(written)
    }

    /// Another token in a member's kubeconfig, at once for whoever reads it.
    pub fn renew(&self, member: &SimCluster, token: &str) -> io::Result<()> {
        let file = format!("{}.yaml", member.name());
        // Not in the folder of the members, where it would be taken for one.
        let (new, path) = (self.0.join(&file), self.members().join(&file));
        write_private(&new, &member.kubeconfig_yaml_of(token))?;
        fs::rename(&new, &path)
            .map_err(|error| io::Error::new(error.kind(), format!("replace {}: {error}", path.display())))
    }

    /// For `--kubeconfig-dir`.
    pub fn members(&self) -> PathBuf {
        self.0.join("members")
    }
    /// For `--hub-kubeconfig`.
    pub fn hub(&self) -> PathBuf {
        self.0.join("hub.yaml")
    }
}

impl Drop for Kubeconfigs {
    fn drop(&mut self) {
        // Nothing of worth is in them without their fleet. A folder with something else in it stays.
        let _ = fs::remove_dir_all(self.members());
        let _ = fs::remove_file(self.hub());
        let _ = fs::remove_dir(&self.0);
    }
}

/// Kubeconfigs hold tokens, if only simulated ones.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
