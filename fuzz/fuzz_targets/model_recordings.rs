//! Recordings that somebody else made, to train and judge models with.
#![no_main]

use pulseward_models::dataset::{read_annotations, read_hourly, read_records};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _refused = read_annotations(data, 360);
    let _refused = read_records(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _refused = read_hourly(text);
    }
});
