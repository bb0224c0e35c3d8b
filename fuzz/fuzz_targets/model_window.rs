//! A window's bytes, as a detector keeps them. What decodes must encode to the same bytes.
#![no_main]

use pulseward_base::bytes::{Reader, Writer};
use pulseward_models::features::Window;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(data);
    if let Ok(window) = Window::decode(&mut reader) {
        let mut writer = Writer::new();
        window.encode(&mut writer);
        let read = data.len() - reader.rest().len();
        assert!(
            writer.as_slice() == &data[..read],
            "a window has two spellings"
        );
    }
});
