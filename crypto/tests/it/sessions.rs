//! Sessions from both ends, and what somebody between them can do.

use proptest::prelude::*;
use pulseward_base::{Digest, Incarnation, Kid, Micros, Reject, Seq};
use pulseward_crypto::{
    NO_CONTEXT, Point, Role, Signature, SigningKey,
    certificate::{self, Use},
    frame::{AdmissionToken, Answer, Answers, DownFrame, MAX_PAYLOAD, Outcome, UpFrame, d8},
    hello::{self, Envelope, Purpose, offer_id_of},
    offer::ClientOffer,
    random,
    session::OpenedFrame,
    slips::ticket,
};

use crate::party::{Device, NOW, Service, hours, status};

#[test]
fn both_ends_of_a_session_understand_each_other() {
    let (device, service) = (Device::new(), Service::new());
    let (mut client, mut server) = device.session(&service);
    assert_eq!(server.device(), device.key.kid());
    for payload in [vec![], vec![1], vec![2; 300], vec![3; 5000]] {
        let sealed = client.seal(&UpFrame::Batch(payload.clone())).unwrap();
        assert!(sealed.len().is_power_of_two() && sealed.len() >= 256);
        let OpenedFrame::Batch(batch) = server.open(&sealed).unwrap() else {
            panic!("a batch was sent");
        };
        assert_eq!(batch.payload(), payload);
        assert_eq!(batch.device(), device.key.kid());
        let answers = answers(&payload);
        assert_eq!(
            client.open(&server.seal(&answers).unwrap()).unwrap(),
            answers
        );
    }
}

fn answers(payload: &[u8]) -> DownFrame {
    let outcomes = [
        Outcome::Durable,
        Outcome::Proven,
        Outcome::Duplicate,
        Outcome::Rejected(Reject::Forked),
        Outcome::RetryAfter {
            ms: 250,
            limit: None,
        },
        Outcome::RetryAfter {
            ms: u32::MAX,
            limit: Some(Reject::OverLimit),
        },
    ];
    let answer = |(seq, outcome)| Answer {
        seq: Seq(seq),
        d8: d8(&pulseward_crypto::hash::sha256(&[payload])),
        outcome,
    };
    DownFrame::Answers(Answers {
        time: NOW,
        answers: (0..).zip(outcomes).map(answer).collect(),
    })
}

#[test]
fn a1_a_replayed_hello_gets_another_r_and_opens_no_frame() {
    let (device, service) = (Device::new(), Service::new());
    let offer = service.offer();
    let (hello, pending) = device.hello(&service.check(&offer));
    let welcomed = || {
        let opened = offer.open_hello(&hello).unwrap();
        let verified = opened.verify(&device.key.verifying_key(), &device.ctx);
        verified
            .unwrap()
            .welcome(random::bytes(), &status())
            .unwrap()
    };
    let (welcome, mut live) = welcomed();
    let (mut client, _) = pending.welcome(&welcome).unwrap();
    let batch = client.seal(&UpFrame::Batch(vec![1])).unwrap();

    // The recorder repeats hello and batch, a second or 59 minutes later.
    let (second_welcome, mut replayed) = welcomed();
    assert_ne!(welcome[..32], second_welcome[..32], "another R");
    assert_ne!(welcome[32..], second_welcome[32..], "another key");
    assert_eq!(replayed.open(&batch).unwrap_err(), Reject::BadSeal);
    assert!(live.open(&batch).is_ok(), "the live session goes on");
}

#[test]
fn a2_a_hello_at_another_instance_or_after_a_restart_is_of_an_unknown_offer() {
    let (device, service) = (Device::new(), Service::new());
    let (offer, restarted) = (service.offer(), service.offer());
    let (hello, _pending) = device.hello(&service.check(&offer));
    assert_eq!(offer_id_of(&hello), Ok(offer.id()));
    assert_ne!(offer.id(), restarted.id());
    assert_eq!(
        restarted.open_hello(&hello).unwrap_err(),
        Reject::WrongSession
    );
}

#[test]
fn a3_no_two_frames_of_a_session_and_no_two_sessions_repeat_a_ciphertext() {
    let (device, service) = (Device::new(), Service::new());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let (mut client, mut server) = device.session(&service);
        for _ in 0..4 {
            let up = client.seal(&UpFrame::Batch(vec![9; 100])).unwrap();
            let down = server.seal(&DownFrame::Status(status())).unwrap();
            assert!(seen.insert(up) && seen.insert(down));
        }
    }
}

