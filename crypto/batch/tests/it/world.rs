//! A device, its session and its readings, as the tests set them up.

use pulseward_base::{Digest, Incarnation, KeyId, Kid, Micros, Pseudonym, Reject, Seq, Slot};
use pulseward_batch::{
    Arrival, BindingFacts, NewBatch, OpenedBatch, PseudonymousBatch, SignedBatch, VerifiedBatch,
    digest::Place,
};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    client::ClientSession,
    frame::{AdmissionToken, Status, UpFrame},
    hello::Resume,
    offer::{ClientOffer, ServiceOffer},
    random,
    session::{OpenedBatchFrame, OpenedFrame, ServerSession},
    slips::{Enrolment, Record, record},
};
use pulseward_vitals::{Columns, Kind, Leaf, Limits, Row};

pub(crate) const NOW: Micros = Micros(1_800_000_000_000_000);
pub(crate) const EVERYTHING: u64 = u64::MAX;

pub(crate) const PLACE: Place = Place {
    incarnation: Incarnation([1; 16]),
    seq: Seq(7),
    time: NOW,
};

/// A device with its enrolment under `root`.
pub(crate) struct Device {
    pub(crate) key: SigningKey,
    pub(crate) ctx: Digest,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self::enrolled(SigningKey::generate(), Kid([2; 32]))
    }

    pub(crate) fn enrolled(key: SigningKey, root: Kid) -> Self {
        let enrolment = Enrolment {
            device: key.point(),
            root,
            scope: EVERYTHING,
            attestation: 1,
            time: NOW,
        };
        let ctx = record::digest(&Record::issue(&SigningKey::generate(), &enrolment));
        Self { key, ctx }
    }

    pub(crate) fn sign(&self, columns: &Columns) -> SignedBatch {
        NewBatch::new(PLACE, columns).sign(&self.key, &self.ctx)
    }

    /// Sends `payload` through a session and returns what the service opens.
    pub(crate) fn send(&self, payload: &[u8]) -> OpenedBatchFrame {
        let (mut client, mut server) = self.session();
        let sealed = client.seal(&UpFrame::Batch(payload.to_vec())).unwrap();
        match server.open(&sealed).unwrap() {
            OpenedFrame::Batch(frame) => frame,
            OpenedFrame::Enrol(_) => panic!("a batch was sent"),
        }
    }

    pub(crate) fn accept(&self, payload: &[u8]) -> Result<VerifiedBatch, Reject> {
        let opened = OpenedBatch::parse(&self.send(payload), Limits::default())?;
        opened.verify(&self.key.verifying_key(), &self.ctx, EVERYTHING)
    }

    pub(crate) fn facts(&self) -> BindingFacts {
        BindingFacts {
            device: self.key.kid(),
            record: self.ctx,
            pseudonym: Pseudonym([3; 16]),
            key: KeyId([4; 16]),
            slot: Slot(5),
        }
    }

    pub(crate) fn pseudonymous(&self, columns: &Columns) -> PseudonymousBatch {
        let arrival = Arrival {
            received: Micros(NOW.0 + 9),
            clock_offset: -3,
        };
        let verified = self.accept(&self.sign(columns).payload).unwrap();
        verified.pseudonymise(&self.facts(), arrival).unwrap()
    }

    fn session(&self) -> (ClientSession, ServerSession) {
        let (root, service) = (SigningKey::generate(), SigningKey::generate());
        let until = Micros(NOW.0 + 1);
        let certificate = certificate::issue(&root, Use::Service, &service.point(), NOW, until);
        let offer = ServiceOffer::new(&root.kid(), &certificate, &service, NOW, until);
        let checked = ClientOffer::check(offer.message(), &root.kid(), NOW).unwrap();
        let resume = Resume {
            incarnation: PLACE.incarnation,
            last_acknowledged: None,
        };
        let (hello, pending) = checked
            .hello_stream(&self.key, &self.ctx, NOW, resume, AdmissionToken::NONE)
            .unwrap();
        let opened = offer.open_hello(&hello).unwrap();
        let verified = opened.verify(&self.key.verifying_key(), &self.ctx).unwrap();
        let status = Status {
            time: NOW,
            last_durable: None,
            max_in_flight: 32,
            max_batch_bytes: 65_536,
            max_backlog_age_seconds: 60,
            tokens: vec![],
        };
        let (welcome, server) = verified.welcome(random::bytes(), &status).unwrap();
        (pending.welcome(&welcome).unwrap().0, server)
    }
}

pub(crate) fn leaf(kind: Kind, channel: u8, rows: &[(i64, i32)]) -> Leaf {
    let row = |&(time, value): &(i64, i32)| Row {
        time: Micros(time),
        value,
        quality: 0,
    };
    Leaf {
        kind,
        channel,
        rows: rows.iter().map(row).collect(),
    }
}

pub(crate) fn columns() -> Columns {
    Columns::new(vec![
        leaf(Kind::HeartRate, 0, &[(1, 720), (2, 730)]),
        leaf(Kind::SpO2, 0, &[(1, 970)]),
        leaf(Kind::Temperature, 1, &[(1, i32::MIN), (2, i32::MAX)]),
    ])
    .unwrap()
}
