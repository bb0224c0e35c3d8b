//! The list of what a model was trained on. What decodes must encode to the same bytes.
#![no_main]

use pulseward_models::train::Listing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(listing) = Listing::decode(data) {
        assert!(listing.encode() == data, "a list has two spellings");
    }
});
