//! The figures: a file for machines, a table for people.

use serde::Serialize;

use crate::measure::figures::Micro;

/// One scenario, the hub beside the floor of the same run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scenario {
    pub name: String,
    pub wall_s: f64,
    pub cpu_s: f64,
    pub floor_wall_s: f64,
    pub floor_cpu_s: f64,
    /// Cold starts: of the wall times. Reactions: of the 95th percentiles.
    pub ratio: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub floor_p50_ms: f64,
    pub floor_p95_ms: f64,
    pub rss_mb: f64,
    pub writes: usize,
    /// How many repositories or edits.
    pub n: usize,
    pub peak_rss_mb: f64,
    pub floor_requests_per_s: f64,
    /// Of a floor that does not keep to the hub's rate of 100 requests a second in each member; cold starts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_unlimited_wall_s: Option<f64>,
}

pub fn table(scenarios: &[Scenario], micro: &[Micro]) -> String {
    let mut lines = vec![format!(
        "{:<18} {:>6} {:>9} {:>9} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "scenario", "n", "hub s", "floor s", "ratio", "p50 ms", "floor", "p95 ms", "floor", "cpu s", "RSS MB", "writes"
    )];
    for it in scenarios {
        lines.push(format!(
            "{:<18} {:>6} {:>9.2} {:>9.2} {:>6.2} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.2} {:>7.1} {:>7}",
            it.name,
            it.n,
            it.wall_s,
            it.floor_wall_s,
            it.ratio,
            it.p50_ms,
            it.floor_p50_ms,
            it.p95_ms,
            it.floor_p95_ms,
            it.cpu_s,
            it.rss_mb,
            it.writes
        ));
        let unlimited =
            it.floor_unlimited_wall_s.map(|wall| format!(", {wall:.2} s without the limit of 100 a second"));
        lines.push(format!(
            "{:<18} the floor: {:.0} requests a second{}; its CPU {:.2} s; the hub's greatest RSS {:.1} MB",
            "",
            it.floor_requests_per_s,
            unlimited.unwrap_or_default(),
            it.floor_cpu_s,
            it.peak_rss_mb
        ));
    }
    for it in micro {
        lines.push(format!(
            "{:<34} n {:>6}: {:>10.0} ns, {:>7.0} bytes each",
            it.name, it.n, it.ns_per_op, it.bytes_per_op
        ));
    }
    lines.join("\n")
}
