//! How what a cold start takes grows with the number of members.

use super::cold;
use super::fleet::Size;
use super::report::Scenario;
use super::stage::Stage;
use crate::Args;
use crate::harness::Fail;

const SIZES: [usize; 5] = [10, 30, 100, 300, 1_000];

/// Each on a fleet of its own. The largest one measured holds the exponents.
pub async fn all(args: &Args) -> Result<Vec<Scenario>, Fail> {
    let mut found: Vec<Scenario> = Vec::new();
    for members in SIZES.into_iter().filter(|members| *members <= args.members()) {
        let repositories = args.repositories() * members / args.members();
        let size = Size { members, sources: args.sources, repositories, seed: args.seed };
        let stage = Stage::set(size).await?;
        let mut hub = stage.start_hub(&[])?;
        found.push(cold::start(&stage, &mut hub, &format!("growth-{members}")).await?);
        hub.stop()?;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of requests fit")]
    let fits = [
        ("exponent of CPU over members", exponent(&found, |it| it.cpu_s)),
        ("exponent of resident memory over members", exponent(&found, |it| it.rss_mb)),
        ("exponent of requests over members", exponent(&found, |it| (it.hub_requests + it.member_requests) as f64)),
    ];
    if let Some(last) = found.last_mut() {
        for (what, is) in fits {
            last.goal(what, is, 1.05);
        }
    }
    Ok(found)
}

/// The slope of the line of least squares through logarithms.
#[expect(clippy::cast_precision_loss, reason = "a few sizes of some thousand members")]
fn exponent(found: &[Scenario], of: impl Fn(&Scenario) -> f64) -> f64 {
    let points: Vec<_> = found.iter().map(|it| ((it.members as f64).ln(), of(it).ln())).collect();
    let mean = |sum: f64| sum / points.len() as f64;
    let (x, y) = (mean(points.iter().map(|at| at.0).sum()), mean(points.iter().map(|at| at.1).sum()));
    let across: f64 = points.iter().map(|at| (at.0 - x) * (at.1 - y)).sum();
    across / points.iter().map(|at| (at.0 - x).powi(2)).sum::<f64>()
}
