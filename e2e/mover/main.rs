//! Runs the mover script against the stand-in kopia, in every outcome class, and the stand-in against what is known
//! of kopia. Needs bash, GNU coreutils, flock and jq, as the mover image and every CI machine have them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backends;
mod bench;
mod claims;
mod endings;
mod runs;
mod scripts;
mod secrets;
mod standin;
