//! See `pulseward_crypto::fuzzing::hello_open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulseward_crypto::fuzzing::hello_open(data));
