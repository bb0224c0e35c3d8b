//! See `pulseward_eventlog::fuzzing::journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_eventlog::fuzzing::journal(data));
