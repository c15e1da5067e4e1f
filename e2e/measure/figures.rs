//! Figures as they are told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::Fail;

/// One operation of many.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Micro {
    pub name: String,
    /// Of what there is.
    pub n: usize,
    pub ns_per_op: f64,
    pub bytes_per_op: f64,
}

/// Nearest rank, in milliseconds.
pub fn percentile(times: &[Duration], hundredth: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    let rank = (times.len() * hundredth).div_ceil(100).max(1) - 1;
    times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// Three digits after the point are more than such figures mean.
fn rounded(value: Value) -> Value {
    match value {
        Value::Array(all) => all.into_iter().map(rounded).collect(),
        Value::Object(all) => all.into_iter().map(|(key, value)| (key, rounded(value))).collect(),
        Value::Number(number) if number.is_f64() => {
            json!((number.as_f64().unwrap_or_default() * 1000.0).round() / 1000.0)
        }
        other => other,
    }
}

/// What this program tells of single operations, in a process of its own.
pub async fn micro() -> Result<Vec<Micro>, Fail> {
    let output = Command::new(std::env::current_exe()?).arg("--micro").kill_on_drop(true).output().await?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The file for machines, under the target directory.
pub fn write(file: &str, machine: &Value, scenarios: &[impl Serialize], micro: &[Micro]) -> Result<PathBuf, Fail> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    std::fs::create_dir_all(&dir)?;
    let file = dir.join(file);
    let report = rounded(json!({"machine": machine, "scenarios": scenarios, "micro": micro}));
    std::fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")?;
    Ok(file)
}
