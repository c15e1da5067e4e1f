//! The figures: a file for machines, a table for people.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use crate::harness::Fail;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Scenario {
    pub name: &'static str,
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
    /// To members.
    pub writes: u64,
    pub fleet_cpu_s: f64,
    pub fleet_rss_mb: f64,
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
}

pub fn write(machine: &Value, scenarios: &[Scenario]) -> Result<PathBuf, Fail> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    std::fs::create_dir_all(&dir)?;
    let file = dir.join("fleet.json");
    let report = json!({"machine": machine, "scenarios": scenarios});
    std::fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")?;
    Ok(file)
}

pub fn table(scenarios: &[Scenario]) -> String {
    let mut lines = vec![format!(
        "{:<18} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8} {:>9} {:>9}",
        "scenario", "wall s", "cpu s", "RSS MB", "peak MB", "hub req", "member rq", "writes", "fleet cpu", "fleet MB"
    )];
    for it in scenarios {
        lines.push(format!(
            "{:<18} {:>8.1} {:>8.2} {:>8.0} {:>8.0} {:>9} {:>9} {:>8} {:>9.1} {:>9.0}",
            it.name,
            it.wall_s,
            it.cpu_s,
            it.rss_mb,
            it.rss_peak_mb,
            it.hub_requests,
            it.member_requests,
            it.writes,
            it.fleet_cpu_s,
            it.fleet_rss_mb
        ));
        for goal in &it.goals {
            let mark = if goal.reached { "reached" } else { "MISSED" };
            lines.push(format!("    {mark:<8} {}: {:.3}", goal.what, goal.is));
        }
    }
    lines.join("\n")
}