#[test]
fn a4_a_device_refuses_an_offer_that_a_foreign_service_signed_again() {
    let (a, b) = (Service::new(), Service::new());
    let offer = b.offer();
    let body = &offer.message()[certificate::SIZE..];
    let (body, _) = body.split_at(body.len() - Signature::SIZE);
    let signature = a.key.sign(Role::Offer, &NO_CONTEXT, &[body]);
    let forged = [&a.certificate[..], body, &signature.0].concat();
    // Pinned to either root, it is refused.
    for pinned in [a.root.kid(), b.root.kid()] {
        assert_eq!(
            ClientOffer::check(&forged, &pinned, NOW).unwrap_err(),
            Reject::NotAdmitted
        );
    }
    // And with B's own certificate in front, the signature is not B's.
    let dressed = [&b.certificate[..], body, &signature.0].concat();
    assert_eq!(
        ClientOffer::check(&dressed, &b.root.kid(), NOW).unwrap_err(),
        Reject::BadSignature
    );
}

#[test]
fn a4_a_service_refuses_a_hello_that_was_made_for_a_sister_under_the_same_root() {
    let device = Device::new();
    let root = SigningKey::generate();
    let root_again = SigningKey::from_secret(&root.secret()).unwrap();
    let (a, b) = (Service::under(root), Service::under(root_again));
    // A offers B's own sealing key under its own signature: the device, which trusts A, takes it.
    let genuine = b.offer();
    let body = &genuine.message()[certificate::SIZE..];
    let (body, _) = body.split_at(body.len() - Signature::SIZE);
    let signature = a.key.sign(Role::Offer, &NO_CONTEXT, &[body]);
    let stolen = [&a.certificate[..], body, &signature.0].concat();
    let offer = ClientOffer::check(&stolen, &a.root.kid(), NOW).unwrap();
    let (mut hello, _pending) = device.hello(&offer);
    assert_eq!(
        genuine.open_hello(&hello).unwrap_err(),
        Reject::WrongSession
    );
    // With B's offer id written over A's, the seal does not open: its context was A's offer.
    hello[..16].copy_from_slice(&genuine.id().0);
    assert_eq!(genuine.open_hello(&hello).unwrap_err(), Reject::BadSeal);
}

#[test]
fn a5_a_hello_whose_suite_byte_was_changed_does_not_open() {
    let (device, service) = (Device::new(), Service::new());
    let offer = service.offer();
    let (mut hello, _pending) = device.hello(&service.check(&offer));
    hello[16] = 2;
    assert_eq!(offer.open_hello(&hello).unwrap_err(), Reject::BadSeal);
}

#[test]
fn a6_an_old_or_early_offer_is_refused() {
    let service = Service::new();
    let check = |offer: &pulseward_crypto::offer::ServiceOffer, now| {
        ClientOffer::check(offer.message(), &service.root.kid(), now).map(|offer| offer.id())
    };
    let offer = service.offer();
    assert_eq!(check(&offer, NOW), Ok(offer.id()));
    assert_eq!(check(&offer, hours(1)), Ok(offer.id()));
    assert_eq!(
        check(&offer, Micros(hours(1).0 + 1)),
        Err(Reject::NotAdmitted)
    );
    // The device's clock a day back: the offer is not yet good.
    assert_eq!(check(&offer, hours(-23)), Err(Reject::NotAdmitted));
}

#[test]
fn a6_an_expired_service_certificate_is_refused_also_under_a_fresh_offer() {
    let service = Service::new();
    let offer = service.offer_between(hours(24), hours(26));
    let check = |now| ClientOffer::check(offer.message(), &service.root.kid(), now);
    assert!(check(hours(24)).is_ok());
    assert_eq!(check(hours(25)).unwrap_err(), Reject::NotAdmitted);
}

#[test]
fn a6_a_certificate_of_another_use_does_not_make_offers() {
    let mut service = Service::new();
    for use_ in Use::ALL {
        service.certificate =
            certificate::issue(&service.root, *use_, &service.key.point(), NOW, hours(1));
        let checked = ClientOffer::check(service.offer().message(), &service.root.kid(), NOW);
        assert_eq!(checked.is_ok(), *use_ == Use::Service, "{use_:?}");
    }
}

#[test]
fn a10_an_enrolment_holds_only_for_the_key_that_said_this_hello() {
    let service = Service::new();
    let (key, foreign) = (SigningKey::generate(), SigningKey::generate());
    let slip = vec![8; ticket::SIZE];
    for (signer, verdict) in [(&key, Ok(())), (&foreign, Err(Reject::BadSignature))] {
        let (mut client, mut server) = enrolling(&service, &key);
        let frame = client.enrol(signer, &slip, b"attested").unwrap();
        let OpenedFrame::Enrol(enrol) = server.open(&client.seal(&frame).unwrap()).unwrap() else {
            panic!("an enrolment was sent");
        };
        let verified = enrol.verify().map(|verified| {
            assert_eq!(verified.device(), key.point());
            assert_eq!(verified.ticket_slip(), slip);
            assert_eq!(verified.attestation(), b"attested");
        });
        assert_eq!(verified, verdict);
    }
}

