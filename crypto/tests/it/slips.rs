//! Certificates and slips: what holds, and what one changed thing does to it.

use proptest::prelude::*;
use pulseward_base::{
    AlertId, Digest, KeyId, Kid, Micros, Pseudonym, Reject, SlipId, Slot, TicketId,
};
use pulseward_crypto::{
    Point, SigningKey,
    certificate::{self, Certificate, CertificateBytes, Use},
    seal::KeyPair,
    slips::{
        Binding, Bound, Classes, Enrolment, Grant, GrantPurpose, GrantTerms, Record, SealedHandle,
        TicketSlip, TicketTerms, WayBack, WayBackTerms, binding, grant, record,
        ticket::{self, Riders},
        way_back,
    },
};

use crate::party::{NOW, hours};

pub(crate) struct Signer {
    pub(crate) root: SigningKey,
    pub(crate) key: SigningKey,
    pub(crate) certificate: CertificateBytes,
}

impl Signer {
    fn new(use_: Use) -> Self {
        Self::from_keys(use_, SigningKey::generate(), SigningKey::generate())
    }

    pub(crate) fn from_keys(use_: Use, root: SigningKey, key: SigningKey) -> Self {
        let certificate = certificate::issue(&root, use_, &key.point(), NOW, hours(24));
        Self {
            root,
            key,
            certificate,
        }
    }
}

pub(crate) const PIPELINE: Kid = Kid([0x11; 32]);

pub(crate) const fn ticket_terms() -> TicketTerms {
    TicketTerms {
        id: TicketId([0x12; 16]),
        root: PIPELINE,
        project: 7,
        expiry: hours(2),
        scope: 0b1110,
        consent_version: 3,
    }
}

pub(crate) const fn riders() -> Riders {
    Riders {
        handle: [0x13; 16],
        salt: [0x14; 16],
        sealed_handle: SealedHandle([0x15; 44]),
    }
}

pub(crate) const fn enrolment(device: Point) -> Enrolment {
    Enrolment {
        device,
        root: PIPELINE,
        scope: 0b1110,
        attestation: 1,
        time: NOW,
    }
}

pub(crate) const fn bound() -> Bound {
    Bound {
        device: Kid([0x21; 32]),
        record: Digest([0x22; 32]),
        pseudonym: Pseudonym([0x23; 16]),
        key: KeyId([0x24; 16]),
        slot: Slot(1023),
        from: NOW,
        until: Micros(i64::MAX),
    }
}

pub(crate) const fn way_back_terms() -> WayBackTerms {
    WayBackTerms {
        id: SlipId([0x31; 16]),
        alert: AlertId([0x32; 16]),
        sealed_handle: SealedHandle([0x33; 44]),
        expiry: hours(1),
    }
}

pub(crate) fn grant_terms(reader: &KeyPair) -> GrantTerms {
    GrantTerms {
        id: SlipId([0x41; 16]),
        reader: *reader.public(),
        classes: Classes::TIMES.and(Classes::VALUES),
        not_before: NOW,
        not_after: hours(1),
        purpose: GrantPurpose::Research,
    }
}

#[test]
fn a_certificate_holds_for_its_root_use_and_dates_only() {
    let signer = Signer::new(Use::Registry);
    let check = |root: &SigningKey, use_, now| {
        certificate::verify(&signer.certificate, &root.kid(), use_, now).map(|key| key.kid())
    };
    let subject = Ok(signer.key.kid());
    assert_eq!(check(&signer.root, Use::Registry, NOW), subject);
    assert_eq!(check(&signer.root, Use::Registry, hours(24)), subject);
    for refused in [
        check(&signer.root, Use::Registry, Micros(NOW.0 - 1)),
        check(&signer.root, Use::Registry, Micros(hours(24).0 + 1)),
        check(&signer.root, Use::Service, NOW),
        check(&SigningKey::generate(), Use::Registry, NOW),
    ] {
        assert_eq!(refused, Err(Reject::NotAdmitted));
    }
    // A certified key is no root: it certifies nobody.
    let chained = certificate::issue(
        &signer.key,
        Use::Registry,
        &signer.root.point(),
        NOW,
        hours(1),
    );
    let verdict = certificate::verify(&chained, &signer.root.kid(), Use::Registry, NOW);
    assert_eq!(verdict, Err(Reject::NotAdmitted));
}

