//! A hub and its members with everything on them that a user would have applied: our manifests, VolSync's, and
//! the kubeconfigs that our instructions make.

use std::fs;
use std::path::{Path, PathBuf};

use futures::future::{join_all, try_join_all};
use tokio::sync::OnceCell;

use super::audit::Mark;
use super::cluster::Cluster;
use super::control_plane::{Etcd, Parts};
use super::kubelet::{Answer, Rule, Setup};
use super::readme;
use super::tools::{self, Tools, target_dir};
use super::{Fail, repository};

/// The page whose commands make a member's kubeconfig.
pub const KUBECONFIG_PAGE: &str = "kubeconfigs-example/README.md";

/// The hub's user, on its own cluster and in members that were set up by our instructions.
pub const HUB_USER: &str = "system:serviceaccount:volsync-system:volsync-hub";

/// How many directories of ended runs are kept for whoever wants to read their logs.
const RUNS_KEPT: usize = 3;

/// A hub and its members. Everything ends when it is dropped.
pub struct Fleet {
    pub hub: Cluster,
    pub members: Vec<Cluster>,
    /// What the hub under test runs with: the ServiceAccount of `deploy/hub`.
    pub hub_kubeconfig: PathBuf,
    /// One least-privilege kubeconfig for each member; the file's stem is its name.
    pub kubeconfigs: PathBuf,
    pub dir: PathBuf,
    _etcd: Etcd,
}

/// One place in the audit log of each cluster.
#[derive(Clone, Debug)]
pub struct Moment(Vec<Mark>);

impl Fleet {
    /// The fleet that tests share: one hub and three members. It is started by the first who asks.
    pub async fn shared() -> Result<&'static Self, Fail> {
        static SHARED: OnceCell<Fleet> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::start("shared", &["member-a", "member-b", "member-c"])).await
    }

    /// Starts a fleet of its own, for a test that breaks things or for the playground.
    pub async fn start(name: &str, members: &[&str]) -> Result<Self, Fail> {
        Self::start_with(name, members, &[], |_| Ok(Vec::new())).await
    }

    /// The same with some members on the oldest Kubernetes that is supported, and with more flags for each API server,
    /// for which files may be written in the fleet's directory.
    pub async fn start_with(
        name: &str,
        members: &[&str],
        oldest: &[&str],
        flags: impl FnOnce(&Path) -> Result<Vec<String>, Fail>,
    ) -> Result<Self, Fail> {
        let tools = tokio::task::spawn_blocking(Tools::prepare).await??;
        let old = if oldest.is_empty() {
            tools.clone()
        } else {
            let current = tools.clone();
            tokio::task::spawn_blocking(move || current.oldest()).await??
        };
        let dir = run_dir(name)?;
        tools::say(&format!("starting {} control planes; their logs are in {}", members.len() + 1, dir.display()));
        let etcd = Etcd::start(&tools, &dir.join("etcd")).await?;
        install_kopia(&dir)?;
        let flags = flags(&dir)?;
        let start = |name: &str, setup: Setup| {
            let tools = if oldest.contains(&name) { &old } else { &tools };
            let parts = Parts { tools, etcd: &etcd, flags: &flags };
            let (name, dir) = (name.to_owned(), dir.join(name));
            async move { Cluster::start(&name, parts, &dir, setup).await }
        };
        let mut clusters = vec![start("hub", Setup::default())];
        clusters.extend(members.iter().map(|name| start(name, image_of_the_mover(name, &dir))));
        // All are awaited, also after an error: what was started must be there to be stopped.
        let clusters: Result<Vec<_>, Fail> = join_all(clusters).await.into_iter().collect();
        let mut clusters = clusters?.into_iter();
        let hub = clusters.next().ok_or("no hub")?;
        let members: Vec<_> = clusters.collect();
        let kubeconfigs = dir.join("kubeconfigs");
        fs::create_dir_all(&kubeconfigs)?;
        let hub_kubeconfig = dir.join("hub.kubeconfig");
        install_hub(&hub, &hub_kubeconfig).await?;
        try_join_all(members.iter().map(|member| install_member(member, &kubeconfigs))).await?;
        Ok(Self { hub, members, hub_kubeconfig, kubeconfigs, dir, _etcd: etcd })
    }

    pub fn member(&self, name: &str) -> Result<&Cluster, Fail> {
        self.members.iter().find(|member| member.name == name).ok_or_else(|| format!("no member {name}").into())
    }

    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        std::iter::once(&self.hub).chain(&self.members)
    }

    /// A moment in the audit logs of all clusters.
    pub fn moment(&self) -> Result<Moment, Fail> {
        Ok(Moment(self.clusters().map(|cluster| cluster.audit().mark()).collect::<Result<_, _>>()?))
    }

    /// What the hub has written, or tried to write, in any cluster since a moment: `CLUSTER: VERB OBJECT -> CODE`.
    /// The Lease that it renews all the time is not counted.
    pub fn hub_writes(&self, since: &Moment) -> Result<Vec<String>, Fail> {
        let mut found = Vec::new();
        for (cluster, mark) in self.clusters().zip(&since.0) {
            let writes = cluster.audit().writes_by(HUB_USER, *mark)?;
            for write in writes.into_iter().filter(|write| write.resource != "coordination.k8s.io/leases") {
                found.push(format!("{}: {} {} -> {}", cluster.name, write.verb, write.object(), write.code));
            }
        }
        Ok(found)
    }

    /// Runs the stand-in for Kopia on the stores of this fleet, as a client of its own: to create repositories and
    /// to play another tool. Returns what it printed.
    pub async fn kopia(&self, args: &[&str], variables: &[(&str, &str)]) -> Result<String, Fail> {
        let home = tempfile::tempdir_in(&self.dir)?;
        let output = tokio::process::Command::new(self.dir.join("bin/kopia"))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("KOPIA_STANDIN_ROOT", self.dir.join("stores"))
            .env("KOPIA_CONFIG_PATH", home.path().join("config"))
            .env("KOPIA_CACHE_DIRECTORY", home.path().join("cache"))
            .env("HOME", home.path())
            .envs(variables.iter().copied())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("kopia {}: {said}", args.join(" ")).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The kubeconfig that was made for a member.
    pub fn kubeconfig_of(&self, member: &str) -> PathBuf {
        self.kubeconfigs.join(format!("{member}.yaml"))
    }
}

