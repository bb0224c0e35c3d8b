//! See `pulseward_eventlog::fuzzing::entry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_eventlog::fuzzing::entry(data));
