//! The one way to seal to a key: HPKE (RFC 9180) in base mode, one message a key, no AAD.
//!
//! Suite 1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Purpose and context are in the
//! `info`, so a ciphertext opens for what it was made for and nothing else.
//!
//! Sealing is `hpke`'s, which also has the hybrid suite that is to come. Opening is aws-lc's, through
//! rustls: it is what a service does for everybody who knocks, and there it costs a fifth and takes
//! the same time for every secret.

use std::fmt;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use hpke::{
    Deserializable as _, OpModeS, Serializable as _,
    aead::{AeadCtxS, AesGcm256},
    kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use pulseward_base::{Digest, Reject, Secret, bytes::Malformed};
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as OPENER,
    hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey},
};
use zeroize::Zeroizing;

use crate::random;

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
    private: Secret<32>,
    public: PublicKey,
}

impl KeyPair {
    /// Makes a new pair.
    #[must_use]
    pub fn generate() -> Self {
        loop {
            // All but one in 2³² are scalars of the curve.
            if let Ok(pair) = Self::from_secret(&random::secret()) {
                return pair;
            }
        }
    }

    /// Takes a secret scalar, big-endian.
    pub fn from_secret(secret: &Secret<32>) -> Result<Self, Malformed> {
        let public = PrivateKey::from_private_key(&ECDH_P256, secret.expose())
            .ok()
            .and_then(|private| private.compute_public_key().ok())
            .ok_or(Malformed)?;
        Ok(Self {
            private: Secret::new(*secret.expose()),
            public: public.as_ref().try_into().map_err(|_| Malformed)?,
        })
    }

    /// Returns the secret scalar, for a custodian to keep.
    #[must_use]
    pub fn secret(&self) -> Secret<32> {
        Secret::new(*self.private.expose())
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
        let enc = EncapsulatedSecret(enc.to_vec());
        let private = HpkePrivateKey::from(self.private.expose().to_vec());
        OPENER
            .open(&enc, &info(purpose, context), &[], ciphertext, &private)
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
