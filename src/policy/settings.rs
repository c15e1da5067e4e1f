//! What a policy asks for, with the defaults of the API filled in.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::read::Fields;
use super::{Cycle, Failover, PolicyRules, PolicySettings, resources, scheduling};
use crate::api::kopia_maintenance::{
    CycleName, DEFAULT_DEADLINE_SECONDS, DEFAULT_SCHEDULE, FailoverMode, FailoverSpec, Mode,
};
use crate::api::shapes::{LocalName, duration_seconds};
use crate::schedule::{Schedule, Spread, ZoneName};

/// None where the schedule is wrong; anything else that is wrong stands in the problems only.
pub(super) fn read(fields: &mut Fields<'_>, rules: &PolicyRules) -> Option<PolicySettings> {
    let timing = timing(fields);
    let resources = resources::read(fields);
    let node_selector = scheduling::node_selector(fields);
    let tolerations = scheduling::tolerations(fields);
    let affinity = scheduling::affinity(fields);
    let pod_labels = scheduling::labels(fields, "podLabels");
    let pod_annotations = scheduling::labels(fields, "podAnnotations");
    let image = allowed(fields, "image", "--allowed-image", &rules.allowed_images);
    let accounts = &rules.allowed_service_accounts;
    let service_account_name = allowed(fields, "serviceAccountName", "--allowed-service-account", accounts);
    let failover = fields.get::<FailoverSpec>("failover").unwrap_or_default();
    let pull_secrets = fields.get::<Vec<LocalName>>("imagePullSecrets").unwrap_or_default();
    let timing = timing?;
    Some(PolicySettings {
        enabled: fields.get("enabled").unwrap_or(true),
        suspend: fields.get("suspend").unwrap_or(false),
        observe: fields.get::<Mode>("mode") == Some(Mode::Observe),
        schedule: timing.schedule,
        schedule_text: timing.text,
        time_zone: timing.zone,
        spread: timing.spread,
        active_deadline_seconds: count(fields, "activeDeadlineSeconds", DEFAULT_DEADLINE_SECONDS.unsigned_abs()),
        successful_jobs_history_limit: count(fields, "successfulJobsHistoryLimit", 3),
        failed_jobs_history_limit: count(fields, "failedJobsHistoryLimit", 1),
        cycle: cycle(fields),
        failover: Failover {
            automatic: failover.mode == FailoverMode::Automatic,
            after_seconds: failover.after_seconds().unwrap_or(u32::MAX),
        },
        image,
        service_account_name,
        priority_class_name: fields.get::<String>("priorityClassName").map(Into::into),
        image_pull_secrets: pull_secrets.into_iter().map(|secret| secret.name.into()).collect(),
        cache_capacity: fields.get::<Quantity>("cacheCapacity").map(|quantity| quantity.0.into()),
        resources,
        pod_security_context: fields.get("podSecurityContext"),
        security_context: fields.get("securityContext"),
        node_selector,
        tolerations,
        affinity,
        pod_labels,
        pod_annotations,
    })
}

struct Timing {
    schedule: Schedule,
    text: Box<str>,
    zone: Option<ZoneName>,
    spread: Option<Spread>,
}

fn timing(fields: &mut Fields<'_>) -> Option<Timing> {
    let zone = fields.spec.get("timeZone").and_then(Value::as_str).map(str::parse::<ZoneName>);
    if let Some(Err(error)) = &zone {
        say_more(fields, "spec.timeZone", &error.to_string());
    }
    let spread = fields.spec.get("spread").and_then(Value::as_str).and_then(spread);
    let text = match fields.spec.get("schedule") {
        None => DEFAULT_SCHEDULE.to_owned(),
        Some(text) => text.as_str()?.to_owned(),
    };
    let schedule: Schedule = match text.parse() {
        Ok(schedule) => schedule,
        Err(error) => {
            say_more(fields, "spec.schedule", &error.to_string());
            return None;
        }
    };
    if let Some(Err(error)) = spread.map(|spread| schedule.check_spread(spread)) {
        say_more(fields, "spec.spread", &error.to_string());
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").into();
    Some(Timing { schedule, text, zone: zone.and_then(Result::ok), spread })
}

/// The schema knows what is allowed and says so; what exactly is wrong comes after it.
fn say_more(fields: &mut Fields<'_>, field: &str, error: &str) {
    match fields.problems.iter_mut().find(|problem| problem.field == field) {
        Some(problem) => problem.message = format!("{}: {error}", problem.message),
        None => fields.add(field, error),
    }
}

/// The schema sees to whole minutes, less than a day.
fn spread(text: &str) -> Option<Spread> {
    let seconds = duration_seconds(text)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let minutes = (seconds / 60.0) as u32;
    Some(Spread { minutes })
}

fn cycle(fields: &mut Fields<'_>) -> Cycle {
    match fields.get::<CycleName>("cycle").unwrap_or_default() {
        CycleName::Auto => Cycle::Auto,
        CycleName::Full => Cycle::Full,
        CycleName::Quick => Cycle::Quick,
    }
}

fn count(fields: &mut Fields<'_>, name: &str, default: u32) -> u32 {
    fields.get(name).unwrap_or(default)
}

/// A field that may only hold what the hub was started with: an image or a ServiceAccount of the author's choice
/// would see the passwords of every repository.
fn allowed(fields: &mut Fields<'_>, name: &str, option: &str, values: &[Box<str>]) -> Option<Box<str>> {
    let value: Box<str> = fields.get::<String>(name)?.into();
    if !values.contains(&value) {
        let message = match values {
            [] => format!("is not allowed: the hub was started without {option}"),
            values => format!("is not allowed: the hub was started with {option} {}", values.join(", ")),
        };
        fields.add(&format!("spec.{name}"), message);
    }
    Some(value)
}
