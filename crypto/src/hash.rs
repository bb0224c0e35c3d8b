//! SHA-256 and what is built on it.

use aws_lc_rs::{digest, hkdf, hmac};
use pulseward_base::{Digest, Secret};

/// Returns SHA-256 over `parts` behind one another.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    Digest(array(context.finish().as_ref()))
}

/// Returns HMAC-SHA256 over `parts` behind one another.
#[must_use]
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    array(context.sign().as_ref())
}

/// Returns whether `tag`, of one byte at least, begins HMAC-SHA256 over `parts`, in constant time.
#[must_use]
pub fn hmac_matches(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    let expected = hmac(key, parts);
    expected.get(..tag.len()).is_some_and(|expected| {
        !tag.is_empty() && aws_lc_rs::constant_time::verify_slices_are_equal(expected, tag).is_ok()
    })
}

/// Returns 32 bytes of HKDF-SHA256; the parts of `info` go behind one another.
///
/// # Panics
/// Never: HKDF-SHA256 refuses only outputs above 8,160 bytes.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "HKDF-SHA256 has no limit that 32 bytes reach"
)]
pub fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> Secret<32> {
    let mut bytes = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(ikm)
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut bytes))
        .expect("32 bytes are within HKDF's limit");
    Secret::new(bytes)
}

#[expect(clippy::expect_used, reason = "SHA-256 gives 32 bytes")]
fn array(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().expect("SHA-256 gives 32 bytes")
}
