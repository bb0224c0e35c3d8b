//! The digests a device signs, so built that a leaf can be dropped later and the rest still shown.
//!
//! A leaf's digest is salted: who keeps the digests of dropped leaves cannot guess their readings.

use pulseward_base::{Digest, Incarnation, Kid, Micros, Seq, bytes::Writer};
use pulseward_crypto::{
    hash::{hmac, sha256},
    sign::{Role, prehash},
};
use pulseward_vitals::{Columns, Leaf, columns::encode_leaf};

/// The random seed of one batch, from which its leaves' salts come.
pub type Seed = [u8; 32];

/// What blinds one leaf's digest.
pub type Salt = [u8; 16];

/// Returns the salt of the leaf at `index`.
#[must_use]
pub fn leaf_salt(seed: &Seed, index: u32) -> Salt {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = hmac(seed, &[&index.to_le_bytes()]);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// Returns a leaf's digest.
#[must_use]
pub fn leaf_digest(salt: &Salt, leaf: &Leaf) -> Digest {
    let mut writer = Writer::with_capacity(8 + leaf.rows.len() * 13);
    encode_leaf(leaf, &mut writer);
    sha256(&[b"pulseward/v1/leaf", &[0], salt, writer.as_slice()])
}

/// Returns the digest over the digests of all leaves, in order.
#[must_use]
pub fn readings_digest_of(leaves: &[Digest]) -> Digest {
    let count = u32::try_from(leaves.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let mut parts: Vec<&[u8]> = vec![b"pulseward/v1/readings", &[0], &count];
    parts.extend(leaves.iter().map(|leaf| &leaf.0[..]));
    sha256(&parts)
}

/// Returns the digest RD of a batch's readings.
#[must_use]
pub fn readings_digest(seed: &Seed, columns: &Columns) -> Digest {
    let leaves: Vec<_> = (0..)
        .zip(columns.leaves())
        .map(|(index, leaf)| leaf_digest(&leaf_salt(seed, index), leaf))
        .collect();
    readings_digest_of(&leaves)
}

/// What a batch's D names beside its readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The queue it is in.
    pub incarnation: Incarnation,
    /// Its number there.
    pub seq: Seq,
    /// The device's clock when it was made.
    pub time: Micros,
}

/// Returns a batch's D: what its device signs.
#[must_use]
pub fn batch_digest(device: &Kid, ctx: &Digest, place: &Place, readings: &Digest) -> Digest {
    let body: [&[u8]; 4] = [
        &place.incarnation.0,
        &place.seq.0.to_le_bytes(),
        &place.time.0.to_le_bytes(),
        &readings.0,
    ];
    prehash(Role::Batch, device, ctx, &body)
}
