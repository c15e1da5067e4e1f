use std::process::ExitCode;

use clap::{Parser, Subcommand};
use volsync_hub::cli::{crd, validate};

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Crd(crd::CrdArgs),
    Validate(validate::ValidateArgs),
}

fn main() -> ExitCode {
    let result = match Options::parse().command {
        Command::Crd(args) => crd::run(&args),
        Command::Validate(args) => validate::run(&args),
    };
    result.unwrap_or_else(|message| {
        eprintln!("error: {message}");
        ExitCode::from(2)
    })
}
