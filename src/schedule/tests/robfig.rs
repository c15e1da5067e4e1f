//! Holds the evaluator against what robfig/cron v3.0.1 itself said. `e2e/tools/crontable` makes the table and says how.

use super::*;

const TABLE: &str = include_str!("../../../e2e/tools/crontable/table.tsv");

/// What robfig takes and we refuse, on purpose: nobody means it, or it has no fixed times.
const REFUSED: [&str; 15] = [
    "1,,2 * * * *",
    ",1 * * * *",
    "1, * * * *",
    ", * * * *",
    "+5 * * * *",
    "*/+5 * * * *",
    "1-+5 * * * *",
    "*-5 * * * *",
    "?-5 * * * *",
    "*- * * * *",
    "*-5/2 * * * *",
    "*-5-6 * * * *",
    "@every 1h",
    "@every 90s",
    "TZ=UTC 0 2 * * *",
];

/// What robfig refuses and we take: 7 as Sunday, `H`, blanks before a descriptor.
const ADDED: [&str; 10] = [
    " @daily",
    "0 0 * * 7",
    "0 0 * * 5-7",
    "0 0 * * 1-7",
    "0 0 * * 0-7",
    "0 0 * * 1,7",
    "H * * * *",
    "H(0-7) * * * *",
    "H H * * *",
    "H/15 * * * *",
];

struct Row<'a> {
    schedule: &'a str,
    zone: &'a str,
    after: &'a str,
    answer: &'a str,
}

fn rows() -> impl Iterator<Item = Row<'static>> {
    TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [schedule, zone, after, answer] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not four columns: {line:?}");
        };
        Row { schedule, zone, after, answer }
    })
}

#[test]
fn the_table_is_long_and_has_zones_that_change_their_clocks() {
    let zones: BTreeSet<&str> = rows().map(|row| row.zone).collect();
    assert!(rows().count() >= 300, "{}", rows().count());
    assert!(zones.len() >= 20, "{zones:?}");
}

#[test]
fn what_robfig_takes_is_taken_and_what_it_refuses_is_refused_but_for_the_listed() {
    for row in rows() {
        let taken = row.schedule.parse::<Schedule>().is_ok();
        let robfig_takes = !row.answer.starts_with("refused");
        let expected = if row.answer == "never" {
            // Only where the year is to blame do we take what robfig never fires.
            row.after.starts_with("2096")
        } else {
            (robfig_takes || ADDED.contains(&row.schedule)) && !REFUSED.contains(&row.schedule)
        };
        assert_eq!(taken, expected, "{:?}: {}", row.schedule, row.answer);
    }
}

#[test]
fn every_fire_time_is_robfigs() {
    let mut checked = 0;
    for row in rows() {
        let Ok(schedule) = row.schedule.parse::<Schedule>() else { continue };
        if row.answer.starts_with("refused") {
            continue;
        }
        let fixed = schedule.fix(&repository("any"), None).unwrap();
        let zone = row.zone.parse::<ZoneName>().unwrap().time_zone();
        let mut at: Timestamp = row.after.parse().unwrap();
        for expected in row.answer.split(' ') {
            let found = fixed.next_after(at, &zone);
            let shown = found.map(|time| time.to_string());
            if expected == "later" {
                assert!(found.is_none_or(|time| time >= "2026-01-01T00:00:00Z".parse().unwrap()), "{shown:?}");
                break;
            }
            let expected = Some(expected).filter(|answer| !matches!(*answer, "never" | "endless"));
            assert_eq!(shown.as_deref(), expected, "{:?} in {} after {at}", row.schedule, row.zone);
            at = found.unwrap_or(at);
            checked += 1;
        }
    }
    assert!(checked > 5_000, "{checked}");
}

#[test]
fn what_is_taken_the_schema_of_the_policies_takes_too() {
    for row in rows().filter(|row| row.schedule.parse::<Schedule>().is_ok()) {
        // The schema has no room for steps that are wider than any field.
        let taken = (crate::api::rules::SCHEDULE.holds)(&row.schedule.into());
        assert!(taken || row.schedule.contains("/9223372036854775807"), "{:?}", row.schedule);
    }
}
