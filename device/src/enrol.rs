//! Becoming a patient's device: a ticket slip in, an enrolment record out.

use std::sync::Arc;

use pulseward_base::{Digest, Kid, Reject};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    frame::{AdmissionToken, DownFrame, Outcome},
    slips::{
        record::{self, Record, RecordBytes},
        ticket::TicketSlip,
    },
};

use crate::{
    clock::DeviceClock,
    link::{Link, LinkError, LinkSettings, connect},
};

/// What a device is after it enrolled. All of it but the key may be seen; the device keeps it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The device's own key. It serves this enrolment and no other.
    pub key: Arc<SigningKey>,
    /// The pipeline's root.
    pub root: Kid,
    /// The enrolment record.
    pub record: RecordBytes,
    /// Which kinds may be sent: bit k set = kind number k.
    pub scope: u64,
}

impl Identity {
    /// Returns the context of the device's signatures.
    #[must_use]
    pub fn context(&self) -> Digest {
        record::digest(&self.record)
    }

    /// Returns the device's name.
    #[must_use]
    pub fn kid(&self) -> Kid {
        self.key.kid()
    }
}

/// Why a device did not enrol. Only [`EnrolError::Rejected`] is the service's word, and only it is
/// final for this ticket and key.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The ticket slip is not one.
    #[error("the ticket slip is damaged")]
    Slip(Reject),
    /// The stream was of no use: try again.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The service said, sealed, that it does not enrol this key by this ticket.
    #[error("the service does not enrol this device: {0}")]
    Rejected(Reject),
    /// What the service gave is not a record of this device.
    #[error("the enrolment record does not hold: {0}")]
    Record(Reject),
}

/// Enrols `key` by a ticket slip. The same key may ask again with the same slip, and is given the
/// same record.
pub async fn enrol(
    settings: &LinkSettings,
    clock: &DeviceClock,
    key: Arc<SigningKey>,
    slip: &[u8],
    attestation: &[u8],
) -> Result<Identity, EnrolError> {
    let root = TicketSlip::decode(slip).map_err(EnrolError::Slip)?.root();
    let channel = connect(settings).await?;
    let mut link = Link::open(channel, settings).await?;
    let hello = |offer: &pulseward_crypto::offer::ClientOffer| {
        offer.hello_enrol(&key, clock.now(), AdmissionToken::NONE)
    };
    let (mut session, _) = link.be_welcomed(&root, clock, None, hello).await?;
    let wish = session
        .enrol(&key, slip, attestation)
        .map_err(EnrolError::Slip)?;
    link.send_sealed(&mut session, &wish).await?;
    match link.frame_soon(&mut session).await? {
        DownFrame::Record {
            certificate,
            record,
        } => checked(&certificate, record, root, key, clock).map_err(EnrolError::Record),
        DownFrame::Answers(answers) => Err(refused(answers.answers.first().map(|a| a.outcome))),
        DownFrame::Status(_) => Err(LinkError::OutOfTurn.into()),
    }
}

fn refused(outcome: Option<Outcome>) -> EnrolError {
    match outcome {
        Some(Outcome::Rejected(reject)) => EnrolError::Rejected(reject),
        // Not a word on the ticket: the device comes again.
        Some(Outcome::RetryAfter { .. }) => LinkError::Late.into(),
        _ => LinkError::OutOfTurn.into(),
    }
}

fn checked(
    certificate: &certificate::CertificateBytes,
    bytes: RecordBytes,
    root: Kid,
    key: Arc<SigningKey>,
    clock: &DeviceClock,
) -> Result<Identity, Reject> {
    let registry = certificate::verify(certificate, &root, Use::Registry, clock.now())?;
    let enrolment = Record::decode(&bytes)?.verify(&registry)?;
    if enrolment.device != key.point() || enrolment.root != root {
        return Err(Reject::NotAdmitted);
    }
    Ok(Identity {
        key,
        root,
        record: bytes,
        scope: enrolment.scope,
    })
}
