//! See `pulseward_identity_store::fuzzing::pages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_identity_store::fuzzing::pages(data));
