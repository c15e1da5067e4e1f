//! The commands, one file each: parsed options in, an exit code out.

pub mod crd;
pub mod validate;
