//! See `pulseward_history::fuzzing::signed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_history::fuzzing::signed(data));
