//! What all signed files here have in common: a body under a checksum, then whoever vouches for it.
//!
//! ```text
//! magic (8) | version u16 | body | CRC-32C u32 of all before | operator's certificate (148) | signature (64)
//! ```
//! The signature is of role `model`, without context, over everything before the certificate. The
//! magic is under it, so a model is never shown as a promotion.

use pulseward_base::{
    Digest, Kid, Micros, Reject,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{
    certificate::{self, CertificateBytes, Use},
    hash::sha256,
    sign::{NO_CONTEXT, Role, Signature, SigningKey},
};

use super::ArtefactError;

const VERSION: u16 = 1;
const SEAL_BYTES: usize = certificate::SIZE + Signature::SIZE;

/// A kind of file.
pub(crate) struct Form {
    pub(crate) magic: [u8; 8],
    pub(crate) most_bytes: usize,
    /// Takes the body, whatever it says, so that its end is known.
    pub(crate) skip: fn(&mut Reader<'_>) -> Result<(), Malformed>,
}

/// Who signs: an operator's key with its certificate of use 4.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The key.
    pub key: &'a SigningKey,
    /// The root's word for it.
    pub certificate: &'a CertificateBytes,
}

/// Whom to believe, and when it is.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// The root that certifies operators.
    pub root: Kid,
    /// Now.
    pub now: Micros,
}

/// A file in order.
pub(crate) struct Opened<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) digest: Digest,
    pub(crate) signer: Kid,
}

/// A file whose checksum holds, by its parts.
pub(crate) struct Parts<'a> {
    pub(crate) body: &'a [u8],
    unsigned: &'a [u8],
    pub(crate) seal: &'a [u8],
}

impl Form {
    /// Puts head and checksum around a body.
    pub(crate) fn unsigned(&self, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put(&self.magic).u16(VERSION);
        body(&mut writer);
        let checksum = crc32c::crc32c(writer.as_slice());
        writer.u32(checksum);
        writer.into_vec()
    }

    /// Checks all but who vouches for it.
    pub(crate) fn split<'a>(&self, bytes: &'a [u8]) -> Result<Parts<'a>, ArtefactError> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>() != Ok(self.magic) {
            return Err(ArtefactError::OtherFile);
        }
        if bytes.len() > self.most_bytes {
            return Err(ArtefactError::TooLarge);
        }
        if reader.u16() != Ok(VERSION) {
            return Err(ArtefactError::Version);
        }
        let damaged = |Malformed| ArtefactError::Damaged;
        let from_body = reader.rest();
        (self.skip)(&mut reader).map_err(damaged)?;
        let rest = reader.rest().len();
        let summed = bytes.get(..bytes.len() - rest).unwrap_or_default();
        let body = from_body.get(..from_body.len() - rest).unwrap_or_default();
        if reader.u32().map_err(damaged)? != crc32c::crc32c(summed) {
            return Err(ArtefactError::Damaged);
        }
        let seal = reader.rest();
        let unsigned = bytes.get(..bytes.len() - seal.len()).unwrap_or_default();
        Ok(Parts {
            body,
            unsigned,
            seal,
        })
    }

    /// Checks a file and who vouches for it. Only then is its body worth decoding.
    pub(crate) fn open<'a>(
        &self,
        bytes: &'a [u8],
        trust: &Trust,
    ) -> Result<Opened<'a>, ArtefactError> {
        let parts = self.split(bytes)?;
        if parts.seal.is_empty() {
            return Err(ArtefactError::Unsigned);
        }
        if parts.seal.len() != SEAL_BYTES {
            return Err(ArtefactError::Damaged);
        }
        let mut reader = Reader::new(parts.seal);
        let certificate: CertificateBytes = reader.array()?;
        let signature = Signature(reader.array()?);
        let signer = certificate::verify(&certificate, &trust.root, Use::Operator, trust.now)
            .map_err(|_: Reject| ArtefactError::NotCertified)?;
        signer
            .verify(Role::Model, &NO_CONTEXT, &[parts.unsigned], &signature)
            .map_err(|_: Reject| ArtefactError::BadSignature)?;
        Ok(Opened {
            body: parts.body,
            digest: sha256(&[parts.unsigned]),
            signer: signer.kid(),
        })
    }
}

/// Puts a signer's certificate and signature behind unsigned bytes.
pub(crate) fn seal(mut unsigned: Vec<u8>, signer: &Signer<'_>) -> Vec<u8> {
    let signature = signer.key.sign(Role::Model, &NO_CONTEXT, &[&unsigned]);
    unsigned.extend(signer.certificate);
    unsigned.extend(signature.0);
    unsigned
}