#[test]
fn a_ticket_holds_once_in_time_for_its_pipeline_with_its_riders() {
    let vault = Signer::new(Use::Vault);
    let slip = TicketSlip::issue(&vault.certificate, &vault.key, &ticket_terms(), &riders());
    assert_eq!(slip.len(), ticket::SIZE);
    let decoded = TicketSlip::decode(&slip).unwrap();
    assert_eq!(decoded.root(), PIPELINE);
    let ticket = decoded.verify(&vault.root.kid(), &PIPELINE, NOW).unwrap();
    assert_eq!((ticket.terms, ticket.riders), (ticket_terms(), riders()));
    for refused in [
        decoded.verify(&vault.root.kid(), &Kid([1; 32]), NOW),
        decoded.verify(&PIPELINE, &PIPELINE, NOW),
        decoded.verify(&vault.root.kid(), &PIPELINE, Micros(hours(2).0 + 1)),
        decoded.verify(&vault.root.kid(), &PIPELINE, hours(-1)),
    ] {
        assert_eq!(refused, Err(Reject::BadTicket));
    }
}

#[test]
fn a11_a_ticket_with_one_bit_of_scope_root_or_handle_flipped_is_a_bad_ticket() {
    let vault = Signer::new(Use::Vault);
    let slip = TicketSlip::issue(&vault.certificate, &vault.key, &ticket_terms(), &riders());
    // All but the handle that is sealed: whether that opens is for the vault alone to know.
    for at in 0..ticket::SIZE - SealedHandle::SIZE {
        let mut changed = slip.clone();
        changed[at] ^= 1;
        let verdict = TicketSlip::decode(&changed)
            .map_err(|_| Reject::BadTicket)
            .and_then(|slip| slip.verify(&vault.root.kid(), &PIPELINE, NOW));
        assert_eq!(verdict, Err(Reject::BadTicket), "byte {at}");
    }
}

#[test]
fn records_and_bindings_hold_for_the_registry_that_made_them() {
    let (registry, other) = (SigningKey::generate(), SigningKey::generate());
    let enrolment = enrolment(SigningKey::generate().point());
    let bytes = Record::issue(&registry, &enrolment);
    let decoded = Record::decode(&bytes).unwrap();
    assert_eq!(decoded.verify(&registry.verifying_key()), Ok(enrolment));
    let refused = decoded.verify(&other.verifying_key());
    assert_eq!(refused, Err(Reject::BadSignature));

    let bytes = Binding::issue(&registry, &bound());
    let decoded = Binding::decode(&bytes).unwrap();
    assert_eq!(decoded.verify(&registry.verifying_key()), Ok(bound()));
    let refused = decoded.verify(&other.verifying_key());
    assert_eq!(refused, Err(Reject::BadSignature));
    let beyond = Bound {
        slot: Slot(Slot::COUNT),
        ..bound()
    };
    let bytes = Binding::issue(&registry, &beyond);
    assert_eq!(Binding::decode(&bytes), Err(Reject::Malformed));
}

#[test]
fn a_way_back_holds_until_it_expires_under_its_root() {
    let delivery = Signer::new(Use::Delivery);
    let slip = WayBack::issue(&delivery.certificate, &delivery.key, &way_back_terms());
    assert_eq!(slip.len(), way_back::SIZE);
    let decoded = WayBack::decode(&slip).unwrap();
    let root = delivery.root.kid();
    assert_eq!(decoded.verify(&root, hours(1)), Ok(way_back_terms()));
    let late = decoded.verify(&root, Micros(hours(1).0 + 1));
    assert_eq!(late, Err(Reject::NotAdmitted));
    assert_eq!(decoded.verify(&PIPELINE, NOW), Err(Reject::NotAdmitted));
    // A registry, though under the same root, does not deliver.
    let registry = certificate::issue(
        &delivery.root,
        Use::Registry,
        &delivery.key.point(),
        NOW,
        hours(24),
    );
    let slip = WayBack::issue(&registry, &delivery.key, &way_back_terms());
    let verdict = WayBack::decode(&slip).unwrap().verify(&root, NOW);
    assert_eq!(verdict, Err(Reject::NotAdmitted));
}

#[test]
fn a_grant_holds_within_its_dates_and_covers_what_it_names() {
    let registry = Signer::new(Use::Registry);
    let reader = KeyPair::generate();
    let terms = grant_terms(&reader);
    let bytes = Grant::issue(&registry.certificate, &registry.key, &terms);
    assert_eq!(bytes.len(), grant::SIZE);
    let decoded = Grant::decode(&bytes).unwrap();
    let root = registry.root.kid();
    assert_eq!(decoded.verify(&root, NOW), Ok(terms));
    let late = decoded.verify(&root, Micros(hours(1).0 + 1));
    assert_eq!(late, Err(Reject::NotAdmitted));
    assert!(terms.classes.covers(Classes::TIMES) && terms.classes.covers(Classes::VALUES));
    assert!(!terms.classes.covers(Classes::PROOFS));
    assert!(!terms.classes.covers(Classes::VALUES.and(Classes::PROOFS)));
}

