//! From the device's hands to the log's: what gets through, and what is refused on the way.

use pulseward_base::{Digest, Kid, Micros, Reject};
use pulseward_batch::{Arrival, BindingFacts, OpenedBatch};
use pulseward_crypto::{NO_CONTEXT, Role, SigningKey, hash};
use pulseward_vitals::{Columns, Kind, Limits};

use crate::world::{Device, EVERYTHING, NOW, PLACE, columns, leaf};

#[test]
fn what_a_device_signed_reaches_the_log_as_it_was() {
    let device = Device::new();
    let signed = device.sign(&columns());
    let verified = device.accept(&signed.payload).unwrap();
    assert_eq!(verified.digest(), signed.digest);
    assert_eq!(verified.place(), PLACE);
    assert_eq!(verified.device(), device.key.kid());
    assert_eq!(verified.columns(), &columns());
    let batch = device.pseudonymous(&columns());
    assert_eq!(batch.slot(), device.facts().slot);
    assert_eq!(batch.key(), device.facts().key);
    assert_eq!(batch.stored().pseudonym, device.facts().pseudonym);
    assert_eq!(batch.stored().arrival.received, Micros(NOW.0 + 9));
    assert_eq!(batch.encode(), batch.stored().encode());
}

#[test]
fn a8_a_batch_does_not_hold_under_another_kid_enrolment_or_root() {
    let device = Device::new();
    let payload = device.sign(&columns()).payload;
    let parsed = || OpenedBatch::parse(&device.send(&payload), Limits::default()).unwrap();
    let verify = |key: &SigningKey, ctx: &Digest| {
        parsed()
            .verify(&key.verifying_key(), ctx, EVERYTHING)
            .map(|batch| batch.digest())
    };
    assert!(verify(&device.key, &device.ctx).is_ok());
    let same_key = || SigningKey::from_secret(&device.key.secret()).unwrap();
    let second_enrolment = Device::enrolled(same_key(), Kid([2; 32]));
    let other_root = Device::enrolled(same_key(), Kid([9; 32]));
    let stranger = Device::new();
    for (key, ctx) in [
        (&stranger.key, &device.ctx),
        (&device.key, &second_enrolment.ctx),
        (&device.key, &other_root.ctx),
        (&device.key, &NO_CONTEXT),
    ] {
        assert_eq!(verify(key, ctx), Err(Reject::BadSignature));
    }
}

#[test]
fn a8_a_batch_that_another_device_signed_does_not_hold_in_this_ones_session() {
    let (device, victim) = (Device::new(), Device::new());
    let stolen = victim.sign(&columns()).payload;
    assert_eq!(device.accept(&stolen).unwrap_err(), Reject::BadSignature);
    // Nor with the victim's key handed to the check: the session is the thief's.
    let parsed = OpenedBatch::parse(&device.send(&stolen), Limits::default()).unwrap();
    let verdict = parsed.verify(&victim.key.verifying_key(), &victim.ctx, EVERYTHING);
    assert_eq!(verdict.unwrap_err(), Reject::BadSignature);
}

#[test]
fn a17_permuted_repeated_empty_and_unknown_leaves_are_refused_though_signed() {
    let heart = encoded(&leaf(Kind::HeartRate, 0, &[(1, 720), (2, 730)]));
    let oxygen = encoded(&leaf(Kind::SpO2, 0, &[(1, 970)]));
    let equal_times = rows(1, &[(5, 1), (5, 2)]);
    let backwards = rows(1, &[(6, 1), (5, 2)]);
    let cases: [(&str, &[&[u8]], Reject); 8] = [
        ("permuted", &[&oxygen, &heart], Reject::NotAscending),
        ("twins", &[&heart, &heart], Reject::NotAscending),
        ("equal times", &[&equal_times], Reject::NotAscending),
        ("backwards", &[&backwards], Reject::NotAscending),
        ("no rows", &[&rows(1, &[])], Reject::Malformed),
        ("no leaves", &[], Reject::Malformed),
        (
            "unknown kind",
            &[&rows(999, &[(1, 1)])],
            Reject::UnknownKind,
        ),
        (
            "unknown type",
            &[&[2, 1, 0, 0, 0, 0, 0, 0]],
            Reject::UnknownKind,
        ),
    ];
    let device = Device::new();
    for (name, leaves, reject) in cases {
        let payload = signed_by_hand(&device, leaves);
        assert_eq!(device.accept(&payload).unwrap_err(), reject, "{name}");
    }
    let payload = signed_by_hand(&device, &[&heart, &oxygen]);
    assert!(device.accept(&payload).is_ok(), "in order");
}

