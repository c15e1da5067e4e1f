//! What a policy asks for, field by field, with where each value came from.

use serde::Serialize;
use serde_json::{Value, json};

use super::fleet::PlanOptions;
use crate::policy::{Cycle, PolicySettings};

/// One effective field of a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    pub name: &'static str,
    pub value: Value,
    pub from: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// The policy says so.
    Policy,
    /// Nobody said anything. API servers write defaults into objects, so a value equal to the default counts here.
    Default,
    /// The hub was started with it.
    HubOption,
    /// Each member has its own.
    Member,
}

/// The effective fields of a valid policy, those that ask for nothing left out.
pub fn of(settings: &PolicySettings, options: &PlanOptions) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |name: &'static str, value: Value, otherwise: Option<(Value, Origin)>| {
        let (value, from) = match otherwise {
            Some(otherwise) if value.is_null() => otherwise,
            _ if is_default(name, &value) => (value, Origin::Default),
            _ => (value, Origin::Policy),
        };
        if !value.is_null() {
            fields.push(Field { name, value, from });
        }
    };
    let zone = settings.time_zone.as_ref().map_or(Value::Null, |zone| json!(zone.as_str()));
    let spread =
        |spread: Option<crate::schedule::Spread>| spread.map_or(Value::Null, |spread| json!(spread.to_string()));
    add("schedule", json!(settings.schedule_text), None);
    add("timeZone", zone, Some((json!(options.time_zone.as_str()), Origin::HubOption)));
    add("spread", spread(settings.spread), Some((spread(options.default_spread), Origin::HubOption)));
    add("enabled", json!(settings.enabled), None);
    add("suspend", json!(settings.suspend), None);
    add("mode", json!(if settings.observe { "Observe" } else { "Enforce" }), None);
    add("cycle", json!(cycle(settings.cycle)), None);
    add("failover", failover(settings), None);
    add("activeDeadlineSeconds", json!(settings.active_deadline_seconds), None);
    add("successfulJobsHistoryLimit", json!(settings.successful_jobs_history_limit), None);
    add("failedJobsHistoryLimit", json!(settings.failed_jobs_history_limit), None);
    add("image", json!(settings.image), Some((json!("that of the member's VolSync"), Origin::Member)));
    add(
        "serviceAccountName",
        json!(settings.service_account_name),
        Some((json!("volsync-hub-mover"), Origin::Default)),
    );
    add("priorityClassName", json!(settings.priority_class_name), None);
    add("imagePullSecrets", list(json!(settings.image_pull_secrets)), None);
    add("cacheCapacity", json!(settings.cache_capacity), None);
    add("resources", list(json!(settings.resources)), None);
    add("podSecurityContext", json!(settings.pod_security_context), None);
    add("securityContext", json!(settings.security_context), None);
    add("nodeSelector", list(json!(settings.node_selector)), None);
    add("tolerations", list(json!(settings.tolerations)), None);
    add("affinity", json!(settings.affinity), None);
    add("podLabels", list(json!(settings.pod_labels)), None);
    add("podAnnotations", list(json!(settings.pod_annotations)), None);
    fields
}

fn is_default(name: &str, value: &Value) -> bool {
    let default = match name {
        "schedule" => json!("0 2 * * *"),
        "enabled" => json!(true),
        "suspend" => json!(false),
        "mode" => json!("Enforce"),
        "cycle" => json!("Auto"),
        "failover" => json!({"mode": "Manual", "afterSeconds": 86_400}),
        "activeDeadlineSeconds" => json!(10_800),
        "successfulJobsHistoryLimit" => json!(3),
        "failedJobsHistoryLimit" => json!(1),
        "resources" => json!({"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi"}}),
        _ => return false,
    };
    *value == default
}

fn cycle(cycle: Cycle) -> &'static str {
    match cycle {
        Cycle::Auto => "Auto",
        Cycle::Full => "Full",
        Cycle::Quick => "Quick",
    }
}

fn failover(settings: &PolicySettings) -> Value {
    let mode = if settings.failover.automatic { "Automatic" } else { "Manual" };
    json!({"mode": mode, "afterSeconds": settings.failover.after_seconds})
}

/// What holds nothing is as good as not there.
fn list(value: Value) -> Value {
    let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty);
    if empty { Value::Null } else { value }
}
