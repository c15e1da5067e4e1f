//! What is pushed as schedule and zone.

use serde_json::{Value, json};

use crate::plan::result::Push;
use crate::plan::testing::Fixture;

fn pushed(fleet: &Fixture) -> (String, String) {
    let Push::Objects(assignment) = fleet.only().push else { panic!("nothing is pushed") };
    (assignment.schedule.as_str().to_owned(), assignment.time_zone.as_str().to_owned())
}

fn fleet(spec: &Value) -> Fixture {
    let mut fleet = Fixture::new(&["c1"]);
    let mut whole = json!({"repositorySelector": {"repository": "*"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    fleet.source("c1/app/one", "bucket").policy("p", &whole);
    fleet
}

#[test]
fn the_policys_own_text_is_pushed_with_blanks_collapsed() {
    for (written, expected) in [
        ("  0   2 * *  * ", "0 2 * * *"),
        ("@daily", "@daily"),
        ("*/30 * * * *", "*/30 * * * *"),
        ("0 3 * * 7", "0 3 * * 0"),
        ("0 3 * jan-mar sun", "0 3 * jan-mar sun"),
    ] {
        assert_eq!(pushed(&fleet(&json!({"schedule": written}))).0, expected);
    }
    assert_eq!(pushed(&fleet(&json!({}))).0, "0 2 * * *");
}

#[test]
fn h_is_fixed_for_a_repository_and_differs_between_them() {
    let mut fleet = fleet(&json!({"schedule": "H H(1-5) * * *"}));
    let one = pushed(&fleet).0;
    assert!(!one.contains('H'));
    assert_eq!(pushed(&fleet).0, one);
    let mut seen = std::collections::BTreeSet::from([one]);
    for bucket in 0..20 {
        fleet.source(&format!("c1/app/s{bucket}"), &format!("bucket-{bucket}"));
    }
    for repository in fleet.plan().repositories {
        let Push::Objects(assignment) = repository.push else { panic!() };
        seen.insert(assignment.schedule.as_str().to_owned());
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn spread_shifts_a_fixed_time_and_the_hubs_default_only_where_there_is_room() {
    let minutes = |text: &str| {
        let mut fields = text.split(' ').map(|field| field.parse::<u32>().unwrap_or(0));
        let minute = fields.next().unwrap();
        fields.next().unwrap() * 60 + minute
    };
    let own = pushed(&fleet(&json!({"schedule": "0 2 * * *", "spread": "2h"}))).0;
    assert!((120..240).contains(&minutes(&own)), "{own}");
    let mut by_default = fleet(&json!({"schedule": "30 2 * * *"}));
    by_default.options.default_spread = Some("1h".parse().unwrap());
    let spread = pushed(&by_default).0;
    assert!((150..210).contains(&minutes(&spread)), "{spread}");
    for schedule in ["30 23 * * *", "*/5 * * * *", "@hourly"] {
        let mut fleet = fleet(&json!({"schedule": schedule}));
        fleet.options.default_spread = Some("1h".parse().unwrap());
        assert_eq!(pushed(&fleet).0, schedule);
    }
}

#[test]
fn the_zone_is_the_policys_else_the_hubs() {
    let mut fleet = fleet(&json!({"timeZone": "Europe/Berlin"}));
    assert_eq!(pushed(&fleet).1, "Europe/Berlin");
    fleet.policy("p", &json!({"repositorySelector": {"repository": "*"}}));
    assert_eq!(pushed(&fleet).1, "UTC");
    fleet.options.time_zone = "Asia/Tokyo".parse().unwrap();
    assert_eq!(pushed(&fleet).1, "Asia/Tokyo");
}
