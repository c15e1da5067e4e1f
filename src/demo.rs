//! The demo: a simulated fleet in this process, and the real hub code against it over HTTP.
//!
//! Clusters, Jobs and repositories here are simulated: no container runs, and no byte of a backup exists. What the
//! hub reads and writes is what it reads and writes in a real fleet.

pub mod changes;
mod clock;
pub mod fleet;
mod garbage;
pub mod kubeconfigs;
pub(crate) mod kubelet;
pub mod levers;
pub mod look;
mod mover;
pub(crate) mod objects;
mod outline;
pub mod repositories;
mod scenario;
pub mod standing;
#[cfg(test)]
mod tests;
pub mod verdict;
pub mod view;
pub mod workload;

pub use clock::Clock;
pub use fleet::DemoFleet;
