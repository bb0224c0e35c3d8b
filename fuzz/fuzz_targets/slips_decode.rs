//! See `pulseward_crypto::fuzzing::slips_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_crypto::fuzzing::slips_decode(data));
