//! Real control planes for tests and for the playground: etcd, API servers and controller managers as they are
//! shipped, started on free ports of this machine, and a stand-in for the one part that can't run here, the
//! kubelet.

// Two crates share these modules, and neither uses everything.
#![allow(dead_code, unused_imports)]
#![allow(clippy::expect_used)]

pub mod audit;
pub mod cluster;
pub mod collector;
pub mod control_plane;
pub mod cutter;
pub mod fleet;
pub mod http;
pub mod hub;
pub mod kubelet;
pub mod link;
pub mod objects;
pub mod pki;
pub mod process;
pub mod rbac;
pub mod readme;
pub mod shell;
pub mod tools;
pub mod wait;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// The harness has one error type: a sentence for the person who reads the test's output.
pub type Fail = Box<dyn std::error::Error + Send + Sync>;

/// Tests that have control planes of their own at the same time, however many threads there are for tests.
const AT_ONCE: usize = 4;
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Runs a test on the one runtime of the process: clients and stand-in kubelets are shared between tests, and
/// must not end with the runtime of the test that happened to start them.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    runtime().block_on(async {
        let _turn = TURNS.acquire().await;
        test.await
    })
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Fails only if a provider is installed already, and then that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("threads and a poll are to be had on a machine that runs control planes")
    })
}

/// A path in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
