//! The one way to sign: ECDSA P-256 over the prehash `D(role, kid, ctx, body)`.
//!
//! Invariants: a signature is `r | s`, 64 bytes, both in `1..n-1`, `s` in the lower half; nothing
//! else is ever produced or accepted. A signature made as one role holds as no other.

use std::fmt;

use aws_lc_rs::{
    agreement, digest,
    encoding::{AsBigEndian, EcPrivateKeyBin},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        ParsedPublicKey,
    },
};
use pulseward_base::{Digest, Kid, Reject, Secret, bytes::Malformed};

use crate::hash::sha256;

/// The context of every signer that has no enrolment record.
pub const NO_CONTEXT: Digest = Digest::ZERO;

/// Declares the roles with the words that are signed.
macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// What a signature says. Its word is part of what is signed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Role {
            $($(#[$doc])* $name,)*
        }

        impl Role {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the word that is signed.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

roles! {
    /// A service's offer of sealing keys.
    Offer = "offer";
    /// A device's wish to enrol.
    Enrol = "enrol";
    /// A device's first message.
    Hello = "hello";
    /// A device's batch.
    Batch = "batch";
    /// A device's word for many batches at once.
    Checkpoint = "checkpoint";
    /// A device's word that its queue dropped batches.
    Gap = "gap";
    /// A device's word that it goes on with another key.
    Rollover = "rollover";
    /// A root's word for another key.
    Certificate = "certificate";
    /// A vault's leave to enrol.
    Ticket = "ticket";
    /// A vault's word on what a person agreed to.
    Consent = "consent";
    /// A vault's order to stop, reassign or erase.
    Order = "order";
    /// A vault's leave to view.
    View = "view";
    /// Delivery's leave to ask for the person behind an alert.
    WayBack = "way-back";
    /// A registry's leave to unwrap keys.
    Grant = "grant";
    /// A registry's record of an enrolment.
    Record = "record";
    /// A registry's word on whose device it is.
    Binding = "binding";
    /// An operator's settings for devices.
    Config = "config";
    /// A history's list of files.
    Manifest = "manifest";
    /// An operator's promotion of a model.
    Model = "model";
    /// A registry's word that something was erased.
    Receipt = "receipt";
    /// The heads of all chains at a time.
    Head = "head";
}

/// A public key as it travels: a compressed SEC1 point. That it lies on the curve is not yet known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(pub [u8; 33]);

impl Point {
    /// How many bytes it has.
    pub const SIZE: usize = 33;
    /// All zeros: "none" where a format says so. No key has it.
    pub const ZERO: Self = Self([0; 33]);
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Point(..)")
    }
}

/// A signature in its only spelling, or 64 bytes that claim to be one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// How many bytes it has.
    pub const SIZE: usize = 64;

    /// Takes 64 bytes; any other count is not canonical.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: [u8; 64] = bytes.try_into().map_err(|_| Reject::NotCanonical)?;
        Ok(Self(bytes))
    }

    /// Returns whether `r` and `s` lie in `1..n-1` and `s` in the lower half. Public data: the
    /// comparison may take its time.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        let (r, s) = self.0.split_at(32);
        let zero = [0; 32];
        r > &zero && r < &ORDER[..] && s > &zero && s <= &HALF_ORDER[..]
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// Returns `SHA-256("pulseward/v1/" | role | 0 | kid | ctx | body)`; the parts of `body` go behind
/// one another.
#[must_use]
pub fn prehash(role: Role, kid: &Kid, ctx: &Digest, body: &[&[u8]]) -> Digest {
    let mut parts: Vec<&[u8]> = Vec::with_capacity(5 + body.len());
    parts.extend([
        b"pulseward/v1/".as_slice(),
        role.word().as_bytes(),
        &[0],
        &kid.0,
        &ctx.0,
    ]);
    parts.extend(body);
    sha256(&parts)
}

/// A key that signs. Its secret is wiped when dropped.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    secret: Secret<32>,
    point: Point,
    kid: Kid,
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "without randomness nothing can go on safely"
    )]
    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .expect("the system has randomness");
        let secret: EcPrivateKeyBin<'_> = pair
            .private_key()
            .as_be_bytes()
            .expect("a key that was just made can be written");
        let secret = secret
            .as_ref()
            .try_into()
            .map(Secret::new)
            .expect("a P-256 scalar has 32 bytes");
        Self::from_pair(pair, secret)
    }

    /// Takes a secret scalar, big-endian.
    pub fn from_secret(secret: &Secret<32>) -> Result<Self, Malformed> {
        let public =
            agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, secret.expose())
                .map_err(|_| Malformed)?
                .compute_public_key()
                .map_err(|_| Malformed)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            secret.expose(),
            public.as_ref(),
        )
        .map_err(|_| Malformed)?;
        Ok(Self::from_pair(pair, secret.clone()))
    }

    #[expect(clippy::expect_used, reason = "an uncompressed point has 65 bytes")]
    fn from_pair(pair: EcdsaKeyPair, secret: Secret<32>) -> Self {
        let uncompressed: [u8; 65] = pair
            .public_key()
            .as_ref()
            .try_into()
            .expect("an uncompressed point has 65 bytes");
        Self {
            pair,
            secret,
            point: compress(&uncompressed),
            kid: kid_of(&uncompressed),
        }
    }

    /// Returns the secret scalar, for a custodian to keep.
    #[must_use]
    pub fn secret(&self) -> Secret<32> {
        self.secret.clone()
    }

    /// Returns the public key as it travels.
    #[must_use]
    pub const fn point(&self) -> Point {
        self.point
    }

    /// Returns the key's name.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// Returns the key that verifies what this one signs.
    ///
    /// # Panics
    /// Never: a signing key's point lies on the curve.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a signing key's point lies on the curve"
    )]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::from_point(&self.point).expect("a signing key's point lies on the curve")
    }

    /// Signs `body` as `role`.
    #[must_use]
    pub fn sign(&self, role: Role, ctx: &Digest, body: &[&[u8]]) -> Signature {
        self.sign_prehash(&prehash(role, &self.kid, ctx, body))
    }

    /// Signs a prehash that came from [`prehash`] with this key's kid.
    ///
    /// # Panics
    /// Never, unless the operating system has no randomness.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a 32-byte digest and a good key always sign"
    )]
    pub fn sign_prehash(&self, prehash: &Digest) -> Signature {
        let signature = self
            .pair
            .sign_digest(&imported(prehash))
            .expect("a 32-byte digest and a good key always sign");
        let bytes = signature
            .as_ref()
            .try_into()
            .expect("the fixed form has 64 bytes");
        Signature(lower_half(bytes))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.kid)
    }
}

