//! Tests on real control planes. `cargo test --features e2e --test e2e` builds what they need.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod conformance_of_kubernetes;
mod fleet_works;
mod harness;
mod kubeconfigs;
mod maintenance;
mod mover;
mod schemas;
mod signals;
