//! A short run of the fuzzers in `fuzz/`: seeds and found inputs as they are, then mutations of them, always the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Ends a run on a machine that is slow.
const TIME: Duration = Duration::from_secs(3);

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(seeds.len() > 2, "the seeds of {target} were not found");
    seeds
}

/// As much as the main thread has, which is where commands read files: without optimization each level of YAML takes
/// some 30 KiB, and 64 are allowed.
const STACK: usize = 8 << 20;

fn run(target: &'static str, entry: fn(&[u8]), inputs: usize) {
    let feeding = std::thread::Builder::new().stack_size(STACK).spawn(move || feed(target, entry, inputs));
    if let Err(panic) = feeding.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

fn feed(target: &str, entry: fn(&[u8]), inputs: usize) {
    let seeds = seeds(target);
    for seed in &seeds {
        entry(seed);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let started = Instant::now();
    for _ in 0..inputs {
        if started.elapsed() > TIME {
            break;
        }
        let mut input = random.one_of(&seeds).clone();
        for _ in 0..=random.below(8) {
            random.mutate(&mut input, &seeds);
        }
        let shown = input.clone();
        let panicked = std::panic::catch_unwind(|| entry(&input)).is_err();
        assert!(!panicked, "{target} fails on {:?}", String::from_utf8_lossy(&shown));
    }
}

/// Xorshift: the same inputs on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end.max(1)
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A part of an input.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(24) + 1)
    }

    fn mutate(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        const TELLING: &[u8] = b"*?/-,:@#%&!|>{}[]\"'\\ \n\t\0\x1f=.~0179HLaZ\xc3\xa9\xff";
        let range = self.range(input.len());
        match self.below(6) {
            0 => drop(input.drain(range)),
            1 => input.insert(range.start, *self.one_of(TELLING)),
            2 => input[range].fill(*self.one_of(TELLING)),
            3 => {
                let part = input[range].repeat(1 + self.below(40));
                let at = self.below(input.len() + 1);
                input.splice(at..at, part);
            }
            _ => {
                let other = self.one_of(seeds);
                let part = other[self.range(other.len())].to_vec();
                input.splice(range, part);
            }
        }
    }
}

#[test]
fn any_kubeconfig_is_accepted_or_refused_with_a_reason_and_no_credential() {
    run("kubeconfig", targets::kubeconfig, 20_000);
}

#[test]
fn any_secret_means_a_place_or_nothing_and_its_credentials_stay_in_it() {
    run("secret", targets::secret, 20_000);
}

#[test]
fn any_schedule_fires_or_is_refused() {
    run("schedule", targets::schedule, 20_000);
}

#[test]
fn any_glob_matches_what_it_says_in_time() {
    run("glob", targets::glob, 50_000);
}

#[test]
fn any_termination_message_is_bounded() {
    run("termination", targets::termination, 20_000);
}

#[test]
fn any_object_is_read_to_the_same_plan() {
    run("object", targets::object, 20_000);
}