/// The hub's cluster as a user sets it up; writes the kubeconfig of the hub's own ServiceAccount.
async fn install_hub(hub: &Cluster, kubeconfig: &Path) -> Result<(), Fail> {
    hub.shell.kubectl("apply --server-side -f deploy/namespace.yaml").await?.ok()?;
    if repository("deploy/crds").is_dir() {
        hub.shell.kubectl("apply --server-side -f deploy/crds").await?.ok()?;
        hub.shell.kubectl("wait --for condition=Established --timeout 60s -f deploy/crds").await?.ok()?;
    }
    // The hub under test is a process of its own: the Pod of its Deployment starts, and does nothing.
    let pod = [("app.kubernetes.io/name", "volsync-hub")];
    hub.kubelet.answer(Rule::new("volsync-system", &pod, Answer::Hang));
    hub.shell.kubectl("apply --server-side -k deploy/hub").await?.ok()?;
    let token = hub.shell.kubectl("create token volsync-hub --namespace volsync-system --duration 24h").await?.ok()?;
    hub.write_token_kubeconfig(kubeconfig, token.trim())
}

/// A member as a user sets it up: VolSync first, then the commands of our page.
async fn install_member(member: &Cluster, kubeconfigs: &Path) -> Result<(), Fail> {
    member.shell.kubectl("create namespace volsync-system").await?.ok()?;
    let enforce = "label namespace volsync-system pod-security.kubernetes.io/enforce=restricted";
    member.shell.kubectl(enforce).await?.ok()?;
    member.shell.kubectl("apply --server-side -f e2e/manifests/volsync").await?.ok()?;
    let blocks = ["grant", "short-token", "kubeconfig", "check"];
    let script = blocks.map(|name| readme::block(KUBECONFIG_PAGE, name));
    let script = script.into_iter().collect::<Result<Vec<_>, _>>()?.join("\n");
    let file = kubeconfigs.join(format!("{}.yaml", member.name));
    let file = file.to_string_lossy();
    member.shell.bash(&script, &[("MEMBER", &member.name), ("FILE", &file)]).await?.ok()?;
    Ok(())
}

/// What containers find in members: the stand-in for Kopia under Kopia's name, and where the mover script's
/// places are if the Pod does not say so.
fn image_of_the_mover(member: &str, dir: &Path) -> Setup {
    let outside = [
        ("KOPIA_STANDIN_ROOT".to_owned(), dir.join("stores").display().to_string()),
        ("KOPIA_STANDIN_PLACE".to_owned(), member.to_owned()),
        // What every kopia of the fleet was called with.
        ("KOPIA_STANDIN_JOURNAL".to_owned(), dir.join("journal").display().to_string()),
    ];
    let env = [
        ("HUB_CACHE_DIR", "/cache".to_owned()),
        ("HUB_CREDENTIALS_DIR", "/credentials".to_owned()),
        ("HUB_TERMINATION_LOG", "/dev/termination-log".to_owned()),
        ("TMPDIR", "/tmp".to_owned()),
    ];
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    // A node that the policies of the reference find.
    let labels = [("workload".to_owned(), "maintenance".to_owned())].into();
    Setup { path: vec![dir.join("bin")], env, outside: outside.into(), labels }
}

/// Puts the stand-in for Kopia where containers look for `kopia`.
fn install_kopia(dir: &Path) -> Result<(), Fail> {
    fs::create_dir_all(dir.join("bin"))?;
    fs::create_dir_all(dir.join("stores"))?;
    std::os::unix::fs::symlink(repository("e2e/mover/kopia-standin"), dir.join("bin/kopia"))?;
    Ok(())
}

/// `target/e2e/NAME-PID`, after clearing what older runs left.
fn run_dir(name: &str) -> Result<PathBuf, Fail> {
    let all = target_dir()?.join("e2e");
    fs::create_dir_all(&all)?;
    let mut ended: Vec<_> = fs::read_dir(&all)?
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let pid = name.to_string_lossy().rsplit_once('-').map(|(_, pid)| pid.to_owned());
            pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
        })
        .map(|entry| (entry.metadata().and_then(|data| data.modified()).ok(), entry.path()))
        .collect();
    ended.sort();
    for (_, path) in ended.iter().rev().skip(RUNS_KEPT) {
        // Another process may be clearing the same directory.
        let _ = fs::remove_dir_all(path);
    }
    let dir = all.join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    Ok(dir)
}
