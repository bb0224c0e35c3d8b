//! A person's handle, sealed by the vault for itself. It travels through the pipeline and comes
//! back in a way-back slip; the vault keeps no copy.

use pulseward_base::Secret;
use pulseward_crypto::{aead, random, slips::SealedHandle};
use zeroize::Zeroizing;

use crate::person::Handle;

const AAD: &[u8] = b"pulseward/v1/handle";

/// The key that handles are sealed under.
#[derive(Debug)]
pub(crate) struct HandleKey(aead::Key);

impl HandleKey {
    pub(crate) fn new(secret: &Secret<32>) -> Self {
        Self(aead::Key::new(secret))
    }

    /// Seals a handle under a random nonce. One key is good for 2³² sealings.
    pub(crate) fn seal(&self, handle: Handle) -> SealedHandle {
        let nonce: [u8; 12] = random::bytes();
        let mut sealed = Vec::with_capacity(SealedHandle::SIZE);
        sealed.extend(handle.0);
        self.0.seal(nonce, AAD, &mut sealed);
        let mut bytes = [0; SealedHandle::SIZE];
        for (to, from) in bytes.iter_mut().zip(nonce.iter().chain(&sealed)) {
            *to = *from;
        }
        SealedHandle(bytes)
    }

    /// Opens a handle that this key sealed.
    pub(crate) fn open(&self, sealed: &SealedHandle) -> Option<Handle> {
        let (nonce, rest) = sealed.0.split_first_chunk::<12>()?;
        let mut handle = Zeroizing::new(rest.to_vec());
        self.0.open(*nonce, AAD, &mut handle).ok()?;
        handle.as_slice().try_into().ok().map(Handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_key_opens_a_handle_and_no_bit_may_change() {
        let key = HandleKey::new(&random::secret());
        let handle = Handle::random();
        let sealed = key.seal(handle);
        assert_eq!(key.open(&sealed), Some(handle));
        assert_eq!(HandleKey::new(&random::secret()).open(&sealed), None);
        for bit in 0..SealedHandle::SIZE * 8 {
            let mut changed = sealed;
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&changed), None, "bit {bit}");
        }
        assert_ne!(key.seal(handle), sealed);
    }
}
