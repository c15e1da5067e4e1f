//! What planning costs on three members.

use super::stage::MEMBERS;
use crate::harness::Fail;
use crate::measure::figures::Micro;
use crate::measure::planning::{Shape, observed, plan_one};

/// Enough that the memory of one shows.
const SOURCES: usize = 30_000;

/// The whole of the process.
pub fn tell() -> Result<(), Fail> {
    println!("{}", serde_json::to_string(&figures()?)?);
    Ok(())
}

fn figures() -> Result<Vec<Micro>, Fail> {
    let (mut planner, observing) =
        observed(Shape { members: MEMBERS.len(), sources: SOURCES, sources_a_repository: 1 })?;
    let ns_per_op = plan_one(&mut planner);
    Ok(vec![Micro { name: "plan-one-repository".to_owned(), n: SOURCES, ns_per_op, bytes_per_op: 0.0 }, observing])
}
