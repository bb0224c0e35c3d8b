//! The one way to seal to a key: HPKE (RFC 9180) in base mode, one message a key, no AAD.
//!
//! Suite 1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Purpose and context are in the
//! `info`, so a ciphertext opens for what it was made for and nothing else.

use std::fmt;

use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _,
    aead::{AeadCtxS, AesGcm256},
    kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use pulseward_base::{Digest, Reject, Secret, bytes::Malformed};
use zeroize::Zeroizing;

type Kem = DhP256HkdfSha256;

/// The number of the only suite there is; 2 is reserved for X-Wing.
pub const SUITE_P256: u8 = 1;

/// How many bytes a key or an encapsulation of suite 1 has.
pub const KEY_SIZE: usize = 65;

/// A key to seal to, as it travels: an uncompressed SEC1 point.
pub type PublicKey = [u8; KEY_SIZE];

/// A message sealed to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What the opener needs beside its key.
    pub enc: PublicKey,
    /// The ciphertext, its tag at the end.
    pub ciphertext: Vec<u8>,
}

/// A key pair that opens. Its secret is wiped when dropped.
pub struct KeyPair {
    private: <Kem as hpke::Kem>::PrivateKey,
    public: PublicKey,
}

impl KeyPair {
    /// Makes a new pair.
    #[must_use]
    pub fn generate() -> Self {
        let (private, public) = Kem::gen_keypair();
        Self {
            private,
            public: public.to_bytes().into(),
        }
    }

    /// Takes a secret scalar, big-endian.
    pub fn from_secret(secret: &Secret<32>) -> Result<Self, Malformed> {
        let private =
            <Kem as hpke::Kem>::PrivateKey::from_bytes(secret.expose()).map_err(|_| Malformed)?;
        let public = Kem::sk_to_pk(&private).to_bytes().into();
        Ok(Self { private, public })
    }

    /// Returns the secret scalar, for a custodian to keep.
    #[must_use]
    pub fn secret(&self) -> Secret<32> {
        Secret::new(self.private.to_bytes().into())
    }

    /// Returns the key to seal to.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Opens what was sealed to this key for `purpose` and `context`.
    pub fn open(
        &self,
        purpose: &str,
        context: &Digest,
        enc: &PublicKey,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Reject> {
        let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(enc).map_err(|_| Reject::BadSeal)?;
        let mut receiver = hpke::setup_receiver::<AesGcm256, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.private,
            &enc,
            &info(purpose, context),
        )
        .map_err(|_| Reject::BadSeal)?;
        receiver
            .open(ciphertext, &[])
            .map(Zeroizing::new)
            .map_err(|_| Reject::BadSeal)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

/// Seals `plain` to `public`. A key that is no point of the curve is malformed.
pub fn seal(
    public: &PublicKey,
    purpose: &str,
    context: &Digest,
    plain: &[u8],
) -> Result<Sealed, Reject> {
    let sender = Sender::new(public, purpose, context)?;
    let enc = *sender.enc();
    Ok(Sealed {
        enc,
        ciphertext: sender.seal(plain)?,
    })
}

/// A seal in two steps, for a plaintext that must name its own encapsulation.
pub struct Sender {
    context: AeadCtxS<AesGcm256, HkdfSha256, Kem>,
    enc: PublicKey,
}

impl Sender {
    /// Encapsulates to `public`. A key that is no point of the curve is malformed.
    pub fn new(public: &PublicKey, purpose: &str, context: &Digest) -> Result<Self, Reject> {
        let public =
            <Kem as hpke::Kem>::PublicKey::from_bytes(public).map_err(|_| Reject::Malformed)?;
        let (enc, context) = hpke::setup_sender::<AesGcm256, HkdfSha256, Kem>(
            &OpModeS::Base,
            &public,
            &info(purpose, context),
        )
        .map_err(|_| Reject::Malformed)?;
        Ok(Self {
            context,
            enc: enc.to_bytes().into(),
        })
    }

    /// Returns what the opener will need beside its key.
    #[must_use]
    pub const fn enc(&self) -> &PublicKey {
        &self.enc
    }

    /// Seals the one message.
    pub fn seal(mut self, plain: &[u8]) -> Result<Vec<u8>, Reject> {
        self.context.seal(plain, &[]).map_err(|_| Reject::TooLarge)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender(..)")
    }
}

fn info(purpose: &str, context: &Digest) -> Vec<u8> {
    [
        b"pulseward/v1/".as_slice(),
        purpose.as_bytes(),
        &[0],
        &context.0,
    ]
    .concat()
}
