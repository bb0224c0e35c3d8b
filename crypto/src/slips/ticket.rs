//! The vault's leave to enrol one device, 393 bytes, opaque to everybody between.
//!
//! The ticket proper names no patient: it commits to `SHA-256(salt | handle)`. Handle, salt and the
//! handle that the vault sealed for itself ride beside it, to the pseudonymiser only.

use std::fmt;

use pulseward_base::{
    Digest, Kid, Micros, Reject, TicketId,
    bytes::{Malformed, Reader, Writer},
};

use super::SealedHandle;
use crate::{
    certificate::{self, CertificateBytes, Use},
    hash::sha256,
    sign::{NO_CONTEXT, Role, Signature, SigningKey},
};

/// How many bytes a ticket slip has.
pub const SIZE: usize = 393;

const VERSION: u8 = 1;

/// What a ticket grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketTerms {
    /// The ticket's name; it is spent once.
    pub id: TicketId,
    /// The pipeline's root, which the device pins.
    pub root: Kid,
    /// The project the readings are for.
    pub project: u32,
    /// The last moment at which it may be spent.
    pub expiry: Micros,
    /// Bit k is set when kind number k may be sent.
    pub scope: u64,
    /// The version of what the person agreed to.
    pub consent_version: u32,
}

impl TicketTerms {
    fn encode(&self, commitment: &Digest) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SIZE);
        writer.u8(VERSION).put(&self.id.0).put(&self.root.0);
        writer
            .u32(self.project)
            .i64(self.expiry.0)
            .u64(self.scope)
            .u32(self.consent_version)
            .put(&commitment.0);
        writer.into_vec()
    }
}

/// The three values that ride beside a ticket. `Debug` is blind: the handle stands for a person.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Riders {
    /// The vault's random name for the person.
    pub handle: [u8; 16],
    /// What blinds the commitment to the handle.
    pub salt: [u8; 16],
    /// The handle, sealed by the vault for itself.
    pub sealed_handle: SealedHandle,
}

impl Riders {
    fn commitment(&self) -> Digest {
        sha256(&[&self.salt, &self.handle])
    }
}

impl fmt::Debug for Riders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Riders(..)")
    }
}

/// A ticket that holds, with its riders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// What it grants.
    pub terms: TicketTerms,
    /// What rides beside it.
    pub riders: Riders,
}

/// A ticket slip that was read; it is worth nothing until verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketSlip {
    certificate: CertificateBytes,
    terms: TicketTerms,
    commitment: Digest,
    signature: Signature,
    riders: Riders,
}

impl TicketSlip {
    /// Signs `terms` for the person that `riders` stand for.
    #[must_use]
    pub fn issue(
        certificate: &CertificateBytes,
        vault: &SigningKey,
        terms: &TicketTerms,
        riders: &Riders,
    ) -> Vec<u8> {
        let body = terms.encode(&riders.commitment());
        let signature = vault.sign(Role::Ticket, &NO_CONTEXT, &[&body]);
        let mut writer = Writer::with_capacity(SIZE);
        writer.put(certificate).put(&body).put(&signature.0);
        writer
            .put(&riders.handle)
            .put(&riders.salt)
            .put(&riders.sealed_handle.0);
        writer.into_vec()
    }

    /// Reads a ticket slip without checking it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let fields = |bytes| -> Result<_, Malformed> {
            let mut reader = Reader::new(bytes);
            let certificate = reader.array()?;
            let version = reader.u8()?;
            let terms = TicketTerms {
                id: TicketId(reader.array()?),
                root: Kid(reader.array()?),
                project: reader.u32()?,
                expiry: Micros(reader.i64()?),
                scope: reader.u64()?,
                consent_version: reader.u32()?,
            };
            let slip = Self {
                certificate,
                terms,
                commitment: Digest(reader.array()?),
                signature: Signature(reader.array()?),
                riders: Riders {
                    handle: reader.array()?,
                    salt: reader.array()?,
                    sealed_handle: SealedHandle(reader.array()?),
                },
            };
            reader.end()?;
            (version == VERSION).then_some(slip).ok_or(Malformed)
        };
        fields(bytes).map_err(|Malformed| Reject::Malformed)
    }

    /// Returns the root that the device pins. The device has the slip from the clinic and trusts
    /// that hand; nobody else may use this before [`TicketSlip::verify`].
    #[must_use]
    pub const fn root(&self) -> Kid {
        self.terms.root
    }

    /// Returns the ticket when the vault under `vault_root` signed it for the pipeline of
    /// `pipeline_root`, it has not expired, and the riders are those it commits to. Everything that
    /// is wrong is one answer: [`Reject::BadTicket`].
    pub fn verify(
        &self,
        vault_root: &Kid,
        pipeline_root: &Kid,
        now: Micros,
    ) -> Result<Ticket, Reject> {
        let holds = certificate::verify(&self.certificate, vault_root, Use::Vault, now)
            .and_then(|vault| {
                let body = self.terms.encode(&self.commitment);
                vault.verify(Role::Ticket, &NO_CONTEXT, &[&body], &self.signature)
            })
            .is_ok();
        let fits = self.terms.root == *pipeline_root
            && now <= self.terms.expiry
            && self.riders.commitment() == self.commitment;
        if holds && fits {
            Ok(Ticket {
                terms: self.terms,
                riders: self.riders,
            })
        } else {
            Err(Reject::BadTicket)
        }
    }
}
