//! Keeps processes to a core each, so that none is measured at another's cost.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::harness::process::Program;

/// The core of whoever is measured, the hub or a floor; `None` where there is one core only, or no `taskset`.
pub fn of_hub() -> Option<usize> {
    core(0)
}

pub fn of_fleet() -> Option<usize> {
    core(1)
}

fn core(number: usize) -> Option<usize> {
    let several = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    let taskset = std::env::var_os("PATH")?;
    let taskset = std::env::split_paths(&taskset).any(|dir| dir.join("taskset").is_file());
    (several && taskset).then_some(number)
}

/// volsync-hub on a core.
pub fn program(core: Option<usize>, args: Vec<String>, log: PathBuf) -> Program {
    let hub = Path::new(env!("CARGO_BIN_EXE_volsync-hub"));
    let args = args.into_iter().map(OsString::from);
    let (path, args) = match core {
        Some(core) => {
            let before = ["--cpu-list".into(), core.to_string().into(), hub.into()];
            ("taskset".into(), before.into_iter().chain(args).collect())
        }
        None => (hub.to_owned(), args.collect()),
    };
    Program { path, args, env: Vec::new(), log }
}
