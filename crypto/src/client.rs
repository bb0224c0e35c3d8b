//! The device's side of a session.

use std::fmt;

use pulseward_base::{Digest, Incarnation, Micros, Reject, Secret};

use crate::{
    frame::{self, AdmissionToken, DownFrame, Status, UpFrame},
    hash::sha256,
    hello::{self, NewHello, Purpose, Resume},
    offer::ClientOffer,
    random,
    seal::{self, Sender},
    session::{Opener, Sealer, direction_keys, enrol_payload},
    sign::{NO_CONTEXT, SigningKey},
};

impl ClientOffer {
    /// Says hello to send batches. `ctx` is the digest of the device's enrolment record.
    pub fn hello_stream(
        &self,
        key: &SigningKey,
        ctx: &Digest,
        time: Micros,
        resume: Resume,
        token: AdmissionToken,
    ) -> Result<(Vec<u8>, PendingSession), Reject> {
        let new = NewHello {
            purpose: Purpose::Stream,
            time,
            resume,
        };
        self.hello(&new, key, ctx, token)
    }

    /// Says hello to enrol `key`.
    pub fn hello_enrol(
        &self,
        key: &SigningKey,
        time: Micros,
        token: AdmissionToken,
    ) -> Result<(Vec<u8>, PendingSession), Reject> {
        let resume = Resume {
            incarnation: Incarnation::ZERO,
            last_acknowledged: None,
        };
        let new = NewHello {
            purpose: Purpose::Enrol,
            time,
            resume,
        };
        self.hello(&new, key, &NO_CONTEXT, token)
    }

    fn hello(
        &self,
        new: &NewHello,
        key: &SigningKey,
        ctx: &Digest,
        token: AdmissionToken,
    ) -> Result<(Vec<u8>, PendingSession), Reject> {
        let secret = random::secret();
        let sender = Sender::new(&self.key, hello::PURPOSE, &self.facts.digest)?;
        let enc = *sender.enc();
        let plain = hello::signed_plaintext(new, &secret, key, ctx, (&self.facts, &enc))?;
        let ciphertext = sender.seal(&plain)?;
        let id = self.id().0;
        let message = [&id[..], &[seal::SUITE_P256], &token.0, &enc, &ciphertext].concat();
        let transcript = sha256(&[&self.offer, &message]);
        Ok((message, PendingSession { secret, transcript }))
    }
}

/// A hello that was said and waits for its welcome.
pub struct PendingSession {
    secret: Secret<32>,
    transcript: Digest,
}

impl PendingSession {
    /// Takes the service's welcome: only who opened the hello could have made it.
    pub fn welcome(self, message: &[u8]) -> Result<(ClientSession, Status), Reject> {
        let (r, first) = message.split_first_chunk::<32>().ok_or(Reject::Malformed)?;
        let (up, down) = direction_keys(r, &self.secret, &self.transcript);
        let mut session = ClientSession {
            up: Sealer::new(up),
            down: Opener::new(down),
            transcript: self.transcript,
        };
        match session.open(first)? {
            DownFrame::Status(status) => Ok((session, status)),
            DownFrame::Answers(_) | DownFrame::Record { .. } => Err(Reject::Malformed),
        }
    }
}

impl fmt::Debug for PendingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingSession(..)")
    }
}

/// A session as the device holds it.
pub struct ClientSession {
    up: Sealer,
    down: Opener,
    transcript: Digest,
}

impl ClientSession {
    /// Seals the next frame for the service.
    pub fn seal(&mut self, frame: &UpFrame) -> Result<Vec<u8>, Reject> {
        let (kind, payload) = frame.parts();
        self.up.seal(kind, payload)
    }

    /// Returns the frame that asks to enrol `key`, which said this session's hello.
    pub fn enrol(
        &self,
        key: &SigningKey,
        ticket_slip: &[u8],
        attestation: &[u8],
    ) -> Result<UpFrame, Reject> {
        enrol_payload(key, &self.transcript, ticket_slip, attestation).map(UpFrame::Enrol)
    }

    /// Opens the service's next frame. After a rejection the session is over.
    pub fn open(&mut self, sealed: &[u8]) -> Result<DownFrame, Reject> {
        let plain = self.down.open(sealed)?;
        let opened =
            frame::unpad(&plain).and_then(|(kind, payload)| DownFrame::decode(kind, payload));
        if opened.is_err() {
            self.down.end();
        }
        opened
    }
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSession(..)")
    }
}
