//! See `pulseward_eventlog::fuzzing::body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_eventlog::fuzzing::body(data));
