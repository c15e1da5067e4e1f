//! What schedules and zones are taken, what they become for a repository, and when they fire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod robfig;

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn repository(name: &str) -> RepositoryKey {
    RepositoryKey::of_tuple(["s3", name])
}

fn repositories() -> impl Iterator<Item = RepositoryKey> {
    (0..300).map(|number| repository(&format!("bucket-{number}")))
}

fn pushed(text: &str) -> String {
    text.parse::<Schedule>().unwrap().fix(&repository("a"), None).unwrap().as_str().to_owned()
}

fn reason(text: &str) -> String {
    text.parse::<Schedule>().unwrap_err().to_string()
}

fn fires(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = text.parse::<Schedule>().unwrap().fix(&repository("a"), None).unwrap();
    let zone = zone.parse::<ZoneName>().unwrap().time_zone();
    schedule.upcoming(after.parse().unwrap(), &zone).take(count).map(|time| time.to_string()).collect()
}

#[test]
fn what_needs_no_change_is_pushed_as_written_with_blanks_collapsed() {
    for text in ["0 2 * * *", "@daily", "*/15 8-18 ? JAN,feb mon-FRI", "00 02 * * *", "5/15 * * * *", "*/90 * * * *"] {
        assert_eq!(pushed(text), text);
    }
    assert_eq!(pushed("  0 \t2\n*  * * "), "0 2 * * *");
    assert_eq!(pushed(" @midnight "), "@midnight");
}

#[test]
fn seven_is_sunday_and_pushed_as_zero() {
    let cases = [
        ("7", "0"),
        ("07", "0"),
        ("5-7", "5,6,0"),
        ("FRI-7", "5,6,0"),
        ("1,7", "1,0"),
        ("7-7", "0"),
        ("1-7", "1,2,3,4,5,6,0"),
        ("0-7", "0,1,2,3,4,5,6"),
        ("MON,5-7,WED", "MON,5,6,0,WED"),
        ("*/7", "*/7"),
    ];
    for (written, expected) in cases {
        assert_eq!(pushed(&format!("0 2 * * {written}")), format!("0 2 * * {expected}"));
    }
    assert_eq!(
        fires("0 2 * * 5-7", "UTC", "2024-05-15T00:00:00Z", 4),
        ["2024-05-17T02:00:00Z", "2024-05-18T02:00:00Z", "2024-05-19T02:00:00Z", "2024-05-24T02:00:00Z"]
    );
}

#[test]
fn what_nobody_means_is_refused_with_the_field_and_what_is_wrong_there() {
    let cases = [
        ("", "is empty"),
        (" \t", "is empty"),
        ("1,,2 * * * *", "minute \"1,,2\": a value is missing beside a comma"),
        ("+5 * * * *", "without a sign"),
        ("*/+5 * * * *", "the step \"+5\" is no number"),
        ("*-5 * * * *", "stands alone"),
        ("?-5 * * * *", "stands alone"),
        ("0 0 * * SUN-7", "from Sunday to Sunday"),
        ("0 0 * * 1-7/2", "7 goes with no step"),
        ("0 0 * * 5-7/1", "7 goes with no step"),
        ("0 0 * * 7/1", "7 goes with no step"),
        ("0 0 * * 8", "day of week \"8\": 8 is not within 0-7"),
        ("60 * * * *", "60 is not within 0-59"),
        ("0 0 0 * *", "day of month \"0\": 0 is not within 1-31"),
        ("0 0 L * *", "no L, W or #"),
        ("0 0 15W * *", "no L, W or #"),
        ("0 0 * * 5#2", "no L, W or #"),
        ("0 0 * * MON#1", "no L, W or #"),
        ("0 0 * * monday", "no name of SUN to SAT"),
        ("0 0 * * SAT-SUN", "a range goes from low to high"),
        ("0 0 2 * * *", "five fields"),
        ("0 2 * *", "this one has 4"),
        ("TZ=UTC 0 2 * * *", "timeZone"),
        ("CRON_TZ=UTC 0 2 * * *", "timeZone"),
        ("@every 1h", "@every"),
        ("@reboot", "@reboot"),
        ("@Daily", "known are @yearly"),
        ("@daily x", "unknown schedule"),
        ("h * * * *", "upper case"),
        ("H(5) * * * *", "H is written as"),
        ("H(9-5) * * * *", "from low to high"),
        ("H(0-99) * * * *", "99 is not within 0-59"),
        ("H/0 * * * *", "at least 1"),
        ("H(0-5)/7 * * * *", "wider than the 6 values"),
        ("0 0 H/29 * *", "wider than the 28 values"),
        ("0 0 * * H(5-7)/2", "7 goes with no step"),
        ("*/99999999999999999999 * * * *", "too large"),
    ];
    for (text, expected) in cases {
        let reason = reason(text);
        assert!(reason.contains(expected), "{text:?}: {reason}");
    }
}

