//! Builds the real control-plane binaries from `e2e/tools` with Go, once, and finds them afterwards.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Fail;

/// What is built of one version of Kubernetes.
struct Release {
    /// Of its Go module, in the repository.
    module: &'static str,
    /// Below the target directory.
    built: &'static str,
    /// (minor, patch) of version 1. Without it the API servers call themselves 0.0.0, which no client takes for a
    /// supported one.
    version: (u32, u32),
    /// Each binary with its Go package. The first one pays for nearly the whole compilation.
    binaries: &'static [(&'static str, &'static str)],
}

const API_SERVER: (&str, &str) = ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver");
const CONTROLLERS: (&str, &str) = ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager");

const CURRENT: Release = Release {
    module: "e2e/tools",
    built: "control-plane",
    version: (36, 3),
    binaries: &[
        API_SERVER,
        CONTROLLERS,
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ("etcd", "go.etcd.io/etcd/server/v3"),
    ],
};

/// The oldest version that is supported.
const OLDEST: Release = Release {
    module: "e2e/tools/oldest",
    built: "control-plane-oldest",
    version: (29, 15),
    binaries: &[API_SERVER, CONTROLLERS],
};

/// A line of progress often enough that nobody takes a cold build of five minutes for a hang.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);

/// How long a child is left alone between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Release {
    /// The argument of `go build` that makes the binaries tell their version.
    fn link(&self) -> String {
        let (minor, patch) = self.version;
        let set = "-X k8s.io/component-base/version.git";
        format!("-ldflags=-s -w {set}Version=v1.{minor}.{patch} {set}Major=1 {set}Minor={minor}")
    }
}

/// Where the binaries are.
#[derive(Clone, Debug)]
pub struct Tools {
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kubectl: PathBuf,
    pub etcd: PathBuf,
}

impl Tools {
    /// Finds the binaries, and builds those that are missing or were built from other versions. Blocks:
    /// up to some minutes the first time; one process builds, others wait for it.
    pub fn prepare() -> Result<Self, Fail> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let built = target_dir()?.join(CURRENT.built);
        let find = |name: &str| match &assets {
            Some(dir) if dir.join(name).is_file() => dir.join(name),
            _ => built.join(name),
        };
        let missing: Vec<_> =
            CURRENT.binaries.iter().copied().filter(|(name, _)| find(name).starts_with(&built)).collect();
        build(&CURRENT, &built, &missing)?;
        Ok(Self {
            kube_apiserver: find("kube-apiserver"),
            kube_controller_manager: find("kube-controller-manager"),
            kubectl: find("kubectl"),
            etcd: find("etcd"),
        })
    }

    /// The same with an API server and controllers of the oldest version that is supported.
    pub fn oldest(self) -> Result<Self, Fail> {
        let built = target_dir()?.join(OLDEST.built);
        build(&OLDEST, &built, OLDEST.binaries)?;
        Ok(Self {
            kube_apiserver: built.join("kube-apiserver"),
            kube_controller_manager: built.join("kube-controller-manager"),
            ..self
        })
    }
}

/// The `target` directory that this executable was built into: `target/PROFILE/{deps,examples}/NAME`.
pub fn target_dir() -> Result<PathBuf, Fail> {
    let executable = std::env::current_exe()?;
    let target = executable.ancestors().nth(3).filter(|target| target.is_dir());
    target.map(Path::to_path_buf).ok_or_else(|| format!("no target directory above {}", executable.display()).into())
}

fn build(release: &Release, dir: &Path, binaries: &[(&str, &str)]) -> Result<(), Fail> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join(release.module);
    let link = release.link();
    let versions = format!("{} {link}", hash_of(&[module.join("go.mod"), module.join("go.sum")])?);
    let current = |name: &str| {
        dir.join(name).is_file() && fs::read_to_string(stamp(dir, name)).is_ok_and(|stamp| stamp == versions)
    };
    if binaries.iter().all(|(name, _)| current(name)) {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let _turn = take_turn(&dir.join("lock"))?;
    let wanted: Vec<_> = binaries.iter().filter(|(name, _)| !current(name)).collect();
    for (index, (name, package)) in wanted.iter().enumerate() {
        let (minor, _) = release.version;
        let title = format!("building {name} ({} of {}) for Kubernetes 1.{minor} with Go", index + 1, wanted.len());
        build_one(&module, dir, (name, package, &link), &title)?;
        fs::write(stamp(dir, name), &versions)?;
    }
    Ok(())
}

fn build_one(module: &Path, dir: &Path, (name, package, link): (&str, &str, &str), title: &str) -> Result<(), Fail> {
    let fresh = dir.join(format!("{name}.new"));
    let log = dir.join(format!("{name}.log"));
    let child = Command::new("go")
        .current_dir(module)
        .args(["build", "-trimpath", link, "-o"])
        .arg(&fresh)
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fail::from(
                "the tests on real control planes build kube-apiserver, kube-controller-manager, kubectl and etcd, \
                 and that needs Go 1.26 or newer on the PATH (or KUBEBUILDER_ASSETS with these four binaries)",
            ),
            _ => format!("can't start `go build` for {name}: {error}").into(),
        })?;
    if !wait_with_progress(child, title)?.success() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let tail: Vec<_> = said.lines().rev().take(20).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        return Err(format!("`go build {package}` in {} failed:\n{}", module.display(), tail.join("\n")).into());
    }
    fs::rename(fresh, dir.join(name))?;
    Ok(())
}

fn wait_with_progress(mut child: Child, title: &str) -> Result<ExitStatus, Fail> {
    let started = Instant::now();
    let mut told = started;
    say(&format!("{title}; about five minutes for all of them on two cores, and only once"));
    loop {
        if let Some(status) = child.try_wait()? {
            say(&format!("{title}: ended after {} s", started.elapsed().as_secs()));
            return Ok(status);
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            say(&format!("{title}: {} s so far", started.elapsed().as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Holds the lock file until dropped.
fn take_turn(path: &Path) -> Result<File, Fail> {
    let file = File::create(path)?;
    if file.try_lock().is_err() {
        say("waiting for another process that builds the control planes");
        file.lock()?;
    }
    Ok(file)
}

fn stamp(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.stamp"))
}

fn hash_of(files: &[PathBuf]) -> Result<String, Fail> {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(fs::read(file).map_err(|error| format!("can't read {}: {error}", file.display()))?);
    }
    Ok(hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

/// A line for the person who waits. The test runner captures what the print macros write, and not this.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "e2e: {line}");
}
