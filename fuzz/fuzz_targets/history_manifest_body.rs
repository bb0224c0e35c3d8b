//! See `pulseward_history::fuzzing::manifest_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_history::fuzzing::manifest_body(data));
