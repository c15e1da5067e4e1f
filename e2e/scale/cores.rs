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

/// volsync-hub on a core.
pub fn program(core: Option<usize>, args: Vec<String>, log: PathBuf) -> Program {
    let (path, mut before) = kept(core, env!("CARGO_BIN_EXE_volsync-hub").into());
    before.extend(args.into_iter().map(Into::into));
    Program { path, args: before, env: Vec::new(), log }
}