#[test]
fn a_schedule_without_any_day_is_refused() {
    for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 ?", "0 0 30-31 feb */1"] {
        assert!(reason(text).contains("never fires"), "{text}");
    }
    // With two restricted day fields the weekday is enough, and `*/2` is a restriction.
    for text in ["0 0 30 2 1", "0 0 31 4 */2", "0 0 29 2 *", "0 0 30 2,3 *"] {
        assert!(text.parse::<Schedule>().is_ok(), "{text}");
    }
}

#[test]
fn a_schedule_that_never_fires_for_some_repository_is_refused() {
    for text in ["0 0 31 H *", "0 0 H(1-31) 2 *", "0 0 H(25-31)/7 2 *", "0 0 31 H(4-6)/2 *"] {
        assert!(reason(text).contains("may never fire"), "{text}");
    }
    for text in ["0 0 H 2 *", "0 0 H H *", "0 0 31 H/6 *", "0 0 31,H H *", "0 0 31 1,H *", "0 0 H(1-31) 2 H"] {
        let schedule = text.parse::<Schedule>().unwrap();
        for repository in repositories() {
            let fixed = schedule.fix(&repository, None).unwrap();
            assert!(fixed.next_after("2024-01-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC).is_some(), "{text}");
        }
    }
}

#[test]
fn h_stays_within_its_range_reaches_all_of_it_and_is_a_plain_schedule_afterwards() {
    let cases: [(&str, usize, BTreeSet<u32>); 8] = [
        ("H * * * *", 0, (0..60).collect()),
        ("* H * * *", 1, (0..24).collect()),
        ("0 0 H * *", 2, (1..=28).collect()),
        ("0 0 1 H *", 3, (1..=12).collect()),
        ("0 0 * * H", 4, (0..=6).collect()),
        ("0 H(2-5) * * *", 1, (2..=5).collect()),
        // 7 is Sunday in the day of week alone.
        ("0 H(0-7) * * *", 1, (0..=7).collect()),
        ("0 0 1 H(1-7) *", 3, (1..=7).collect()),
    ];
    for (text, place, expected) in cases {
        let schedule = text.parse::<Schedule>().unwrap();
        assert!(schedule.differs_by_repository());
        let seen: BTreeSet<u32> = repositories()
            .map(|repository| {
                let fixed = schedule.fix(&repository, None).unwrap();
                fixed.as_str().split(' ').nth(place).unwrap().parse().unwrap()
            })
            .collect();
        assert!(seen.is_subset(&expected), "{text}: {seen:?}");
        // Of 60 values, 300 repositories miss less than one on average.
        assert!(seen.len() * 10 >= expected.len() * 9, "{text}: {seen:?}");
    }
}

#[test]
fn h_takes_another_value_in_each_field_and_place_and_keeps_it_when_the_rest_changes() {
    let fixed = |text: &str, repository: &RepositoryKey| {
        text.parse::<Schedule>().unwrap().fix(repository, None).unwrap().as_str().to_owned()
    };
    let minute = |text: String| text.split(' ').next().unwrap().to_owned();
    let differing = repositories()
        .filter(|repository| {
            let both = fixed("H(0-20),H(0-20) H(0-20) * * *", repository);
            let [minutes, hour, ..] = both.split(' ').collect::<Vec<_>>()[..] else { unreachable!() };
            let (first, second) = minutes.split_once(',').unwrap();
            first != second && first != hour
        })
        .count();
    assert!(differing > 250, "{differing} of 300");
    for repository in repositories() {
        assert_eq!(minute(fixed("H 2 * * *", &repository)), minute(fixed("H H(3-9) 1 * MON", &repository)));
        assert_eq!(fixed("H H * * *", &repository), fixed("H H * * *", &repository));
    }
}

#[test]
fn h_with_a_step_starts_anywhere_within_the_first_step() {
    let starts: BTreeSet<String> = repositories()
        .map(|repository| "H/15 * * * *".parse::<Schedule>().unwrap().fix(&repository, None).unwrap())
        .map(|fixed| fixed.as_str().to_owned())
        .collect();
    assert_eq!(starts.len(), 15);
    assert!(starts.contains("0-59/15 * * * *") && starts.contains("14-59/15 * * * *"), "{starts:?}");
    let days: BTreeSet<String> = repositories()
        .map(|repository| "0 0 * * H(5-7)".parse::<Schedule>().unwrap().fix(&repository, None).unwrap())
        .map(|fixed| fixed.as_str().to_owned())
        .collect();
    assert_eq!(days, ["0 0 * * 0", "0 0 * * 5", "0 0 * * 6"].map(str::to_owned).into());
    // As in Jenkins, a step of 1 chooses one value.
    assert_eq!(pushed("H/1 * * * *"), pushed("H * * * *"));
    assert_eq!(pushed("H(30-50)/21 * * * *").split(' ').next().unwrap().len(), 2);
}

#[test]
fn spread_moves_a_fixed_time_by_less_than_its_width_and_keeps_the_days() {
    let width: Spread = "1h30m".parse().unwrap();
    let schedule: Schedule = "45 2 1,15 * MON-7".parse().unwrap();
    let mut offsets = BTreeSet::new();
    for repository in repositories() {
        let fixed = schedule.fix(&repository, Some(width)).unwrap();
        let [minute, hour, days @ ..] = &fixed.as_str().split(' ').collect::<Vec<_>>()[..] else { unreachable!() };
        assert_eq!(days.join(" "), "1,15 * 1,2,3,4,5,6,0");
        offsets.insert(hour.parse::<i32>().unwrap() * 60 + minute.parse::<i32>().unwrap() - 165);
    }
    assert!(*offsets.first().unwrap() >= 0 && *offsets.last().unwrap() < 90, "{offsets:?}");
    assert!(offsets.len() > 80, "{offsets:?}");
}

#[test]
fn spread_turns_a_descriptor_into_its_fields() {
    let spread = Some("5h".parse().unwrap());
    let fixed = "@weekly".parse::<Schedule>().unwrap().fix(&repository("a"), spread).unwrap();
    assert!(fixed.as_str().ends_with(" * * 0"), "{}", fixed.as_str());
    let none = Some("0s".parse().unwrap());
    assert_eq!("@weekly".parse::<Schedule>().unwrap().fix(&repository("a"), none).unwrap().as_str(), "@weekly");
}

#[test]
fn spread_is_refused_where_it_does_not_fit_with_a_word_about_h() {
    let cases = [
        ("*/5 2 * * *", "30m", false),
        ("0 2,14 * * *", "30m", false),
        ("0 * * * *", "30m", false),
        ("H 2 * * *", "30m", false),
        ("0 2-2 * * *", "30m", false),
        ("@hourly", "30m", false),
        ("0 22 * * *", "2h", false),
        ("0 22 * * *", "1h59m", true),
        ("30 23 * * *", "30m", false),
        ("0 0 * * *", "23h59m", true),
        ("@daily", "6h", true),
        ("0 2 * * H", "6h", true),
        ("*/5 2 * * *", "0s", true),
    ];
    for (text, width, fits) in cases {
        let schedule: Schedule = text.parse().unwrap();
        let spread = width.parse().unwrap();
        let checked = schedule.check_spread(spread);
        assert_eq!(checked.is_ok(), fits, "{text} {width}");
        assert_eq!(schedule.fix(&repository("a"), Some(spread)).map(drop), checked.clone());
        assert!(checked.err().is_none_or(|error| error.to_string().contains(" H ")), "{text} {width}");
    }
}

#[test]
fn spread_is_a_duration_in_whole_minutes_below_a_day() {
    for (text, minutes) in
        [("30m", 30), ("2h", 120), ("1h30m", 90), ("90m", 90), ("120s", 2), ("1.5h", 90), ("0s", 0), ("0h0m", 0)]
    {
        assert_eq!(text.parse::<Spread>().unwrap().minutes, minutes);
    }
    for text in ["", "30", "90s", "-5m", "1.51h", "24h", "1d", "h", "5 m", "99999999h", "9999999999m", "30µ"] {
        assert!(text.parse::<Spread>().is_err(), "{text}");
    }
    assert_eq!(Spread { minutes: 90 }.to_string(), "1h30m");
}

#[test]
fn a_time_in_the_spring_gap_is_skipped_and_one_in_the_autumn_overlap_fires_twice() {
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2024-03-30T00:00:00Z", 2),
        ["2024-03-30T01:30:00Z", "2024-04-01T00:30:00Z"]
    );
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2024-10-26T12:00:00Z", 3),
        ["2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z", "2024-10-28T01:30:00Z"]
    );
}

