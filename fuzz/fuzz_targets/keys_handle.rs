//! The handle that a reader asks for a key by. One handle has one spelling.
#![no_main]

use pulseward_custody::dek::Handle;

libfuzzer_sys::fuzz_target!(|data: &str| {
    if let Ok(handle) = Handle::parse(data) {
        assert!(handle.text() == data, "a handle has two spellings");
    }
});
