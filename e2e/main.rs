//! Tests on real control planes. `cargo test --features e2e --test e2e` builds what they need.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance_of_kubernetes;
mod fleet_works;
mod harness;
mod kubeconfigs;
mod kubectl_commands;
mod maintenance;
mod members_come_and_go;
mod mover;
mod outcomes;
mod schemas;
mod stage;
mod stale_secret;
