//! The hub's own cluster: policies, the ledger and members are read and written here.

pub mod event;
pub mod events;
pub mod id;
pub mod kinds;
pub mod lease;
pub mod ledger;
pub mod secrets;
pub mod statuses;
pub mod watch;
