//! Feeds `secret` of the library beside it from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| volsync_hub_fuzz::secret(bytes));
