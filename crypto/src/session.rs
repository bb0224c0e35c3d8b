//! The service's side of a session: what it opens is a device's word, in order, once.
//!
//! Each direction has a key that both sides contributed to and a counter from 0. A frame that does
//! not open, or comes out of order, ends the session: nothing opens after it.

use std::fmt;

use pulseward_base::{
    Digest, Kid, Reject, Secret,
    bytes::{Malformed, Reader, Writer},
};
use zeroize::Zeroizing;

use crate::{
    aead::{self, Key},
    frame::{self, DownFrame, Status, UpFrame},
    hash::hkdf,
    hello::{Purpose, VerifiedHello},
    sign::{NO_CONTEXT, Point, Role, Signature, SigningKey, VerifyingKey},
    slips::ticket,
};

/// The longest attestation a device may give.
pub const MAX_ATTESTATION: usize = 4096;

impl VerifiedHello {
    /// Welcomes the device: `r` is fresh and random, so that a replayed hello opens nothing. The
    /// message is `R | first frame`.
    pub fn welcome(self, r: [u8; 32], status: &Status) -> Result<(Vec<u8>, ServerSession), Reject> {
        let (up, down) = direction_keys(&r, &self.fields.secret, &self.transcript);
        let mut session = ServerSession {
            up: Opener::new(up),
            down: Sealer::new(down),
            purpose: self.fields.purpose,
            device: self.key,
            transcript: self.transcript,
        };
        let first = session.seal(&DownFrame::Status(status.clone()))?;
        Ok(([&r[..], &first].concat(), session))
    }
}

/// A session as the service holds it.
pub struct ServerSession {
    up: Opener,
    down: Sealer,
    purpose: Purpose,
    device: VerifyingKey,
    transcript: Digest,
}

impl ServerSession {
    /// Opens the device's next frame. After a rejection the session is over.
    pub fn open(&mut self, sealed: &[u8]) -> Result<OpenedFrame, Reject> {
        let plain = self.up.open(sealed)?;
        let opened = self.opened(&plain);
        if opened.is_err() {
            self.up.end();
        }
        opened
    }

    /// Seals the next frame for the device.
    pub fn seal(&mut self, frame: &DownFrame) -> Result<Vec<u8>, Reject> {
        let (kind, payload) = frame.encode()?;
        self.down.seal(kind, &payload)
    }

    /// Returns the kid of the device at the other end.
    #[must_use]
    pub const fn device(&self) -> Kid {
        self.device.kid()
    }

    /// Returns what the session is for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    fn opened(&self, plain: &[u8]) -> Result<OpenedFrame, Reject> {
        let (kind, payload) = frame::unpad(plain)?;
        match (kind, self.purpose) {
            (UpFrame::BATCH, Purpose::Stream) => Ok(OpenedFrame::Batch(OpenedBatchFrame {
                device: self.device.kid(),
                payload: payload.to_vec(),
            })),
            (UpFrame::ENROL, Purpose::Enrol) => {
                OpenedEnrol::decode(payload, self.device.clone(), self.transcript)
                    .map(|enrol| OpenedFrame::Enrol(Box::new(enrol)))
            }
            (UpFrame::BATCH | UpFrame::ENROL, _) => Err(Reject::WrongSession),
            _ => Err(Reject::Malformed),
        }
    }
}

impl fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerSession({:?})", self.purpose)
    }
}

/// A frame whose seal held. Only a session makes one.
#[derive(Debug)]
pub enum OpenedFrame {
    /// A batch, not yet parsed.
    Batch(OpenedBatchFrame),
    /// A wish to enrol, not yet verified.
    Enrol(Box<OpenedEnrol>),
}

/// The bytes of a batch that came through a device's session. Only a session makes one.
pub struct OpenedBatchFrame {
    device: Kid,
    payload: Vec<u8>,
}

impl OpenedBatchFrame {
    /// Returns the device whose session it came through.
    #[must_use]
    pub const fn device(&self) -> Kid {
        self.device
    }

    /// Returns the batch's bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl fmt::Debug for OpenedBatchFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedBatchFrame({} bytes)", self.payload.len())
    }
}

/// A wish to enrol that came through the session of the key that it is about.
pub struct OpenedEnrol {
    device: VerifyingKey,
    transcript: Digest,
    ticket_slip: Vec<u8>,
    attestation: Vec<u8>,
    signed: Vec<u8>,
    signature: Signature,
}

