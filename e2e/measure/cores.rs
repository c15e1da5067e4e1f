//! Keeps processes to a core each, so that none is measured at another's cost.

use std::ffi::OsString;
use std::path::PathBuf;

/// One of the machine's cores; `None` where there is one only, or no `taskset`.
pub fn core(number: usize) -> Option<usize> {
    let several = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    let path = std::env::var_os("PATH")?;
    let taskset = std::env::split_paths(&path).any(|dir| dir.join("taskset").is_file());
    (several && taskset).then_some(number)
}

/// A program that keeps to a core, and the first of its arguments.
pub fn kept(core: Option<usize>, program: PathBuf) -> (PathBuf, Vec<OsString>) {
    match core {
        Some(core) => ("taskset".into(), vec!["--cpu-list".into(), core.to_string().into(), program.into()]),
        None => (program, Vec::new()),
    }
}
