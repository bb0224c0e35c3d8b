//! See `pulseward_keys::fuzzing::contents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_keys::fuzzing::contents(data));
