//! Worked fleets, rule by rule. Each is planned by both planners.

mod candidates;
mod direct;
mod explain;
mod foreign;
mod holder;
mod levers;
mod matching;
mod merging;
mod messages;
mod observe;
mod planner;
mod precedence;
mod schedule;
mod sources;
mod states;
mod views;
