//! AES-256-GCM under keys that are used for one purpose, with nonces that count.
//!
//! A caller owns the counter: each (key, nonce) seals once.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use pulseward_base::Secret;

/// How many bytes a seal adds.
pub const TAG_SIZE: usize = 16;

/// Bytes that were not sealed under this key, nonce and AAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a seal does not open")]
pub struct OpenError;

/// A key with its schedule worked out.
pub struct Key(LessSafeKey);

impl Key {
    /// Takes `secret` as a key.
    ///
    /// # Panics
    /// Never: any 32 bytes are a key.
    #[must_use]
    #[expect(clippy::expect_used, reason = "any 32 bytes are an AES-256 key")]
    pub fn new(secret: &Secret<32>) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, secret.expose()).expect("the size is right");
        Self(LessSafeKey::new(key))
    }

    /// Seals `plain` where it is and puts the tag behind it.
    ///
    /// # Panics
    /// When `plain` is longer than GCM allows, 64 GiB.
    #[expect(
        clippy::expect_used,
        reason = "64 GiB in memory would have failed long before"
    )]
    pub fn seal(&self, nonce: [u8; 12], aad: &[u8], plain: &mut Vec<u8>) {
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), plain)
            .expect("shorter than 64 GiB");
    }

    /// Opens `sealed` where it is and cuts it to the plaintext. After an error its content means
    /// nothing.
    pub fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &mut Vec<u8>) -> Result<(), OpenError> {
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed)
            .map_err(|_| OpenError)?
            .len();
        sealed.truncate(length);
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Returns the nonce `counter u64 | 0 0 0 0`.
#[must_use]
pub const fn nonce(counter: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    [a, b, c, d, e, f, g, h, 0, 0, 0, 0]
}
