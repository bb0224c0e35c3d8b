//! A model's card and parameters behind a checksum that holds: a fuzzer does not guess one. What
//! decodes must encode to the same bytes.
#![no_main]

use pulseward_models::artefact::Draft;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut file = [b"PWMODEL\0".as_slice(), &1_u16.to_le_bytes(), data].concat();
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    if let Ok(draft) = Draft::decode(&file) {
        assert!(draft.encode() == file, "a model has two spellings");
    }
});
