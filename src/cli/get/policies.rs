//! Policies at a glance: what they want, what they rule, and what is wrong.

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use super::{Listing, Row, name, named, shown, summary, when};
use crate::api::kopia_maintenance::{DEFAULT_SCHEDULE, KopiaMaintenanceStatus};
use crate::cli::levers::Hub;
use crate::cli::output::{Cell, Tone};
use crate::cli::wrong;

const HEADINGS: [&str; 11] = [
    "POLICY",
    "SCHEDULE",
    "PRIORITY",
    "SWITCH",
    "SOURCES",
    "REPOSITORIES",
    "MAINTAINED",
    "LAST",
    "NEXT",
    "READY",
    "NOTE",
];
const WIDE: [&str; 2] = ["LOST TO", "MESSAGE"];

pub async fn listing(hub: &Hub, names: &[String], now: Timestamp) -> Result<Listing, String> {
    let objects = named(hub.policies().await?, names, "policies")?;
    let rows: Vec<Row> = objects.iter().map(|object| row(object, now)).collect();
    let summary = if rows.is_empty() {
        "there is no KopiaMaintenance on the hub: nothing is maintained without one".to_owned()
    } else {
        let troubled = rows.iter().filter(|row| row.worst > wrong::Level::Ok).count();
        summary(rows.len(), ("policy", "policies"), "", troubled)
    };
    Ok(Listing { headings: &HEADINGS, wide: &WIDE, rows, summary })
}

/// What can't be read of a status counts as not there.
pub fn status(object: &DynamicObject) -> KopiaMaintenanceStatus {
    serde_json::from_value(object.data["status"].clone()).unwrap_or_default()
}

fn row(object: &DynamicObject, now: Timestamp) -> Row {
    let (spec, status) = (&object.data["spec"], status(object));
    let wrongs = wrong::of_policy(&status.conditions);
    let worst = wrong::worst(&wrongs);
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let (word, reason) = ready.map_or(("Unknown", ""), |it| (it.status.as_str(), it.reason.as_str()));
    let tone = match word {
        "True" => Tone::Good,
        _ if worst == wrong::Level::Ok => Tone::Plain,
        _ => worst.tone(),
    };
    let mut reasons: Vec<&str> = wrongs.iter().map(|wrong| wrong.reason.as_str()).collect();
    reasons.dedup();
    let note = match reasons[..] {
        [] if word == "True" && reason == "Reconciled" => Cell::from(""),
        [] => Cell::new(reason, Tone::Faint),
        _ => Cell::new(reasons.join(", "), worst.tone()),
    };
    let count = |count: Option<i64>| Cell::from(count.map(|count| count.to_string()).unwrap_or_default());
    let time = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        when(time.as_ref().map(|time| time.0), now)
    };
    let message = wrongs.first().map(|wrong| wrong.message.clone());
    let message = message.or_else(|| ready.map(|ready| ready.message.clone())).unwrap_or_default();
    let cells = vec![
        Cell::from(name(object)),
        spec["schedule"].as_str().unwrap_or(DEFAULT_SCHEDULE).into(),
        spec["priority"].as_i64().unwrap_or(0).to_string().into(),
        switch(spec),
        count(status.matched_source_count),
        count(status.repository_count),
        count(status.maintained_count),
        time(&status.last_maintenance_time),
        time(&status.next_scheduled_maintenance),
        Cell::new(word, tone),
        note,
    ];
    let wide = vec![status.conflicting_maintenances.join(", ").into(), message.into()];
    Row { objects: vec![shown(object)], worst, cells, wide }
}

/// What of its spec keeps it from maintaining anything.
fn switch(spec: &Value) -> Cell {
    let off = [
        (spec["enabled"] == false, "disabled"),
        (spec["suspend"] == true, "suspended"),
        (spec["mode"] == "Observe", "observes"),
    ];
    match off.iter().find(|(is, _)| *is) {
        Some((_, word)) => Cell::new(word, Tone::Faint),
        None => "on".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::levers::testing::now;
    use crate::hub::kinds;

    fn text(data: Value) -> String {
        let mut object = DynamicObject::new("nightly", &kinds::policy(kinds::POLICY_GROUP));
        object.data = data;
        let rows = vec![row(&object, now())];
        let listing = Listing { headings: &HEADINGS, wide: &WIDE, rows, summary: String::new() };
        let text = anstream::adapter::strip_str(&super::super::table(listing, true)).to_string();
        text.lines().nth(1).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_policy_says_what_it_wants_what_it_rules_and_what_is_wrong() {
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": "because",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let status = json!({"matchedSourceCount": 3, "repositoryCount": 2, "maintainedCount": 1,
            "conflictingMaintenances": ["other"],
            "conditions": [condition("Ready", "False", "InvalidPolicy"), condition("Valid", "False", "InvalidPolicy")]});
        let spec = json!({"schedule": "@daily", "priority": 7, "suspend": true});
        let said = text(json!({"spec": spec, "status": status}));
        assert_eq!(said, "nightly @daily 7 suspended 3 2 1 - - False InvalidPolicy other because");
        let ready = json!({"conditions": [condition("Ready", "True", "Reconciled")]});
        assert_eq!(text(json!({"spec": {}, "status": ready})), "nightly 0 2 * * * 0 on - - - - - True - - because");
        let said = text(json!({"spec": {"enabled": false}}));
        assert!(said.contains("disabled") && said.contains("Unknown Unknown"), "{said}");
    }
}
