//! What benchmarks measure with: floors, which are bare clients that make the hub's requests without thinking, and
//! whatever sees how long hub and floor take.

// Two benchmarks share these modules, and neither uses everything.
#![allow(dead_code)]

pub mod child;
pub mod cores;
pub mod figures;
pub mod floor;
pub mod observe;
pub mod paths;
pub mod planning;
pub mod probes;
pub mod reactions;
pub mod record;
pub mod sample;
pub mod usage;
pub mod wire;
