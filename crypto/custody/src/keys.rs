//! Whom the stages ask for keys.

use std::fmt;

use async_trait::async_trait;
use pulseward_base::{GroupId, KeyId, Kid, Micros, Pseudonym, Reject, Secret, Slot};
use pulseward_crypto::{
    Point, certificate::CertificateBytes, slips::SealedHandle, slips::binding::BindingBytes,
    slips::record::RecordBytes,
};

/// Why a key was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key was destroyed: what it sealed is gone. Count it and go on.
    #[error("the key was destroyed")]
    Erased,
    /// The key may exist but cannot be had now. Wait; nothing may be skipped.
    #[error("the key is not available now")]
    Unavailable,
    /// The asker is at fault.
    #[error("refused: {0}")]
    Refused(Reject),
    /// The ticket was spent by this device before: the asker is refused, and that device is to be
    /// suspended.
    #[error("the ticket was spent by another device")]
    TicketReused(Kid),
}

/// Where patients' keys come from.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// Admits a device for the patient of its ticket. Durable before it returns; the same ticket
    /// with the same device gets the same answer again.
    async fn admit(&self, request: &AdmitRequest) -> Result<Admission, KeyError>;

    /// Returns a patient's key.
    async fn open(&self, key: &KeyId) -> Result<PatientKey, KeyError>;

    /// Destroys a patient's key for good. Destroying it again does nothing.
    async fn erase(&self, key: &KeyId) -> Result<(), KeyError>;

    /// Returns the keys of a log itself, made at their first use.
    async fn log_key(&self, log: &[u8; 16]) -> Result<LogKeys, KeyError>;
}

/// Where history's files get their keys: one a file.
#[async_trait]
pub trait FileKeys: Send + Sync {
    /// Makes the key of a new file, durable before it returns. A file that has one keeps it.
    async fn create(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError>;

    /// Returns a file's key.
    async fn open(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError>;

    /// Destroys a file's key for good. Destroying it again does nothing.
    async fn destroy(&self, file: [u8; 16]) -> Result<(), KeyError>;
}

/// A device's wish to be admitted, once it has shown that it holds its key.
#[derive(Clone, PartialEq, Eq)]
pub struct AdmitRequest {
    /// The vault's slip.
    pub ticket_slip: Vec<u8>,
    /// The device's key.
    pub device: Point,
    /// What the device says about its make and firmware.
    pub attestation: Vec<u8>,
    /// The time of the wish.
    pub now: Micros,
}

impl fmt::Debug for AdmitRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdmitRequest(..)")
    }
}

/// A device's admission: what it gets, and what the log keeps.
#[derive(Clone, PartialEq, Eq)]
pub struct Admission {
    /// The registry's certificate.
    pub certificate: CertificateBytes,
    /// The enrolment record, for the device.
    pub record: RecordBytes,
    /// Whose device it is, for the log.
    pub binding: BindingBytes,
    /// The patient, as the pipeline knows one.
    pub pseudonym: Pseudonym,
    /// The name of the patient's key.
    pub key: KeyId,
    /// The patient's slot.
    pub slot: Slot,
    /// The group whose history shares files.
    pub group: GroupId,
    /// Bit k is set when kind number k may be sent.
    pub scope: u64,
    /// The person, as only the vault can read it.
    pub sealed_handle: SealedHandle,
    /// The version of what the person agreed to.
    pub consent_version: u32,
    /// What the log remembers of the spent ticket.
    pub ticket_mac: [u8; 32],
    /// The device.
    pub kid: Kid,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({:?})", self.kid)
    }
}

/// A patient's key: what log, state, scores and alerts are sealed under.
#[derive(Clone, Debug)]
pub struct PatientKey(Secret<32>);

impl PatientKey {
    /// Takes charge of a key.
    #[must_use]
    pub const fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Returns the secret that keys are derived from.
    #[must_use]
    pub const fn secret(&self) -> &Secret<32> {
        &self.0
    }
}

/// The keys of a log itself.
#[derive(Clone, Debug)]
pub struct LogKeys {
    /// What entries that are no patient's are sealed under.
    pub own: Secret<32>,
    /// What every entry's mac is made with.
    pub mac: Secret<32>,
}
