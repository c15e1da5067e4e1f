//! Pure: what people are told of policies, repositories and members, from what was decided and what happened.

pub mod conditions;
pub mod history;
pub mod member;
pub mod merged;
pub mod policy;
pub mod repository;
pub mod size;
