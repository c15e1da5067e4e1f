//! The command line: one module a command. Each returns an exit code, or a sentence for standard error.

pub mod adopt;
pub mod changes;
pub mod crd;
#[cfg(feature = "demo")]
pub mod demo;
pub mod doctor;
pub mod document;
pub mod explain;
#[cfg(feature = "demo")]
pub mod fleet;
pub mod get;
pub mod hub_place;
pub mod identity;
pub mod levers;
pub mod live;
pub mod members;
pub mod next;
pub mod offline;
pub mod options;
pub mod output;
pub mod plan;
pub mod run;
pub mod uninstall;
pub mod validate;
pub mod wrong;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Maintains every Kopia repository of a VolSync fleet on schedule, by exactly one cluster at a time.
#[derive(Debug, Parser)]
#[command(name = "volsync-hub", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    #[cfg(feature = "demo")]
    Fleet(fleet::FleetArgs),
    Plan(plan::PlanArgs),
    Explain(explain::ExplainArgs),
    Get(get::GetArgs),
    Crd(crd::CrdArgs),
    Identity(identity::IdentityArgs),
    Validate(validate::ValidateArgs),
    Next(next::NextArgs),
    Freeze(Box<levers::FreezeArgs>),
    Thaw(Box<levers::ThawArgs>),
    Pin(Box<levers::PinArgs>),
    Unpin(Box<levers::UnpinArgs>),
    Failover(Box<levers::FailoverArgs>),
    Trigger(Box<levers::TriggerArgs>),
    #[command(subcommand)]
    Members(members::Members),
    Doctor(doctor::DoctorArgs),
    Adopt(adopt::AdoptArgs),
    Uninstall(uninstall::UninstallArgs),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result: Result<ExitCode, String> = match cli.command {
        Command::Run(args) => run::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args),
        #[cfg(feature = "demo")]
        Command::Fleet(args) => fleet::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Crd(args) => crd::run(&args),
        Command::Identity(args) => identity::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Next(args) => next::run(&args),
        Command::Freeze(args) => levers::freeze(&args),
        Command::Thaw(args) => levers::thaw(&args),
        Command::Pin(args) => levers::pin(&args),
        Command::Unpin(args) => levers::unpin(&args),
        Command::Failover(args) => levers::failover(&args),
        Command::Trigger(args) => levers::trigger(&args),
        Command::Members(command) => members::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Adopt(args) => adopt::run(&args),
        Command::Uninstall(args) => uninstall::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            anstream::eprintln!("volsync-hub: {message}");
            ExitCode::FAILURE
        }
    }
}
