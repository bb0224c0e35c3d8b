//! What a fuzzer feeds with bytes of its own: each takes anything and must neither panic nor take
//! memory that the bytes do not pay for.

use pulseward_base::Secret;

use crate::page::{self, FilePage, PageName, SlotPage};

/// Opens a page. Nothing a fuzzer makes up opens.
///
/// # Panics
/// When it does.
pub fn page(input: &[u8]) {
    let root = Secret::new([7; 32]);
    for name in [PageName::Slot(0), PageName::Files(0)] {
        assert!(
            page::open(name, &root, input).is_err(),
            "a seal was guessed"
        );
    }
}

/// Reads what pages hold once they are opened. What was read and written is read the same again.
///
/// # Panics
/// When it is not.
pub fn contents(input: &[u8]) {
    if let Ok(page) = SlotPage::decode(input) {
        let once = page.encode();
        let again = SlotPage::decode(&once).map(|page| page.encode());
        assert!(
            again.as_deref() == Ok(&*once),
            "a page changed in being written"
        );
    }
    if let Ok(page) = FilePage::decode(input) {
        let once = page.encode();
        let again = FilePage::decode(&once).map(|page| page.encode());
        assert!(
            again.as_deref() == Ok(&*once),
            "a page changed in being written"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn foreign_bytes_are_an_error_and_never_a_panic(bytes: Vec<u8>, count in 0_u32..3) {
            page(&bytes);
            page(&[b"PWK1\x01", &bytes[..]].concat());
            contents(&bytes);
            contents(&[&count.to_le_bytes()[..], &bytes].concat());
        }
    }
}
