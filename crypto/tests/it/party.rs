//! The parties of a session, as the tests set them up.

use pulseward_base::{Digest, Incarnation, Micros, Seq};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, CertificateBytes, Use},
    client::{ClientSession, PendingSession},
    frame::{AdmissionToken, Status},
    hello::Resume,
    offer::{ClientOffer, ServiceOffer},
    random,
    session::ServerSession,
};

pub(crate) const NOW: Micros = Micros(1_800_000_000_000_000);
pub(crate) const HOUR: i64 = 3_600_000_000;

pub(crate) const fn hours(count: i64) -> Micros {
    Micros(NOW.0 + count * HOUR)
}

/// A service with its root.
pub(crate) struct Service {
    pub(crate) root: SigningKey,
    pub(crate) key: SigningKey,
    pub(crate) certificate: CertificateBytes,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self::under(SigningKey::generate())
    }

    pub(crate) fn under(root: SigningKey) -> Self {
        let key = SigningKey::generate();
        let certificate =
            certificate::issue(&root, Use::Service, &key.point(), hours(-24), hours(24));
        Self {
            root,
            key,
            certificate,
        }
    }

    pub(crate) fn offer(&self) -> ServiceOffer {
        self.offer_between(NOW, hours(1))
    }

    pub(crate) fn offer_between(&self, from: Micros, until: Micros) -> ServiceOffer {
        ServiceOffer::new(&self.root.kid(), &self.certificate, &self.key, from, until)
    }

    pub(crate) fn check(&self, offer: &ServiceOffer) -> ClientOffer {
        ClientOffer::check(offer.message(), &self.root.kid(), NOW).unwrap()
    }
}

/// An enrolled device.
pub(crate) struct Device {
    pub(crate) key: SigningKey,
    pub(crate) ctx: Digest,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self {
            key: SigningKey::generate(),
            ctx: Digest(random::bytes()),
        }
    }

    pub(crate) fn hello(&self, offer: &ClientOffer) -> (Vec<u8>, PendingSession) {
        let resume = Resume {
            incarnation: Incarnation([1; 16]),
            last_acknowledged: Some((Seq(41), Digest([5; 32]))),
        };
        offer
            .hello_stream(&self.key, &self.ctx, NOW, resume, AdmissionToken::NONE)
            .unwrap()
    }

    pub(crate) fn session(&self, service: &Service) -> (ClientSession, ServerSession) {
        let offer = service.offer();
        let (hello, pending) = self.hello(&service.check(&offer));
        let opened = offer.open_hello(&hello).unwrap();
        let verified = opened.verify(&self.key.verifying_key(), &self.ctx).unwrap();
        let (welcome, server) = verified.welcome(random::bytes(), &status()).unwrap();
        let (client, first) = pending.welcome(&welcome).unwrap();
        assert_eq!(first, status());
        (client, server)
    }
}

pub(crate) fn status() -> Status {
    Status {
        time: NOW,
        last_durable: Some((Seq(40), Digest([4; 32]))),
        max_in_flight: 32,
        max_batch_bytes: 65_536,
        max_backlog_age_seconds: 2_592_000,
        tokens: vec![AdmissionToken([6; 16]), AdmissionToken([7; 16])],
    }
}
