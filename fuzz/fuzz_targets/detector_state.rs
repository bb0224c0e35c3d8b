//! A patient's state as the log gives it back. What decodes must encode to the same bytes.
#![no_main]

use pulseward_detector::state::codec;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok((patient, feed)) = codec::decode(data) {
        assert!(
            codec::encode(&patient, &feed) == data,
            "a state has two spellings"
        );
    }
});
