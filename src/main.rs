//! Runs the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    volsync_hub::cli::main()
}
