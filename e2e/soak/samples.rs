//! What a replica takes over time, and whether it grows.

use std::time::Instant;

use serde::Serialize;

use super::hubs::Load;

/// Of one process, with the seconds since the soak began.
#[derive(Debug)]
pub struct Samples {
    began: Instant,
    taken: Vec<(f64, Load)>,
}

/// A line through what was taken.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Trend {
    pub first: f64,
    pub last: f64,
    pub mean: f64,
    pub highest: f64,
    /// Of the line of least squares, from its beginning to its end.
    pub growth: f64,
    pub minutes: f64,
    pub an_hour: f64,
}

impl Samples {
    pub fn from(began: Instant) -> Self {
        Self { began, taken: Vec::new() }
    }

    pub fn take(&mut self, load: Load) {
        self.taken.push((self.began.elapsed().as_secs_f64(), load));
    }

    pub fn memory(&self) -> Option<Trend> {
        trend(&self.taken.iter().map(|(at, load)| (*at, load.rss_mb)).collect::<Vec<_>>())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of descriptors fit")]
    pub fn descriptors(&self) -> Option<Trend> {
        trend(&self.taken.iter().map(|(at, load)| (*at, load.descriptors as f64)).collect::<Vec<_>>())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples fit")]
fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    let (first, last) = (*points.first()?, *points.last()?);
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (at, value) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points.iter().map(|point| (point.0 - at) * (point.1 - value)).sum();
    let along: f64 = points.iter().map(|point| (point.0 - at).powi(2)).sum();
    let slope = if along > 0.0 { across / along } else { 0.0 };
    let highest = points.iter().map(|point| point.1).fold(f64::MIN, f64::max);
    let seconds = last.0 - first.0;
    Some(Trend {
        first: first.1,
        last: last.1,
        mean: value,
        highest,
        growth: slope * seconds,
        minutes: seconds / 60.0,
        an_hour: slope * 3600.0,
    })
}
