//! See `pulseward_history::fuzzing::leaf_proofs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_history::fuzzing::leaf_proofs(data));
