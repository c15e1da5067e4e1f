//! Pure: the observed fleet goes in, what should be comes out. No client, clock or environment.

pub mod fleet;
pub mod result;
