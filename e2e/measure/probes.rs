//! What a hub says of itself on its address for probes and metrics.

use std::time::{Duration, Instant};

use crate::harness::process::Process;
use crate::harness::{Fail, http};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// One that is suspended answers nothing.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Waits until it is ready; how long that took. An error where it ends before.
pub async fn ready(process: &mut Process, port: u16, within: Duration) -> Result<Duration, Fail> {
    let began = Instant::now();
    loop {
        if let Some(status) = process.ended()? {
            return Err(format!("the hub ended with {status}: {}", process.last_words()).into());
        }
        if http::send(port, "GET", "/readyz", "").await.is_ok_and(|(status, _)| status == 200) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > within {
            return Err(format!("the hub was not ready within {} s", within.as_secs()).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// One series without labels; none where there is no such, or no answer.
pub async fn metric(port: u16, name: &str) -> Option<f64> {
    series(port, name, ' ').await?.into_iter().next()
}

/// Of all series with labels; none where there is no answer.
pub async fn sum(port: u16, name: &str) -> Option<f64> {
    Some(series(port, name, '{').await?.into_iter().sum())
}

async fn series(port: u16, name: &str, then: char) -> Option<Vec<f64>> {
    let asked = http::send(port, "GET", "/metrics", "");
    let (_, text) = tokio::time::timeout(ANSWERS_WITHIN, asked).await.ok()?.ok()?;
    let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(then)));
    Some(lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect())
}
