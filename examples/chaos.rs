//! Plays many random schedules of faults, and shows what was found: see `src/chaos.rs`.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

fn main() {}