#[test]
fn a10_an_enrolment_does_not_hold_in_another_session_of_the_same_key() {
    let (service, key) = (Service::new(), SigningKey::generate());
    let (first, _) = enrolling(&service, &key);
    let (mut second, mut server) = enrolling(&service, &key);
    let frame = first.enrol(&key, &[8; ticket::SIZE], &[]).unwrap();
    let OpenedFrame::Enrol(enrol) = server.open(&second.seal(&frame).unwrap()).unwrap() else {
        panic!("an enrolment was sent");
    };
    assert_eq!(enrol.verify().unwrap_err(), Reject::BadSignature);
}

fn enrolling(
    service: &Service,
    key: &SigningKey,
) -> (
    pulseward_crypto::client::ClientSession,
    pulseward_crypto::session::ServerSession,
) {
    let offer = service.offer();
    let checked = service.check(&offer);
    let (hello, pending) = checked.hello_enrol(key, NOW, AdmissionToken::NONE).unwrap();
    let opened = offer.open_hello(&hello).unwrap();
    assert_eq!(opened.purpose(), Purpose::Enrol);
    let verified = opened.verify_enrolling().unwrap();
    let (welcome, server) = verified.welcome(random::bytes(), &status()).unwrap();
    (pending.welcome(&welcome).unwrap().0, server)
}

#[test]
fn a12_hellos_have_one_size_and_show_no_kid_point_or_number() {
    let service = Service::new();
    let offer = service.offer();
    let checked = service.check(&offer);
    let device = Device::new();
    let (stream, _) = device.hello(&checked);
    let (enrol, _) = checked
        .hello_enrol(&device.key, NOW, AdmissionToken::NONE)
        .unwrap();
    assert_eq!((stream.len(), enrol.len()), (hello::SIZE, hello::SIZE));
    let shows = |message: &[u8], part: &[u8]| message.windows(part.len()).any(|seen| seen == part);
    for message in [&stream, &enrol] {
        assert!(!shows(message, &device.key.kid().0));
        assert!(!shows(message, &device.key.point().0));
        assert!(!shows(message, &NOW.0.to_le_bytes()));
        assert!(!shows(message, &[5; 32]), "the last D");
    }
}

#[test]
fn a13_unknown_revoked_and_forged_hellos_get_one_answer() {
    let (device, service) = (Device::new(), Service::new());
    let offer = service.offer();
    let (hello, _pending) = device.hello(&service.check(&offer));
    let open = || offer.open_hello(&hello).unwrap();
    assert_eq!(open().kid(), device.key.kid());
    let other = SigningKey::generate();
    let refused = [
        open().refuse(),
        open()
            .verify(&other.verifying_key(), &device.ctx)
            .unwrap_err(),
        open()
            .verify(&device.key.verifying_key(), &NO_CONTEXT)
            .unwrap_err(),
        open().verify_enrolling().unwrap_err(),
    ];
    assert_eq!(refused, [Reject::NotAdmitted; 4]);
}

#[test]
fn a13_an_enrolling_hello_does_not_stream() {
    let (key, service) = (SigningKey::generate(), Service::new());
    let offer = service.offer();
    let (hello, _pending) = service
        .check(&offer)
        .hello_enrol(&key, NOW, AdmissionToken([3; 16]))
        .unwrap();
    assert_eq!(
        Envelope::decode(&hello).unwrap().token,
        AdmissionToken([3; 16])
    );
    let opened = offer.open_hello(&hello).unwrap();
    assert_eq!(opened.point(), key.point());
    let verdict = opened.verify(&key.verifying_key(), &NO_CONTEXT);
    assert_eq!(verdict.unwrap_err(), Reject::NotAdmitted);
}

#[test]
fn a22_a_forged_repeated_dropped_or_reordered_frame_ends_the_session_and_opens_nothing() {
    let (device, service) = (Device::new(), Service::new());
    let frames = |client: &mut pulseward_crypto::client::ClientSession| {
        [1, 2, 3].map(|byte| client.seal(&UpFrame::Batch(vec![byte])).unwrap())
    };
    let orders: [&[usize]; 4] = [&[1], &[0, 0], &[0, 2], &[2]];
    for order in orders {
        let (mut client, mut server) = device.session(&service);
        let sealed = frames(&mut client);
        let (last, good) = order.split_last().unwrap();
        for index in good {
            assert!(server.open(&sealed[*index]).is_ok());
        }
        assert_eq!(server.open(&sealed[*last]).unwrap_err(), Reject::BadSeal);
        // Not even the frame that was due.
        let due = &sealed[good.len()];
        assert_eq!(server.open(due).unwrap_err(), Reject::BadSeal);
    }
    // The service's word too: an answer that was not sealed for this place changes nothing.
    let (mut client, mut server) = device.session(&service);
    let forged = [0; 256];
    assert_eq!(client.open(&forged).unwrap_err(), Reject::BadSeal);
    let answer = server.seal(&answers(&[])).unwrap();
    assert_eq!(client.open(&answer).unwrap_err(), Reject::BadSeal);
}

