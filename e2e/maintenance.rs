//! Journeys through the main job: policies on the hub, and what becomes of them in the members.

mod converged;
mod direct;
mod drift;
mod leaders;
mod levers;
mod overrides;
mod reference;
mod shared_location;
mod stage;
