//! `volsync-hub next`: when a schedule fires.

use std::process::ExitCode;

use jiff::Timestamp;

use super::output::{self, Cell, Format, Table};
use crate::names::{RepositoryId, RepositoryKey};
use crate::schedule::{Schedule, Spread, ZoneName};

/// Shows when a schedule fires, as the CronJob controller of a member will do it.
///
/// Works offline. A time that the clock skips in spring is skipped, one that it shows twice in autumn fires twice.
#[derive(Clone, Debug, clap::Args)]
pub struct NextArgs {
    /// Five fields as a CronJob has them, with 7 as Sunday and H, such as "H 2 * * 7"; or @daily and the like
    #[arg(long, value_name = "SCHEDULE", allow_hyphen_values = true)]
    pub schedule: Schedule,
    /// IANA name, case-sensitive
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: ZoneName,
    /// From when on, not included, such as 2026-03-29T00:00:00Z; now where not given
    #[arg(long, value_name = "TIME")]
    pub after: Option<Timestamp>,
    /// How many fire times
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=COUNT_MAX))]
    pub count: u16,
    /// Spread the runs over this much time from a fixed minute and hour on, such as 90m
    #[arg(long, value_name = "DURATION")]
    pub spread: Option<Spread>,
    /// The repository that H and spread are for: its id, its KopiaRepository's name or its whole key
    #[arg(long, value_name = "ID", value_parser = repository)]
    pub repository: Option<RepositoryKey>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// A schedule that fires each minute shows most of a week, and one that fires each day 27 years.
const COUNT_MAX: i64 = 10_000;

pub fn run(args: &NextArgs) -> Result<ExitCode, String> {
    let after = args.after.unwrap_or_else(Timestamp::now);
    let repository = args.repository.unwrap_or_else(example);
    let fixed = args.schedule.fix(&repository, args.spread).map_err(|error| error.to_string())?;
    if args.repository.is_none() && (args.spread.is_some() || args.schedule.differs_by_repository()) {
        anstream::eprintln!(
            "The times differ from repository to repository; these are an example. Name one with --repository."
        );
    }
    if fixed.as_str() != args.schedule.as_str() {
        anstream::eprintln!("Pushed as: {}", fixed.as_str());
    }
    let zone = args.time_zone.time_zone();
    let times: Vec<Timestamp> = fixed.upcoming(after, &zone).take(args.count.into()).collect();
    if times.len() < args.count.into() {
        anstream::eprintln!("It does not fire again within five years.");
    }
    output::print(args.output, &times, || {
        let mut table = Table::new(["UTC", "LOCAL", "IN"]);
        for time in &times {
            let local = time.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string();
            let distance = output::duration((time.as_second() - after.as_second()).unsigned_abs());
            table.row([time.to_string(), local, distance].map(Cell::from));
        }
        table
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Some repository, always the same.
fn example() -> RepositoryKey {
    RepositoryKey::of_tuple(["example"])
}

/// A whole key, or an id: nothing but the id decides about fire times.
fn repository(text: &str) -> Result<RepositoryKey, String> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let id: RepositoryId = text.parse().map_err(|_| {
        "give 16 lower-case hex digits, with or without \"kr-\" before them, or the whole key of 64".to_owned()
    })?;
    format!("{id}{:048}", 0).parse().map_err(|_| format!("{text:?} is no id"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: NextArgs,
    }

    fn read(arguments: &[&str]) -> Result<NextArgs, String> {
        use clap::Parser as _;
        let all = std::iter::once(&"next").chain(arguments);
        Command::try_parse_from(all).map(|command| command.args).map_err(|error| error.to_string())
    }

    #[test]
    fn an_id_a_ledger_name_and_a_whole_key_give_the_same_times() {
        let key = RepositoryKey::of_tuple(["s3", "bucket"]);
        let schedule: Schedule = "H H * * *".parse().unwrap();
        let texts = [key.to_string(), key.id().to_string(), key.id().ledger_name()];
        let fixed = texts.map(|text| schedule.fix(&repository(&text).unwrap(), None).unwrap());
        assert!(fixed.iter().all(|other| *other == schedule.fix(&key, None).unwrap()), "{fixed:?}");
        assert!(repository("bucket").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_option_that_it_is_in() {
        let cases = [
            (["--schedule", "60 * * * *", "--count", "1"], "'--schedule <SCHEDULE>': minute \"60\""),
            (["--schedule", "", "--count", "1"], "the schedule is empty"),
            (["--schedule", "-5 * * * *", "--count", "1"], "a number is missing"),
            (["--schedule", "0 2 * * *", "--time-zone", "utc"], "write \"UTC\""),
            (["--schedule", "0 2 * * *", "--after", "yesterday"], "--after"),
            (["--schedule", "0 2 * * *", "--count", "0"], "--count"),
            (["--schedule", "0 2 * * *", "--spread", "90s"], "whole minutes"),
        ];
        for (arguments, expected) in cases {
            let error = read(&arguments).unwrap_err();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
        assert!(read(&["--schedule", "@hourly", "--spread", "5m"]).is_ok_and(|args| run(&args).is_err()));
    }
}
