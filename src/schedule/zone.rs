//! Zone names, and the zone data that comes with the program.

use std::fmt;
use std::str::FromStr;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::ScheduleError;
use super::fields::excerpt;

/// A zone name that the members' API servers know too, case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneName {
    name: Box<str>,
    zone: TimeZone,
}

impl ZoneName {
    pub fn utc() -> Self {
        Self { name: "UTC".into(), zone: TimeZone::UTC }
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }

    pub fn time_zone(&self) -> TimeZone {
        self.zone.clone()
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A name of the IANA database, spelt exactly: an API server looks it up in a case-sensitive table, and refuses
/// `Local`, which would mean another thing in each cluster.
impl FromStr for ZoneName {
    type Err = ScheduleError;
    fn from_str(name: &str) -> Result<Self, ScheduleError> {
        // The bundled data alone: the zone of a schedule must mean the same on every machine.
        let zones = TimeZoneDatabase::bundled();
        let near = zones.available().find(|known| known.as_str().eq_ignore_ascii_case(name));
        match near {
            Some(near) if near.as_str() == name => zones
                .get(name)
                .map(|zone| Self { name: name.into(), zone })
                .map_err(|error| ScheduleError(format!("time zone {name:?} can't be read: {error}"))),
            Some(near) => Err(ScheduleError(format!(
                "unknown time zone {name:?}: names are case-sensitive, write {:?}",
                near.as_str()
            ))),
            None => Err(ScheduleError(format!(
                "unknown time zone {:?}: give a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"",
                excerpt(name)
            ))),
        }
    }
}
