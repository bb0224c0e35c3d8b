//! What a signature is bound to, and the one spelling it has.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use pulseward_base::{Digest, Kid, Reject};
use pulseward_crypto::{NO_CONTEXT, Role, Signature, SigningKey, VerifyingKey, sign::prehash};

const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

#[test]
fn a7_a_signature_holds_as_the_role_it_was_made_as_and_as_no_other() {
    let key = SigningKey::generate();
    let verifying = key.verifying_key();
    for made in Role::ALL {
        let signature = key.sign(*made, &NO_CONTEXT, &[b"body"]);
        for shown in Role::ALL {
            let verdict = verifying.verify(*shown, &NO_CONTEXT, &[b"body"], &signature);
            let expected = if made == shown {
                Ok(())
            } else {
                Err(Reject::BadSignature)
            };
            assert_eq!(verdict, expected, "{made:?} shown as {shown:?}");
        }
    }
}

#[test]
fn a7_no_role_begins_another_so_no_body_can_stand_in_for_a_word() {
    let kid = Kid([1; 32]);
    for (index, role) in Role::ALL.iter().enumerate() {
        for other in &Role::ALL[index + 1..] {
            assert_ne!(
                prehash(*role, &kid, &NO_CONTEXT, &[]),
                prehash(*other, &kid, &NO_CONTEXT, &[])
            );
        }
        assert!(role.word().bytes().all(|byte| byte != 0));
    }
}

#[test]
fn a8_a_signature_does_not_hold_under_another_kid_context_or_body() {
    let (key, other) = (SigningKey::generate(), SigningKey::generate());
    let ctx = Digest([3; 32]);
    let signature = key.sign(Role::Batch, &ctx, &[b"bo", b"dy"]);
    let check = |key: VerifyingKey, ctx, body: &[u8], verdict| {
        assert_eq!(key.verify(Role::Batch, ctx, &[body], &signature), verdict);
    };
    check(key.verifying_key(), &ctx, b"body", Ok(()));
    let bad = Err(Reject::BadSignature);
    check(other.verifying_key(), &ctx, b"body", bad);
    check(key.verifying_key(), &NO_CONTEXT, b"body", bad);
    check(key.verifying_key(), &ctx, b"bodi", bad);
    // Its own key, but a prehash that names another's kid: what a relabelled batch would show.
    let relabelled = prehash(Role::Batch, &other.kid(), &ctx, &[b"body"]);
    assert_eq!(
        key.verifying_key().verify_prehash(&relabelled, &signature),
        bad
    );
}

#[test]
fn a9_the_mirrored_signature_is_not_canonical_though_the_back_ends_would_take_it() {
    let key = SigningKey::generate();
    let digest = prehash(Role::Batch, &key.kid(), &NO_CONTEXT, &[b"body"]);
    let signature = key.sign_prehash(&digest);
    let mirrored = with_s(&signature, &mirror(&signature.0[32..]));

    let twin = p256::ecdsa::VerifyingKey::from_sec1_bytes(&key.point().0).unwrap();
    let raw = p256::ecdsa::Signature::from_slice(&mirrored.0).unwrap();
    assert!(
        twin.verify_prehash(&digest.0, &raw).is_ok(),
        "p256 takes it"
    );
    let digest_lc =
        aws_lc_rs::digest::Digest::import_less_safe(&digest.0, &aws_lc_rs::digest::SHA256).unwrap();
    let raw = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
        key.point().0,
    );
    assert!(
        raw.verify_digest(&digest_lc, &mirrored.0).is_ok(),
        "aws-lc takes it"
    );

    assert_eq!(
        key.verifying_key().verify_prehash(&digest, &mirrored),
        Err(Reject::NotCanonical)
    );
}

#[test]
fn a9_zero_and_the_order_are_not_canonical_in_either_place() {
    let key = SigningKey::generate().verifying_key();
    let order: [u8; 32] = pulseward_base::bytes::unhex(ORDER)
        .unwrap()
        .try_into()
        .unwrap();
    let one = [&[0; 31][..], &[1]].concat();
    for bad in [[0; 32], order, [0xff; 32]] {
        for (r, s) in [(&bad[..], &one[..]), (&one[..], &bad[..])] {
            let signature = Signature::from_slice(&[r, s].concat()).unwrap();
            assert_eq!(
                key.verify(Role::Batch, &NO_CONTEXT, &[], &signature),
                Err(Reject::NotCanonical)
            );
        }
    }
    let smallest = Signature::from_slice(&[&one[..], &one].concat()).unwrap();
    assert_eq!(
        key.verify(Role::Batch, &NO_CONTEXT, &[], &smallest),
        Err(Reject::BadSignature)
    );
}

#[test]
fn a9_der_short_and_long_signatures_are_not_canonical() {
    let key = SigningKey::generate();
    let signature = key.sign(Role::Batch, &NO_CONTEXT, &[]);
    let raw = p256::ecdsa::Signature::from_slice(&signature.0).unwrap();
    let der = raw.to_der();
    for bytes in [
        der.as_bytes(),
        &signature.0[..63],
        &[&signature.0[..], &[0]].concat(),
        &[],
    ] {
        assert_eq!(Signature::from_slice(bytes), Err(Reject::NotCanonical));
    }
}

#[test]
fn a9_half_the_order_is_the_highest_s_and_every_signature_made_lies_below() {
    let half = mirror_free_half();
    let mut above = half;
    *above.last_mut().unwrap() += 1;
    let r = [1; 32];
    assert!(
        Signature::from_slice(&[r, half].concat())
            .unwrap()
            .is_canonical()
    );
    assert!(
        !Signature::from_slice(&[r, above].concat())
            .unwrap()
            .is_canonical()
    );
    let key = SigningKey::generate();
    for count in 0..64_u8 {
        assert!(
            key.sign(Role::Head, &NO_CONTEXT, &[&[count]])
                .is_canonical()
        );
    }
}

#[test]
fn debug_shows_neither_secrets_nor_whole_names() {
    let key = SigningKey::generate();
    let secret = pulseward_base::bytes::hex(key.secret().expose());
    let kid = pulseward_base::bytes::hex(&key.kid().0);
    let text = format!("{key:?} {:?} {:?}", key.verifying_key(), key.point());
    assert!(!text.contains(&secret) && !text.contains(&kid));
}

fn with_s(signature: &Signature, s: &[u8]) -> Signature {
    Signature::from_slice(&[&signature.0[..32], s].concat()).unwrap()
}

/// Returns n - s.
fn mirror(s: &[u8]) -> Vec<u8> {
    let order = pulseward_base::bytes::unhex(ORDER).unwrap();
    let mut borrow = 0;
    let mut difference: Vec<u8> = order
        .iter()
        .zip(s)
        .rev()
        .map(|(order, digit)| {
            let value = i16::from(*order) - i16::from(*digit) - borrow;
            borrow = i16::from(value < 0);
            u8::try_from(value.rem_euclid(256)).unwrap()
        })
        .collect();
    difference.reverse();
    difference
}

/// Returns (n - 1) / 2.
fn mirror_free_half() -> [u8; 32] {
    let order = pulseward_base::bytes::unhex(ORDER).unwrap();
    let mut carry = 0;
    let half: Vec<u8> = order
        .iter()
        .map(|byte| {
            let value = (carry << 8) | u16::from(*byte);
            carry = value & 1;
            u8::try_from(value >> 1).unwrap()
        })
        .collect();
    half.try_into().unwrap()
}
