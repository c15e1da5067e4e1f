//! What the hub is started with, as far as it decides anything: the same for `run`, `plan` and `explain`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::MemberName;
use crate::plan::fleet::PlanOptions;
use crate::policy::PolicyRules;
use crate::schedule::{Spread, ZoneName};

/// Options that shape every plan.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Decisions")]
pub struct DecisionArgs {
    /// Zone of the schedules of policies without timeZone [default: TZ, else UTC]
    #[arg(long, env = "VOLSYNC_HUB_TIME_ZONE", value_name = "ZONE")]
    pub time_zone: Option<ZoneName>,
    /// What other programs take the zone from.
    #[arg(long = "tz", env = "TZ", hide = true)]
    pub tz: Option<String>,
    /// Spreads the schedules of policies without spread over this time, such as 30m
    #[arg(long, env = "VOLSYNC_HUB_DEFAULT_SPREAD", value_name = "DURATION")]
    pub default_spread: Option<Spread>,
    /// Makes the hub's own cluster a member of this name
    #[arg(long, env = "VOLSYNC_HUB_INCLUDE_HUB", value_name = "NAME")]
    pub include_hub: Option<String>,
    /// Namespace of the maintenance objects in the members
    #[arg(long, env = "VOLSYNC_HUB_MEMBER_NAMESPACE", value_name = "NAMESPACE", default_value = "volsync-system")]
    pub member_namespace: String,
    /// How long a holder may fail to be a candidate before its repositories move, such as 15m
    #[arg(long, env = "VOLSYNC_HUB_HANDOVER_AFTER", value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub handover_after: Duration,
    /// Two names of one object store, each as host or host:port; may be repeated
    #[arg(long, env = "VOLSYNC_HUB_ENDPOINT_ALIAS", value_name = "A=B", value_delimiter = ',', value_parser = alias)]
    pub endpoint_alias: Vec<(String, String)>,
    /// An image that policies may name; may be repeated
    #[arg(long, env = "VOLSYNC_HUB_ALLOWED_IMAGE", value_name = "IMAGE", value_delimiter = ',')]
    pub allowed_image: Vec<String>,
    /// A ServiceAccount that policies may name; may be repeated
    #[arg(long, env = "VOLSYNC_HUB_ALLOWED_SERVICE_ACCOUNT", value_name = "NAME", value_delimiter = ',')]
    pub allowed_service_account: Vec<String>,
}

impl DecisionArgs {
    /// A value of TZ that is no zone is passed over, as other programs do.
    pub fn plan_options(&self) -> Result<PlanOptions, String> {
        let of_environment = || self.tz.as_deref().and_then(|zone| zone.trim_start_matches(':').parse().ok());
        let time_zone = match self.time_zone.clone().or_else(of_environment) {
            Some(zone) => zone,
            None => "UTC".parse().map_err(|error| format!("cannot find the zone UTC: {error}"))?,
        };
        Ok(PlanOptions {
            time_zone,
            default_spread: self.default_spread,
            hub_member: self.include_hub.as_deref().map(MemberName::from),
            member_namespace: self.member_namespace.as_str().into(),
            handover_after_seconds: u32::try_from(self.handover_after.as_secs()).unwrap_or(u32::MAX),
            time_factor: 1,
            endpoint_aliases: self.endpoint_alias.iter().cloned().collect::<BTreeMap<_, _>>(),
        })
    }

    pub fn policy_rules(&self) -> PolicyRules {
        let boxed = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        PolicyRules {
            allowed_images: boxed(&self.allowed_image),
            allowed_service_accounts: boxed(&self.allowed_service_account),
        }
    }
}

/// `90s`, `15m`, `1h30m` or plain seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is no duration: write 90s, 15m or 1h30m"))?;
    Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))
}

/// As [`duration`], and with days and weeks: `2d`, `1w`, `1d12h`. A day has 24 hours here, whatever the clocks do.
pub fn long_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 30m, 4h, 2d or 1d12h");
    let (mut seconds, mut rest) = (0_u64, text);
    for (unit, length) in [('w', 7 * 86_400_u64), ('d', 86_400)] {
        if let Some((number, behind)) = rest.split_once(unit) {
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(length));
            seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
            rest = behind;
        }
    }
    if rest.is_empty() && !text.is_empty() {
        return Ok(Duration::from_secs(seconds));
    }
    let rest = duration(rest).map_err(|_| wrong())?;
    Duration::from_secs(seconds).checked_add(rest).ok_or_else(wrong)
}

fn alias(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err(format!("{text:?} is no pair of names: write A=B")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_duration_takes_days_and_weeks_before_what_others_take() {
        let hour = 3600;
        let cases = [
            ("30m", Some(1800)),
            ("4h", Some(4 * hour)),
            ("90", Some(90)),
            ("1h30m", Some(5400)),
            ("2d", Some(48 * hour)),
            ("1d12h", Some(36 * hour)),
            ("1w", Some(168 * hour)),
            ("1w1d1h", Some(193 * hour)),
            ("", None),
            ("d", None),
            ("-1d", None),
            ("1d-1h", None),
            ("1d1w", None),
            ("soon", None),
            ("99999999999999999999d", None),
            ("999999999999999999d", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(long_duration(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
