//! Batches at rest: read back as they were, and checked years later with public keys alone.

use proptest::prelude::*;
use pulseward_base::{Digest, Reject, bytes::hex};
use pulseward_batch::{Contents, Proof, StoredBatch};
use pulseward_crypto::SigningKey;
use pulseward_vitals::Limits;

use crate::world::{Device, columns};

fn decode(bytes: &[u8]) -> Result<StoredBatch, Reject> {
    StoredBatch::decode(bytes, Limits::default())
}

#[test]
fn a8_a_stored_batch_verifies_offline_and_under_no_other_key_or_enrolment() {
    let device = Device::new();
    let batch = device.pseudonymous(&columns());
    let stored = decode(&batch.encode()).unwrap();
    assert_eq!(&stored, batch.stored());
    assert_eq!(stored.digest(), batch.digest());
    let key = device.key.verifying_key();
    assert_eq!(stored.verify(&key, &device.ctx), Ok(()));
    let other = SigningKey::generate().verifying_key();
    let bad = Err(Reject::BadSignature);
    assert_eq!(stored.verify(&other, &device.ctx), bad);
    assert_eq!(stored.verify(&key, &Digest([1; 32])), bad);
    let unproven = StoredBatch {
        proof: Proof::Unproven,
        ..stored
    };
    assert_eq!(unproven.verify(&key, &device.ctx), bad);
}

#[test]
fn a20_one_flipped_bit_in_what_the_device_signed_is_named_by_verify() {
    let device = Device::new();
    let good = device.pseudonymous(&columns()).encode();
    let key = device.key.verifying_key();
    // Pseudonym, offset and time of arrival are the service's word: the binding and the seal of the
    // log hold those.
    let services = (0..16).chain(112..128);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        let holds = decode(&changed).is_ok_and(|stored| stored.verify(&key, &device.ctx).is_ok());
        assert_eq!(holds, services.clone().any(|own| own == at), "byte {at}");
    }
}

#[test]
fn the_layout_is_frozen() {
    let device = Device::new();
    let batch = device.pseudonymous(&columns());
    let bytes = batch.encode();
    let expected = [
        "03".repeat(16),
        hex(&device.key.kid().0),
        hex(&device.ctx.0),
        "01".repeat(16),
        "0700000000000000".to_owned(),
        "0080982817650600".to_owned(),
        "fdffffffffffffff".to_owned(),
        "0980982817650600".to_owned(),
        hex(&batch.stored().contents.seed),
        "01".to_owned(),
        hex(&batch.stored().contents.signature.0),
        hex(&columns().encode()),
    ]
    .concat();
    assert_eq!(hex(&bytes), expected);
}

proptest! {
    #[test]
    fn foreign_bytes_give_a_batch_or_a_rejection(bytes: Vec<u8>, tail in prop::collection::vec(any::<u8>(), 120..400)) {
        for bytes in [&bytes, &tail] {
            let _total = Contents::decode(bytes, Limits::default());
            if let Ok(stored) = decode(bytes) {
                prop_assert_eq!(&stored.encode(), bytes);
            }
        }
    }
}
