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
    pub(crate) fn decode(
        payload: &[u8],
        device: VerifyingKey,
        transcript: Digest,
    ) -> Result<Self, Reject> {
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

#[cfg(test)]
mod tests {
    use pulseward_base::{Micros, bytes::hex};

    use super::*;
    use crate::frame::{Answer, Answers, Outcome};

    fn ends() -> ((Sealer, Opener), (Sealer, Opener)) {
        let keys = || direction_keys(&[1; 32], &Secret::new([2; 32]), &Digest([3; 32]));
        let ((up, down), (up_again, down_again)) = (keys(), keys());
        (
            (Sealer::new(up), Opener::new(up_again)),
            (Sealer::new(down), Opener::new(down_again)),
        )
    }

    #[test]
    fn the_frames_of_given_keys_are_frozen() {
        let ((mut up, _), (mut down, _)) = ends();
        let answer = Answer {
            seq: pulseward_base::Seq(1),
            d8: [9; 8],
            outcome: Outcome::Rejected(Reject::Forked),
        };
        let answers = DownFrame::Answers(Answers {
            time: Micros(5),
            answers: vec![answer],
        });
        let (kind, payload) = answers.encode().unwrap();
        assert_eq!(
            hex(&payload),
            "05000000000000000100010000000000000009090909090909090400060000000000"
        );
        let digest = |frame: Vec<u8>| hex(&crate::hash::sha256(&[&frame]).0);
        assert_eq!(digest(up.seal(1, b"batch").unwrap()), UP_0);
        assert_eq!(digest(up.seal(1, b"batch").unwrap()), UP_1);
        assert_eq!(digest(down.seal(kind, &payload).unwrap()), DOWN_0);
    }

    // Worked out by a second implementation, in Python, from the page alone.
    const UP_0: &str = "a177a4c51f80a91da8ebf536e23e9e7f0f1f34dcfd252d4c563e5aa88a9adc4d";
    const UP_1: &str = "cd3cd8bb466e5935d87ba6d0dae4e00b85c8634d519e156114e0bbb4a4a4a5d1";
    const DOWN_0: &str = "72a3f3bab5035bd266a75948e6073e30a1d1f8501b03d7779b5a7db49c78e448";

    #[test]
    fn any_padding_but_the_shortest_zeros_is_refused() {
        let plain = frame::pad(1, b"payload").unwrap();
        assert_eq!(frame::unpad(&plain), Ok((1, &b"payload"[..])));
        let mut marked = plain.clone();
        *marked.last_mut().unwrap() = 1;
        let mut longer = plain.clone();
        longer.resize(512 - aead::TAG_SIZE, 0);
        let mut claims_more = plain.clone();
        claims_more[3] = 255;
        for bad in [marked, longer, claims_more, plain[..200].to_vec(), vec![]] {
            assert_eq!(frame::unpad(&bad), Err(Reject::Malformed));
        }
    }

    #[test]
    fn one_direction_does_not_open_the_other() {
        let ((mut up, mut up_opener), (mut down, mut down_opener)) = ends();
        let (sent, answered) = (up.seal(1, b"x").unwrap(), down.seal(1, b"x").unwrap());
        assert_eq!(down_opener.open(&sent).unwrap_err(), Reject::BadSeal);
        assert_eq!(up_opener.open(&answered).unwrap_err(), Reject::BadSeal);
    }

    #[test]
    fn a_counter_at_its_end_seals_and_opens_no_more() {
        let ((mut up, mut opener), _) = ends();
        (up.counter, opener.counter) = (u64::MAX - 1, u64::MAX - 1);
        let last = up.seal(1, b"x").unwrap();
        assert!(opener.open(&last).is_ok());
        assert_eq!(up.seal(1, b"x"), Err(Reject::OverLimit));
        assert!(opener.open(&last).is_err());
    }
}
