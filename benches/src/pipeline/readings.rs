//! A device in a session, and the batch of sixty readings that it sends every minute.

use pulseward_base::{Digest, Incarnation, KeyId, Kid, Micros, Pseudonym, Reject, Seq, Slot};
use pulseward_batch::{BindingFacts, NewBatch, SignedBatch, digest::Place};
use pulseward_crypto::{
    SigningKey, VerifyingKey,
    certificate::{self, Use},
    client::ClientSession,
    frame::{AdmissionToken, Status, UpFrame},
    hello::Resume,
    offer::{ClientOffer, ServiceOffer},
    random,
    session::ServerSession,
    slips::{Enrolment, Record, record},
};
use pulseward_vitals::{Columns, Kind, Leaf, Row};

/// How many readings a batch has.
pub(crate) const READINGS: usize = 60;
/// The four kinds that a wrist or chest sensor sends, each four seconds one of each: how high they
/// are, and how they change with each step for the worse.
const KINDS: [(Kind, i32, i32); 4] = [
    (Kind::HeartRate, 720, 20),
    (Kind::SpO2, 970, -4),
    (Kind::RespiratoryRate, 160, 6),
    (Kind::Temperature, 3690, 8),
];
pub(crate) const NOW: Micros = Micros(1_800_000_000_000_000);
pub(crate) const DAY: i64 = 86_400_000_000;

/// Returns a minute's readings.
pub(crate) fn minute() -> Result<Columns, Reject> {
    minute_of(NOW, 0)
}

/// Returns the readings of the minute from `start`, of somebody who has grown `worse` by so many
/// steps.
pub(crate) fn minute_of(start: Micros, worse: i32) -> Result<Columns, Reject> {
    let leaf = |(kind, level, step): (Kind, i32, i32)| {
        let row = |at: i32| Row {
            time: Micros(start.0 + i64::from(at) * 4_000_000),
            value: level + at * 7 % 10 + worse * step,
            quality: 0,
        };
        let count = i32::try_from(READINGS / KINDS.len()).unwrap_or(i32::MAX);
        Leaf {
            kind,
            channel: 0,
            rows: (0..count).map(row).collect(),
        }
    };
    Columns::new(KINDS.into_iter().map(leaf).collect())
}

/// A device with a session, and the service at the other end of it.
pub(crate) struct Wearable {
    key: SigningKey,
    record: Digest,
    client: ClientSession,
    pub(crate) server: ServerSession,
    next: u64,
}

impl Wearable {
    pub(crate) fn in_session() -> Result<Self, Reject> {
        let (root, service, key) = (
            SigningKey::generate(),
            SigningKey::generate(),
            SigningKey::generate(),
        );
        let enrolment = Enrolment {
            device: key.point(),
            root: root.kid(),
            scope: u64::MAX,
            attestation: 1,
            time: NOW,
        };
        let record = record::digest(&Record::issue(&SigningKey::generate(), &enrolment));
        let until = Micros(NOW.0 + DAY);
        let certificate = certificate::issue(&root, Use::Service, &service.point(), NOW, until);
        let offer = ServiceOffer::new(&root.kid(), &certificate, &service, NOW, until);
        let resume = Resume {
            incarnation: Incarnation([1; 16]),
            last_acknowledged: None,
        };
        let (hello, pending) = ClientOffer::check(offer.message(), &root.kid(), NOW)?
            .hello_stream(&key, &record, NOW, resume, AdmissionToken::NONE)?;
        let (welcome, server) = offer
            .open_hello(&hello)?
            .verify(&key.verifying_key(), &record)?
            .welcome(random::bytes(), &status())?;
        Ok(Self {
            client: pending.welcome(&welcome)?.0,
            key,
            record,
            server,
            next: 0,
        })
    }

    /// Signs the next batch.
    pub(crate) fn sign(&mut self, columns: &Columns) -> SignedBatch {
        let place = Place {
            incarnation: Incarnation([1; 16]),
            seq: Seq(self.next),
            time: NOW,
        };
        self.next += 1;
        NewBatch::new(place, columns).sign(&self.key, &self.record)
    }

    /// Signs the next batch and seals it for the service.
    pub(crate) fn send(&mut self, columns: &Columns) -> Result<Vec<u8>, Reject> {
        let batch = self.sign(columns);
        self.client.seal(&UpFrame::Batch(batch.payload))
    }

    pub(crate) fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Returns what the registry says of the device.
    pub(crate) fn facts(&self) -> BindingFacts {
        BindingFacts {
            device: self.kid(),
            record: self.record,
            pseudonym: Pseudonym([3; 16]),
            key: KeyId([4; 16]),
            slot: Slot(5),
        }
    }

    fn kid(&self) -> Kid {
        self.key.kid()
    }
}

pub(crate) fn status() -> Status {
    Status {
        time: NOW,
        last_durable: None,
        max_in_flight: 32,
        max_batch_bytes: 65_536,
        max_backlog_age_seconds: 60,
        tokens: Vec::new(),
    }
}
