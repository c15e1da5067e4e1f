//! The figures: a file for machines, a table for people.

use std::time::Duration;

use serde::Serialize;

use crate::measure::figures::{Micro, percentile};

#[derive(Clone, Debug, Default, Serialize)]
pub struct Scenario {
    pub name: String,
    pub members: usize,
    pub sources: usize,
    pub repositories: usize,
    pub wall_s: f64,
    /// The hub's.
    pub cpu_s: f64,
    pub rss_mb: f64,
    pub rss_peak_mb: f64,
    /// To the hub's own API server.
    pub hub_requests: u64,
    /// To members, watches among them.
    pub member_requests: u64,
    /// Started in members.
    pub watches: u64,
    /// In members.
    pub lists: u64,
    /// To members.
    pub writes: u64,
    /// To the hub's own API server.
    pub hub_writes: u64,
    pub floor_wall_s: f64,
    pub floor_cpu_s: f64,
    pub floor_requests: usize,
    /// Of the hub's wall time over the floor's, or of the medians; 0 where there is no floor.
    pub ratio: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub floor_p50_ms: f64,
    pub floor_p95_ms: f64,
    pub floor_p99_ms: f64,
    pub fleet_cpu_s: f64,
    pub fleet_rss_mb: f64,
    pub notes: String,
    /// What was to be reached, and whether it was.
    pub goals: Vec<Goal>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    pub what: String,
    pub is: f64,
    pub reached: bool,
}

impl Scenario {
    /// At most so much.
    pub fn goal(&mut self, what: &str, is: f64, most: f64) {
        self.goals.push(Goal { what: format!("{what} ≤ {most}"), is, reached: is <= most });
    }

    pub fn timed(self, times: &[Duration]) -> Self {
        let [p50_ms, p95_ms, p99_ms] = [50, 95, 99].map(|hundredth| percentile(times, hundredth));
        Self { p50_ms, p95_ms, p99_ms, ..self }
    }

    pub fn floor_timed(&mut self, times: &[Duration]) {
        [self.floor_p50_ms, self.floor_p95_ms, self.floor_p99_ms] =
            [50, 95, 99].map(|hundredth| percentile(times, hundredth));
        self.ratio = self.p50_ms / self.floor_p50_ms;
    }
}

pub fn table(scenarios: &[Scenario], micro: &[Micro]) -> String {
    let mut lines = vec![format!(
        "{:<24} {:>8} {:>8} {:>6} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8} {:>9} {:>9}",
        "scenario",
        "wall s",
        "floor s",
        "ratio",
        "cpu s",
        "RSS MB",
        "peak MB",
        "hub req",
        "member rq",
        "writes",
        "fleet cpu",
        "fleet MB"
    )];
    for it in scenarios {
        lines.push(format!(
            "{:<24} {:>8.1} {:>8.1} {:>6.2} {:>8.2} {:>8.0} {:>8.0} {:>9} {:>9} {:>8} {:>9.1} {:>9.0}",
            it.name,
            it.wall_s,
            it.floor_wall_s,
            it.ratio,
            it.cpu_s,
            it.rss_mb,
            it.rss_peak_mb,
            it.hub_requests,
            it.member_requests,
            it.writes,
            it.fleet_cpu_s,
            it.fleet_rss_mb
        ));
        if it.p50_ms > 0.0 {
            lines.push(format!(
                "    p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms; the floor's {:.1}, {:.1}, {:.1}",
                it.p50_ms, it.p95_ms, it.p99_ms, it.floor_p50_ms, it.floor_p95_ms, it.floor_p99_ms
            ));
        }
        if it.floor_requests > 0 {
            lines.push(format!("    the floor: {} requests, {:.1} s of CPU", it.floor_requests, it.floor_cpu_s));
        }
        if !it.notes.is_empty() {
            lines.push(format!("    {}", it.notes));
        }
        for goal in &it.goals {
            let mark = if goal.reached { "reached" } else { "MISSED" };
            lines.push(format!("    {mark:<8} {}: {:.3}", goal.what, goal.is));
        }
    }
    for it in micro {
        lines.push(format!("{:<44} n {:>6}: {:>12.0} ns, {:>7.0} bytes", it.name, it.n, it.ns_per_op, it.bytes_per_op));
    }
    lines.join("\n")
}
