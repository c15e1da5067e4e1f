//! What has to be true of every input, whoever wrote it: one function for each kind of input, which takes any bytes
//! and panics where a promise is broken. `fuzz_targets/` feeds them from libFuzzer, `tests/fuzz.rs` a few seconds long
//! from a generator.

use std::time::{Duration, Instant};

mod glob;
mod kubeconfig;
mod object;
mod schedule;
mod secret;
mod termination;

pub use glob::glob;
pub use kubeconfig::kubeconfig;
pub use object::object;
pub use schedule::schedule;
pub use secret::secret;
pub use termination::termination;

/// A thousand times what any input of a few KiB should take, so that a busy machine is no finding.
const LONGEST: Duration = Duration::from_secs(10);

/// Texts for people are short, whatever they quote.
const MESSAGE_BYTES: usize = 2048;

fn in_time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    assert!(started.elapsed() < LONGEST, "{what} took {:?}", started.elapsed());
    done
}

/// What stands in a condition, a log line or on a screen.
fn assert_message(text: &str) {
    assert!(!text.is_empty() && text.len() <= MESSAGE_BYTES, "{} bytes: {:.200}", text.len(), text);
    assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
}