#[test]
fn every_flipped_bit_of_a_slip_is_noticed() {
    let signer = Signer::new(Use::Registry);
    let delivery = Signer::new(Use::Delivery);
    let (root, now) = (signer.root.kid(), NOW);
    let key = signer.key.verifying_key();
    let certificate = signer.certificate;
    refuses_every_flip(&certificate, |bytes| {
        certificate::verify(bytes, &root, Use::Registry, now).is_ok()
    });
    let record = Record::issue(&signer.key, &enrolment(delivery.key.point()));
    refuses_every_flip(&record, |bytes| {
        Record::decode(bytes).is_ok_and(|record| record.verify(&key).is_ok())
    });
    let binding = Binding::issue(&signer.key, &bound());
    refuses_every_flip(&binding, |bytes| {
        Binding::decode(bytes).is_ok_and(|binding| binding.verify(&key).is_ok())
    });
    let way_back = WayBack::issue(&delivery.certificate, &delivery.key, &way_back_terms());
    refuses_every_flip(&way_back, |bytes| {
        WayBack::decode(bytes).is_ok_and(|slip| slip.verify(&delivery.root.kid(), now).is_ok())
    });
    let terms = grant_terms(&KeyPair::generate());
    let grant = Grant::issue(&signer.certificate, &signer.key, &terms);
    refuses_every_flip(&grant, |bytes| {
        Grant::decode(bytes).is_ok_and(|grant| grant.verify(&root, now).is_ok())
    });
}

fn refuses_every_flip(good: &[u8], holds: impl Fn(&[u8]) -> bool) {
    assert!(holds(good));
    for at in 0..good.len() {
        let mut changed = good.to_vec();
        changed[at] ^= 1 << (at % 8);
        assert!(!holds(&changed), "byte {at}");
    }
    assert!(!holds(&good[..good.len() - 1]));
    assert!(!holds(&[good, &[0]].concat()));
}

#[test]
fn a_seal_opens_for_its_key_purpose_and_context_only() {
    let (pair, other) = (KeyPair::generate(), KeyPair::generate());
    let context = Digest([9; 32]);
    let sealed = pulseward_crypto::seal::seal(pair.public(), "dek", &context, b"key").unwrap();
    let open = |pair: &KeyPair, purpose, context| {
        pair.open(purpose, context, &sealed.enc, &sealed.ciphertext)
            .map(|plain| plain.to_vec())
    };
    assert_eq!(open(&pair, "dek", &context), Ok(b"key".to_vec()));
    assert_eq!(open(&other, "dek", &context), Err(Reject::BadSeal));
    assert_eq!(open(&pair, "hello", &context), Err(Reject::BadSeal));
    assert_eq!(open(&pair, "dek", &Digest([8; 32])), Err(Reject::BadSeal));
    let no_point = [4; 65];
    let refused = pulseward_crypto::seal::seal(&no_point, "dek", &context, b"key");
    assert_eq!(refused, Err(Reject::Malformed));
    let again = KeyPair::from_secret(&pair.secret()).unwrap();
    assert_eq!(open(&again, "dek", &context), Ok(b"key".to_vec()));
}

proptest! {
    #[test]
    fn foreign_bytes_give_a_slip_or_a_rejection(bytes in prop::collection::vec(any::<u8>(), 0..420)) {
        let _total = (
            Certificate::decode(&bytes).is_ok(),
            TicketSlip::decode(&bytes).is_ok(),
            Record::decode(&bytes).is_ok(),
            Binding::decode(&bytes).is_ok(),
            WayBack::decode(&bytes).is_ok(),
            Grant::decode(&bytes).is_ok(),
        );
    }
}

#[test]
fn sizes_are_those_of_the_pages() {
    let sizes = [certificate::SIZE, record::SIZE, binding::SIZE, ticket::SIZE];
    assert_eq!(sizes, [148, 147, 179, 393]);
    assert_eq!([way_back::SIZE, grant::SIZE], [297, 312]);
    let wire = include_str!("../../../docs/formats/wire.md");
    let slips = include_str!("../../../docs/formats/slips.md");
    assert!(wire.contains("**Certificate** (148)") && wire.contains("*ticket slip* (393)"));
    for size in ["179 bytes", "297 bytes", "312 bytes"] {
        assert!(slips.contains(size), "{size}");
    }
}
