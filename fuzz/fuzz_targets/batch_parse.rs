//! See `pulseward_batch::fuzzing::batch_parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_batch::fuzzing::batch_parse(data));
