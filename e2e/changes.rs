//! Journeys through what changes and goes wrong around the main job: members, credentials, runs, policies.

mod away;
mod commands;
mod cut_lists;
mod deleted;
mod died;
mod foreign;
mod grants;
mod hostile;
mod invalid_policies;
mod journal;
mod long;
mod members;
mod merged;
mod moving;
mod not_started;
mod observe;
mod other_group;
mod outcomes;
mod rebuilt;
mod rights;
mod shrink;
mod stage;
mod stale_secret;
mod surroundings;
mod waves;
