//! The registry's leave to unwrap keys of history files, 312 bytes. It is no secret: what `Keys`
//! answers to it is sealed to the reader's key.

use pulseward_base::{
    Digest, Kid, Micros, Reject, SlipId,
    bytes::{Malformed, Reader, Writer},
};

use crate::{
    certificate::{self, CertificateBytes, Use},
    seal::PublicKey,
    sign::{NO_CONTEXT, Role, Signature, SigningKey},
};

/// How many bytes a grant has.
pub const SIZE: usize = 312;

const VERSION: u8 = 1;

/// Which classes of columns a grant covers. The file's structure is covered by every grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(u8);

impl Classes {
    /// Times and context.
    pub const TIMES: Self = Self(1);
    /// Values.
    pub const VALUES: Self = Self(2);
    /// Proofs: they link rows to devices.
    pub const PROOFS: Self = Self(4);

    /// Returns the classes of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether all of `other` are among these.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the bits as they travel.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !7 == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }
}

/// What a reader reads for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum GrantPurpose {
    /// Research.
    Research = 1,
    /// Running the system.
    Operations = 2,
    /// Showing where readings came from.
    Evidence = 3,
}

impl GrantPurpose {
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Research),
            2 => Some(Self::Operations),
            3 => Some(Self::Evidence),
            _ => None,
        }
    }
}

/// What a grant says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTerms {
    /// The grant's name.
    pub id: SlipId,
    /// The key that answers are sealed to.
    pub reader: PublicKey,
    /// Which columns it covers.
    pub classes: Classes,
    /// When it begins to hold.
    pub not_before: Micros,
    /// The last moment at which it holds.
    pub not_after: Micros,
    /// What the reader reads for.
    pub purpose: GrantPurpose,
}

impl GrantTerms {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SIZE);
        writer.u8(VERSION).put(&self.id.0).put(&self.reader);
        writer
            .u8(self.classes.bits())
            .i64(self.not_before.0)
            .i64(self.not_after.0)
            .u8(self.purpose as u8);
        writer.into_vec()
    }
}

/// A grant that was read; it is worth nothing until verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    certificate: CertificateBytes,
    claims: GrantTerms,
    signature: Signature,
}

impl Grant {
    /// Signs what `terms` say.
    #[must_use]
    pub fn issue(
        certificate: &CertificateBytes,
        registry: &SigningKey,
        terms: &GrantTerms,
    ) -> Vec<u8> {
        let body = terms.encode();
        let signature = registry.sign(Role::Grant, &NO_CONTEXT, &[&body]);
        [&certificate[..], &body, &signature.0].concat()
    }

    /// Reads a grant without checking it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let fields = |bytes| -> Result<_, Malformed> {
            let mut reader = Reader::new(bytes);
            let certificate = reader.array()?;
            let version = reader.u8()?;
            let claims = GrantTerms {
                id: SlipId(reader.array()?),
                reader: reader.array()?,
                classes: Classes::from_bits(reader.u8()?).ok_or(Malformed)?,
                not_before: Micros(reader.i64()?),
                not_after: Micros(reader.i64()?),
                purpose: GrantPurpose::from_number(reader.u8()?).ok_or(Malformed)?,
            };
            let grant = Self {
                certificate,
                claims,
                signature: Signature(reader.array()?),
            };
            reader.end()?;
            (version == VERSION).then_some(grant).ok_or(Malformed)
        };
        fields(bytes).map_err(|Malformed| Reject::Malformed)
    }

    /// Returns what the grant says when a registry under `root` signed it and now lies within its
    /// dates.
    pub fn verify(&self, root: &Kid, now: Micros) -> Result<GrantTerms, Reject> {
        let registry = certificate::verify(&self.certificate, root, Use::Registry, now)?;
        let body = self.claims.encode();
        registry.verify(Role::Grant, &NO_CONTEXT, &[&body], &self.signature)?;
        if self.claims.not_before <= now && now <= self.claims.not_after {
            Ok(self.claims)
        } else {
            Err(Reject::NotAdmitted)
        }
    }
}

/// Returns the context under which the key behind `handle` is sealed to the reader of `grant`.
#[must_use]
pub fn answer_context(grant: &[u8], handle: &str) -> Digest {
    crate::hash::sha256(&[grant, handle.as_bytes()])
}

/// The purpose under which keys are sealed to a grant's reader.
pub const ANSWER_PURPOSE: &str = "dek";
