//! The loop: observe, plan, act, report.

pub mod queue;