#[test]
fn the_shortest_period_depends_on_the_schedule_alone() {
    let cases = [
        ("* * * * *", 60),
        ("*/5 * * * *", 300),
        ("0,50 * * * *", 600),
        ("@hourly", 3600),
        ("0 2 * * *", 86_400),
        ("0 0,23 * * *", 3600),
        // The two days do not meet.
        ("0 0,23 1 * *", 82_800),
        ("59 23 * * *", 86_400),
        ("0 0 * * 1", 7 * 86_400),
        ("0 0 1 * *", 28 * 86_400),
        ("0 0 29 2 *", 1461 * 86_400),
        // From December to February of a leap year.
        ("0 0 29 2-12/5 *", 62 * 86_400),
    ];
    for (text, period) in cases {
        let fixed = text.parse::<Schedule>().unwrap().fix(&repository("a"), None).unwrap();
        assert_eq!(fixed.shortest_period(), period, "{text}");
    }
}

#[test]
fn zone_names_are_those_of_the_database_in_their_exact_spelling() {
    for name in ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/ComodRivadavia", "Etc/GMT+5", "GB"] {
        let zone: ZoneName = name.parse().unwrap();
        assert_eq!(zone.as_str(), name);
    }
    for name in [
        "utc",
        "Local",
        "local",
        "",
        "europe/berlin",
        "Europe/Atlantis",
        "+02:00",
        "../UTC",
        "/UTC",
        "Etc/Unknown",
        "CEST",
    ] {
        assert!(name.parse::<ZoneName>().is_err(), "{name}");
    }
    assert!("utc".parse::<ZoneName>().unwrap_err().to_string().contains("write \"UTC\""));
}