impl OpenedEnrol {
    fn decode(payload: &[u8], device: VerifyingKey, transcript: Digest) -> Result<Self, Reject> {
        let fields = |payload| -> Result<_, Malformed> {
            let mut reader = Reader::new(payload);
            let ticket_slip = reader.take(ticket::SIZE)?.to_vec();
            let length = usize::from(reader.u16()?);
            if length > MAX_ATTESTATION {
                return Err(Malformed);
            }
            let attestation = reader.take(length)?.to_vec();
            let signature = Signature(reader.array()?);
            reader.end()?;
            Ok((ticket_slip, attestation, signature))
        };
        let (ticket_slip, attestation, signature) =
            fields(payload).map_err(|Malformed| Reject::Malformed)?;
        let (signed, _) = payload
            .split_last_chunk::<{ Signature::SIZE }>()
            .ok_or(Reject::Malformed)?;
        Ok(Self {
            device,
            transcript,
            ticket_slip,
            attestation,
            signed: signed.to_vec(),
            signature,
        })
    }

    /// Returns the wish when the session's own key signed it for this very session.
    pub fn verify(self) -> Result<VerifiedEnrol, Reject> {
        self.device.verify(
            Role::Enrol,
            &NO_CONTEXT,
            &[&self.transcript.0, &self.signed],
            &self.signature,
        )?;
        Ok(VerifiedEnrol {
            device: self.device.point(),
            ticket_slip: self.ticket_slip,
            attestation: self.attestation,
        })
    }
}

impl fmt::Debug for OpenedEnrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenedEnrol(..)")
    }
}

/// A wish to enrol, by a device that holds its key. The ticket slip is for the registry to check.
pub struct VerifiedEnrol {
    device: Point,
    ticket_slip: Vec<u8>,
    attestation: Vec<u8>,
}

impl VerifiedEnrol {
    /// Returns the key to enrol.
    #[must_use]
    pub const fn device(&self) -> Point {
        self.device
    }

    /// Returns the ticket slip.
    #[must_use]
    pub fn ticket_slip(&self) -> &[u8] {
        &self.ticket_slip
    }

    /// Returns what the device says about its make and firmware.
    #[must_use]
    pub fn attestation(&self) -> &[u8] {
        &self.attestation
    }
}

impl fmt::Debug for VerifiedEnrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedEnrol(..)")
    }
}

/// Returns a signed payload that asks to enrol `key` in the session of `transcript`.
pub(crate) fn enrol_payload(
    key: &SigningKey,
    transcript: &Digest,
    ticket_slip: &[u8],
    attestation: &[u8],
) -> Result<Vec<u8>, Reject> {
    if ticket_slip.len() != ticket::SIZE {
        return Err(Reject::BadTicket);
    }
    let length = u16::try_from(attestation.len())
        .ok()
        .filter(|length| usize::from(*length) <= MAX_ATTESTATION)
        .ok_or(Reject::TooLarge)?;
    let mut writer = Writer::new();
    writer.put(ticket_slip).u16(length).put(attestation);
    let signature = key.sign(
        Role::Enrol,
        &NO_CONTEXT,
        &[&transcript.0, writer.as_slice()],
    );
    writer.put(&signature.0);
    Ok(writer.into_vec())
}

/// Returns the keys of both directions: up, then down.
pub(crate) fn direction_keys(r: &[u8; 32], secret: &Secret<32>, transcript: &Digest) -> (Key, Key) {
    let key = |word: &[u8]| {
        let info = [b"pulseward/v1/".as_slice(), word, &[0], &transcript.0];
        Key::new(&hkdf(r, secret.expose(), &info))
    };
    (key(b"up"), key(b"down"))
}

/// Seals frames under one key, counting.
pub(crate) struct Sealer {
    key: Key,
    counter: u64,
}

impl Sealer {
    pub(crate) const fn new(key: Key) -> Self {
        Self { key, counter: 0 }
    }

    pub(crate) fn seal(&mut self, kind: u8, payload: &[u8]) -> Result<Vec<u8>, Reject> {
        let mut frame = frame::pad(kind, payload)?;
        let nonce = aead::nonce(self.counter);
        // Before anything is sealed: a nonce is used once, or not at all.
        self.counter = self.counter.checked_add(1).ok_or(Reject::OverLimit)?;
        self.key.seal(nonce, &[], &mut frame);
        Ok(frame)
    }
}

/// Opens frames under one key, counting, until one does not open.
pub(crate) struct Opener {
    key: Option<Key>,
    counter: u64,
}

impl Opener {
    pub(crate) const fn new(key: Key) -> Self {
        Self {
            key: Some(key),
            counter: 0,
        }
    }

    pub(crate) fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Reject> {
        let opened = self.open_next(sealed);
        if opened.is_err() {
            self.end();
        }
        opened
    }

    /// Forgets the key: nothing opens any more.
    pub(crate) fn end(&mut self) {
        self.key = None;
    }

    fn open_next(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Reject> {
        let key = self.key.as_ref().ok_or(Reject::BadSeal)?;
        frame::check_size(sealed)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        key.open(aead::nonce(self.counter), &[], &mut plain)
            .map_err(|_| Reject::BadSeal)?;
        self.counter = self.counter.checked_add(1).ok_or(Reject::OverLimit)?;
        Ok(plain)
    }
}
