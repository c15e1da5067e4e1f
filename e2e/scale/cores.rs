//! Which core is whose.

use std::path::PathBuf;

use crate::harness::process::Program;
use crate::measure::cores::{core, kept};

/// The core of whoever is measured, the hub or a floor.
pub fn of_hub() -> Option<usize> {
    core(0)
}

pub fn of_fleet() -> Option<usize> {
    core(1)
}

/// volsync-hub on a core. An example, for which Cargo builds no other program, stands in for it.
pub fn program(core: Option<usize>, args: Vec<String>, log: PathBuf) -> Program {
    let built = option_env!("CARGO_BIN_EXE_volsync-hub").map(PathBuf::from);
    let built = built.unwrap_or_else(|| std::env::current_exe().unwrap_or_default());
    let (path, mut before) = kept(core, built);
    before.extend(args.into_iter().map(Into::into));
    Program { path, args: before, env: Vec::new(), log }
}