/// Any term of a field; may be invalid together with others.
fn term(low: u8, high: u8) -> impl Strategy<Value = String> {
    let one = low..=high;
    prop_oneof![
        3 => Just("*".to_owned()),
        1 => Just("?".to_owned()),
        4 => one.clone().prop_map(|a| a.to_string()),
        2 => Just("H".to_owned()),
        1 => (one.clone(), one.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (one.clone(), one.clone()).prop_map(|(a, b)| format!("H({}-{})", a.min(b), a.max(b))),
        1 => (2..=high).prop_map(|n| format!("H/{n}")),
        1 => (1..=high).prop_map(|n| format!("*/{n}")),
        1 => (one.clone(), 1..=high).prop_map(|(a, n)| format!("{a}/{n}")),
        1 => (one.clone(), one).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    (term(0, 59), term(0, 23), term(1, 31), term(1, 12), term(0, 7))
        .prop_filter_map("refused", |(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}").parse().ok())
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Beirut",
        "Africa/Casablanca",
    ])
    .prop_map(|name| name.parse::<ZoneName>().unwrap().time_zone())
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (1_000_000_000_i64..2_000_000_000, 0..1_000_000_000)
        .prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

/// As robfig itself says: in 2009 the 29th of March begins at 1:00 in Beirut, in 2010 the 28th.
#[test]
fn before_a_day_without_midnight_a_schedule_fires_on_it_too_and_on_it_not_at_all() {
    let schedule = "0 1 28 3 *".parse::<Schedule>().unwrap().fix(&repository("a"), None).unwrap();
    let zone = "Asia/Beirut".parse::<ZoneName>().unwrap().time_zone();
    let after = "2008-12-01T00:00:00Z".parse().unwrap();
    let times: Vec<String> = schedule.upcoming(after, &zone).take(3).map(|time| time.to_string()).collect();
    assert_eq!(times, ["2009-03-27T23:00:00Z", "2009-03-28T22:00:00Z", "2011-03-27T22:00:00Z"]);
}

proptest! {
    #[test]
    fn a_fire_time_comes_strictly_after_and_on_a_whole_minute(schedule in any_schedule(), zone in any_zone(), after in any_time()) {
        let fixed = schedule.fix(&repository("a"), None).unwrap();
        let mut last = after;
        for time in fixed.upcoming(after, &zone).take(4) {
            prop_assert!(time > last && time.as_second() % 60 == 0 && time.subsec_nanosecond() == 0);
            let local = time.to_zoned(zone.clone());
            // Where a day has no midnight, the search for an hour runs past its beginning without looking at the day.
            let has_midnight = local.start_of_day().unwrap().hour() == 0;
            prop_assert!(!has_midnight || fixed.fields.in_month(local.date()) && fixed.fields.on_day(local.date()));
            prop_assert!(fixed.fields.hour & 1 << local.hour() != 0 && fixed.fields.minute & 1 << local.minute() != 0);
            last = time;
        }
    }

    /// On clocks that never change, it is the first minute that matches.
    #[test]
    fn no_matching_minute_is_passed_over(schedule in any_schedule(), after in any_time()) {
        let fields = schedule.fix(&repository("a"), None).unwrap().fields;
        let matches = |minute: i64| {
            let local = Timestamp::from_second(minute * 60).unwrap().to_zoned(TimeZone::UTC);
            fields.in_month(local.date()) && fields.on_day(local.date())
                && fields.hour & 1 << local.hour() != 0 && fields.minute & 1 << local.minute() != 0
        };
        let first = after.as_second().div_euclid(60) + 1;
        let brute = (first..first + 3000).find(|minute| matches(*minute));
        let found = next::next_after(&fields, after, &TimeZone::UTC).map(|time| time.as_second() / 60);
        prop_assert_eq!(brute, found.filter(|minute| *minute < first + 3000));
    }

    #[test]
    fn the_pushed_text_means_the_same_when_read_again(schedule in any_schedule(), name in "[a-z]{1,8}", zone in any_zone(), after in any_time()) {
        let fixed = schedule.fix(&repository(&name), None).unwrap();
        let again = fixed.as_str().parse::<Schedule>().unwrap();
        prop_assert!(!again.differs_by_repository());
        let again = again.fix(&repository("other"), None).unwrap();
        prop_assert_eq!(&again, &fixed);
        prop_assert_eq!(again.next_after(after, &zone), fixed.next_after(after, &zone));
    }

    #[test]
    fn what_is_taken_the_api_server_takes_too(schedule in any_schedule()) {
        prop_assert!((crate::api::rules::SCHEDULE.holds)(&schedule.as_str().into()), "{}", schedule);
    }

    #[test]
    fn a_spread_schedule_is_read_again_too(hour in 0..24_u32, minute in 0..60_u32, width in 0..1440_u32, name in "[a-z]{1,8}") {
        let schedule: Schedule = format!("{minute} {hour} * * 1-5").parse().unwrap();
        let fits = width == 0 || hour * 60 + minute + width < 1440;
        let fixed = schedule.fix(&repository(&name), Some(Spread { minutes: width }));
        prop_assert_eq!(fixed.is_ok(), fits);
        if let Ok(fixed) = fixed {
            let again = fixed.as_str().parse::<Schedule>().unwrap().fix(&repository("other"), None).unwrap();
            prop_assert_eq!(again, fixed);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-0-9*?/,HLW#()a-zA-Z@=+ \t]{0,40}|\\PC{0,30}") {
        if let Ok(schedule) = text.parse::<Schedule>() {
            schedule.fix(&repository("a"), None).unwrap();
        }
        let _ = text.parse::<Spread>();
        let _ = text.parse::<ZoneName>();
    }
}