/// A key that verifies, parsed once.
#[derive(Clone)]
pub struct VerifyingKey {
    parsed: ParsedPublicKey,
    point: Point,
    kid: Kid,
}

impl VerifyingKey {
    /// Parses a point; one that is not on the curve, or in another spelling, is malformed.
    pub fn from_point(point: &Point) -> Result<Self, Reject> {
        let uncompressed = decompress(point)?;
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed)
            .map_err(|_| Reject::Malformed)?;
        Ok(Self {
            parsed,
            point: *point,
            kid: kid_of(&uncompressed),
        })
    }

    /// Returns the key's name.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// Returns the key as it travels.
    #[must_use]
    pub const fn point(&self) -> Point {
        self.point
    }

    /// Returns the key in the form that other tools read: SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> Result<[u8; 91], Reject> {
        Ok(spki_of(&decompress(&self.point)?))
    }

    /// Returns whether this key signed `body` as `role`.
    pub fn verify(
        &self,
        role: Role,
        ctx: &Digest,
        body: &[&[u8]],
        signature: &Signature,
    ) -> Result<(), Reject> {
        self.verify_prehash(&prehash(role, &self.kid, ctx, body), signature)
    }

    /// Returns whether this key signed a prehash that came from [`prehash`] with its kid.
    pub fn verify_prehash(&self, prehash: &Digest, signature: &Signature) -> Result<(), Reject> {
        if !signature.is_canonical() {
            return Err(Reject::NotCanonical);
        }
        self.parsed
            .verify_digest_sig(&imported(prehash), &signature.0)
            .map_err(|_| Reject::BadSignature)
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?})", self.kid)
    }
}

/// Returns `r | s` with `s` in the lower half: `n - s` where it was not.
fn lower_half(mut bytes: [u8; 64]) -> [u8; 64] {
    let (_, s) = bytes.split_at_mut(32);
    if *s <= HALF_ORDER[..] {
        return bytes;
    }
    let mut borrow = false;
    for (digit, order) in s.iter_mut().zip(ORDER).rev() {
        let (difference, first) = order.overflowing_sub(*digit);
        let (difference, second) = difference.overflowing_sub(u8::from(borrow));
        *digit = difference;
        borrow = first || second;
    }
    bytes
}

fn compress(uncompressed: &[u8; 65]) -> Point {
    let mut point = [0; 33];
    for (to, from) in point.iter_mut().zip(uncompressed) {
        *to = *from;
    }
    let [.., last] = uncompressed;
    let [first, ..] = &mut point;
    *first = 2 | (last & 1);
    Point(point)
}

fn decompress(point: &Point) -> Result<[u8; 65], Reject> {
    use p256::elliptic_curve::sec1::ToSec1Point as _;

    // SEC1's "compact" form has 33 bytes too: a second spelling, which the parser would take.
    if !matches!(point.0, [2 | 3, ..]) {
        return Err(Reject::Malformed);
    }
    let key = p256::PublicKey::from_sec1_bytes(&point.0).map_err(|_| Reject::Malformed)?;
    let uncompressed = key.to_sec1_point(false);
    uncompressed
        .as_bytes()
        .try_into()
        .map_err(|_| Reject::Malformed)
}

fn kid_of(uncompressed: &[u8; 65]) -> Kid {
    Kid(sha256(&[&SPKI_HEAD, uncompressed]).0)
}

fn spki_of(uncompressed: &[u8; 65]) -> [u8; 91] {
    let mut spki = [0; 91];
    for (to, from) in spki.iter_mut().zip(SPKI_HEAD.iter().chain(uncompressed)) {
        *to = *from;
    }
    spki
}

#[expect(clippy::expect_used, reason = "both are 32 bytes")]
fn imported(prehash: &Digest) -> digest::Digest {
    digest::Digest::import_less_safe(&prehash.0, &digest::SHA256).expect("both are 32 bytes")
}

/// The DER of a P-256 SubjectPublicKeyInfo up to the point.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The order n of the group, big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// (n - 1) / 2, big-endian.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];