#[test]
fn a_stream_takes_no_enrolment_and_an_enrolment_no_batch() {
    let (device, service) = (Device::new(), Service::new());
    let (mut client, mut server) = device.session(&service);
    let sealed = client.seal(&UpFrame::Enrol(vec![0; 600])).unwrap();
    assert_eq!(server.open(&sealed).unwrap_err(), Reject::WrongSession);
    let (mut client, mut server) = enrolling(&service, &device.key);
    let sealed = client.seal(&UpFrame::Batch(vec![0; 600])).unwrap();
    assert_eq!(server.open(&sealed).unwrap_err(), Reject::WrongSession);
}

#[test]
fn a_welcome_from_somebody_who_did_not_open_the_hello_is_refused() {
    let (device, service) = (Device::new(), Service::new());
    let offer = service.offer();
    let checked = service.check(&offer);
    let (_, pending) = device.hello(&checked);
    let forged = [&[1; 32][..], &[0; 256]].concat();
    assert_eq!(pending.welcome(&forged).unwrap_err(), Reject::BadSeal);
    let (_, pending) = device.hello(&checked);
    assert_eq!(pending.welcome(&[1; 31]).unwrap_err(), Reject::Malformed);
}

#[test]
fn frames_of_a_wrong_size_are_refused_before_they_are_opened() {
    let (device, service) = (Device::new(), Service::new());
    for (size, verdict) in [
        (0, Reject::Malformed),
        (128, Reject::Malformed),
        (257, Reject::Malformed),
        (1 << 21, Reject::TooLarge),
    ] {
        let (_, mut server) = device.session(&service);
        assert_eq!(server.open(&vec![0; size]).unwrap_err(), verdict);
    }
    let (mut client, mut server) = device.session(&service);
    let largest = UpFrame::Batch(vec![1; MAX_PAYLOAD]);
    assert!(server.open(&client.seal(&largest).unwrap()).is_ok());
    let larger = UpFrame::Batch(vec![1; MAX_PAYLOAD + 1]);
    assert_eq!(client.seal(&larger).unwrap_err(), Reject::TooLarge);
}

#[test]
fn a_hello_carries_where_the_queue_stands() {
    let (device, service) = (Device::new(), Service::new());
    let offer = service.offer();
    let (hello, _pending) = device.hello(&service.check(&offer));
    let opened = offer.open_hello(&hello).unwrap();
    let verified = opened
        .verify(&device.key.verifying_key(), &device.ctx)
        .unwrap();
    assert_eq!(verified.time(), NOW);
    assert_eq!(verified.resume().incarnation, Incarnation([1; 16]));
    assert_eq!(
        verified.resume().last_acknowledged,
        Some((Seq(41), Digest([5; 32])))
    );
    assert_ne!(verified.device().point(), Point::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_flipped_bit_of_an_offer_is_refused(at in 0..1000_usize, bit in 0..8_u8) {
        let service = Service::new();
        let mut message = service.offer().message().to_vec();
        let at = at % message.len();
        message[at] ^= 1 << bit;
        prop_assert!(ClientOffer::check(&message, &service.root.kid(), NOW).is_err());
    }

    #[test]
    fn one_flipped_bit_of_a_hello_is_refused_unless_it_is_the_tokens(
        at in 0..hello::SIZE, bit in 0..8_u8,
    ) {
        prop_assume!(!(17..33).contains(&at));
        let (device, service) = (Device::new(), Service::new());
        let offer = service.offer();
        let (mut hello, _pending) = device.hello(&service.check(&offer));
        hello[at] ^= 1 << bit;
        prop_assert!(offer.open_hello(&hello).is_err());
    }

    #[test]
    fn foreign_bytes_are_no_offer_and_no_hello(bytes: Vec<u8>, rest in prop::collection::vec(any::<u8>(), hello::SIZE)) {
        let service = Service::new();
        let offer = service.offer();
        for bytes in [&bytes, &rest] {
            prop_assert!(ClientOffer::check(bytes, &Kid([0; 32]), NOW).is_err());
            prop_assert!(offer.open_hello(bytes).is_err());
        }
    }
}
