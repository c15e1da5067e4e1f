//! What a fleet shows of itself to those who look from outside, and to those who should not see everything.

mod secrets;
mod stage;
mod traces;