/// A device that signs whatever it sends, by the page and not by our code.
fn signed_by_hand(device: &Device, leaves: &[&[u8]]) -> Vec<u8> {
    let seed = [6; 32];
    let count = u16::try_from(leaves.len()).unwrap();
    let digest = |(index, leaf): (u32, &&[u8])| {
        let salt = hash::hmac(&seed, &[&index.to_le_bytes()]);
        hash::sha256(&[b"pulseward/v1/leaf\x00", &salt[..16], leaf])
    };
    let digests: Vec<_> = (0..).zip(leaves).map(digest).collect();
    let mut parts: Vec<&[u8]> = vec![b"pulseward/v1/readings\x00"];
    let long_count = u32::from(count).to_le_bytes();
    parts.push(&long_count);
    parts.extend(digests.iter().map(|digest| &digest.0[..]));
    let readings = hash::sha256(&parts);
    let place = [
        &PLACE.incarnation.0[..],
        &PLACE.seq.0.to_le_bytes(),
        &PLACE.time.0.to_le_bytes(),
    ]
    .concat();
    let signature = device
        .key
        .sign(Role::Batch, &device.ctx, &[&place, &readings.0]);
    let head = [&place[..], &seed, &[1], &signature.0, &count.to_le_bytes()].concat();
    [head, leaves.concat()].concat()
}

fn encoded(leaf: &pulseward_vitals::Leaf) -> Vec<u8> {
    let columns = Columns::new(vec![leaf.clone()]).unwrap();
    columns.encode()[2..].to_vec()
}

fn rows(kind: u16, rows: &[(i64, i32)]) -> Vec<u8> {
    let count = u32::try_from(rows.len()).unwrap();
    let mut bytes = [&[1][..], &kind.to_le_bytes(), &[0], &count.to_le_bytes()].concat();
    bytes.extend(rows.iter().flat_map(|row| row.0.to_le_bytes()));
    bytes.extend(rows.iter().flat_map(|row| row.1.to_le_bytes()));
    bytes.extend(rows.iter().map(|_| 0));
    bytes
}

#[test]
fn a_kind_outside_the_enrolments_scope_is_refused() {
    let device = Device::new();
    let payload = device.sign(&columns()).payload;
    let verify = |scope| {
        let parsed = OpenedBatch::parse(&device.send(&payload), Limits::default()).unwrap();
        parsed
            .verify(&device.key.verifying_key(), &device.ctx, scope)
            .map(|_| ())
    };
    let exactly = (1 << 1) | (1 << 2) | (1 << 4);
    assert_eq!(verify(exactly), Ok(()));
    for bit in [1, 2, 4] {
        assert_eq!(verify(exactly & !(1 << bit)), Err(Reject::OutOfScope));
    }
    assert_eq!(verify(0), Err(Reject::OutOfScope));
}

#[test]
fn facts_of_another_device_or_enrolment_do_not_name_the_patient() {
    let device = Device::new();
    let payload = device.sign(&columns()).payload;
    let right = device.facts();
    let wrong = [
        BindingFacts {
            device: Kid([8; 32]),
            ..right
        },
        BindingFacts {
            record: Digest([8; 32]),
            ..right
        },
    ];
    for facts in wrong {
        let verified = device.accept(&payload).unwrap();
        let verdict = verified.pseudonymise(&facts, Arrival::default());
        assert_eq!(verdict.unwrap_err(), Reject::NotAdmitted);
    }
}

#[test]
fn a_batch_larger_than_its_limits_is_refused_before_its_signature_is_looked_at() {
    let device = Device::new();
    let frame = device.send(&device.sign(&columns()).payload);
    for limits in [
        Limits {
            leaves: 2,
            rows: 100,
        },
        Limits { leaves: 3, rows: 4 },
    ] {
        let verdict = OpenedBatch::parse(&frame, limits);
        assert_eq!(verdict.unwrap_err(), Reject::TooLarge);
    }
}

#[test]
fn every_flipped_bit_of_a_batch_is_noticed() {
    let device = Device::new();
    let payload = device.sign(&columns()).payload;
    for at in 0..payload.len() {
        let mut changed = payload.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(device.accept(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn no_debug_shows_a_reading_or_whom_it_is_of() {
    let device = Device::new();
    let batch = device.pseudonymous(&columns());
    let text = format!("{batch:?}");
    for secret in ["720", "970", "03030303030", "Row"] {
        assert!(!text.contains(secret), "{text}");
    }
}
