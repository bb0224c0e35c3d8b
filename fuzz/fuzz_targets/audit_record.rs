//! Records of an audit chain. What decodes must encode to the same bytes.
#![no_main]

use pulseward_audit::{Record, SignedHead};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::decode(data) {
        assert!(record.encode() == data, "a record has two spellings");
    }
    let _refused = SignedHead::decode(data);
});
