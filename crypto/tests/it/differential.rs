//! The same things done twice: ECDSA by p256 beside aws-lc, HPKE by the letter of RFC 9180.

use aws_lc_rs::agreement::{self, ECDH_P256, UnparsedPublicKey};
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use proptest::prelude::*;
use pulseward_base::{Digest, Reject, Secret};
use pulseward_crypto::{
    Point, Signature, SigningKey, VerifyingKey, aead,
    hash::hmac,
    seal::{self, KeyPair},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_one_back_end_signs_the_other_verifies(secret: [u8; 32], digest: [u8; 32]) {
        let Ok(twin) = p256::ecdsa::SigningKey::from_slice(&secret) else { return Ok(()) };
        let ours = SigningKey::from_secret(&Secret::new(secret)).unwrap();
        let digest = Digest(digest);

        let signature = ours.sign_prehash(&digest);
        prop_assert!(signature.is_canonical());
        let foreign = p256::ecdsa::Signature::from_slice(&signature.0).unwrap();
        prop_assert!(twin.verifying_key().verify_prehash(&digest.0, &foreign).is_ok());

        let theirs: p256::ecdsa::Signature = twin.sign_prehash(&digest.0).unwrap();
        let theirs = Signature(theirs.normalize_s().to_bytes().into());
        prop_assert_eq!(ours.verifying_key().verify_prehash(&digest, &theirs), Ok(()));
    }

    #[test]
    fn both_back_ends_give_one_verdict_on_changed_signatures(
        at in 0..64_usize, bit in 0..8_u8, digest: [u8; 32],
    ) {
        let key = SigningKey::generate();
        let mut signature = key.sign_prehash(&Digest(digest));
        signature.0[at] ^= 1 << bit;
        let twin = p256::ecdsa::VerifyingKey::from_sec1_bytes(&key.point().0).unwrap();
        let theirs = p256::ecdsa::Signature::from_slice(&signature.0)
            .is_ok_and(|signature| twin.verify_prehash(&digest, &signature).is_ok());
        let ours = key.verifying_key().verify_prehash(&Digest(digest), &signature).is_ok();
        prop_assert!(!ours && !theirs);
    }

    #[test]
    fn foreign_bytes_are_a_point_for_both_or_for_none(mut bytes: [u8; 32], odd: bool) {
        bytes[0] &= 0x7f;
        let point = [&[2 + u8::from(odd)], &bytes[..]].concat();
        let ours = VerifyingKey::from_point(&Point(point.clone().try_into().unwrap()));
        let theirs = p256::PublicKey::from_sec1_bytes(&point);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok());
        if let Ok(key) = ours {
            prop_assert_eq!(&key.point().0[..], &point);
        }
    }
}

#[test]
fn a_kid_is_the_digest_of_the_der_that_other_tools_write() {
    use p256::pkcs8::EncodePublicKey as _;

    let key = SigningKey::generate();
    let twin = p256::PublicKey::from_sec1_bytes(&key.point().0).unwrap();
    let der = twin.to_public_key_der().unwrap();
    assert_eq!(der.as_bytes(), key.verifying_key().spki().unwrap());
    assert_eq!(
        pulseward_crypto::hash::sha256(&[der.as_bytes()]).0,
        key.kid().0
    );
}

#[test]
fn no_other_spelling_of_a_point_is_a_key() {
    for first in [0, 1, 4, 5, 6, 7, 255] {
        let mut point = SigningKey::generate().point();
        point.0[0] = first;
        assert_eq!(VerifyingKey::from_point(&point), Err(Reject::Malformed));
    }
    assert_eq!(
        VerifyingKey::from_point(&Point::ZERO),
        Err(Reject::Malformed)
    );
    assert!(SigningKey::from_secret(&Secret::new([0; 32])).is_err());
    assert!(SigningKey::from_secret(&Secret::new([255; 32])).is_err());
}

#[test]
fn a_seal_opens_by_the_letter_of_rfc_9180() {
    let secret: Secret<32> = SigningKey::generate().secret();
    let pair = KeyPair::from_secret(&secret).unwrap();
    let context = Digest([7; 32]);
    let sealed = seal::seal(pair.public(), "hello", &context, b"to whom it concerns").unwrap();
    let info = [b"pulseward/v1/hello".as_slice(), &[0], &context.0].concat();
    let opened = open_by_the_letter(&secret, pair.public(), &sealed, &info);
    assert_eq!(opened, b"to whom it concerns");
}

/// What is sealed by one library is opened by another, which must not be laxer about points.
#[test]
fn an_encapsulation_that_is_no_uncompressed_point_of_the_curve_does_not_open() {
    let pair = KeyPair::generate();
    let context = Digest([7; 32]);
    let sealed = seal::seal(pair.public(), "hello", &context, b"plain").unwrap();
    let open = |enc: &seal::PublicKey| pair.open("hello", &context, enc, &sealed.ciphertext);
    assert_eq!(open(&sealed.enc).unwrap().as_slice(), b"plain");
    let with = |at: usize, byte: u8| {
        let mut enc = sealed.enc;
        enc[at] = byte;
        enc
    };
    let odd = sealed.enc[64] & 1;
    let hostile = [
        ("off the curve", with(64, sealed.enc[64] ^ 1)),
        ("the point at infinity", [0; 65]),
        ("zeros", with(0, 0)),
        ("compressed, with a tail", with(0, 2 + odd)),
        ("hybrid", with(0, 6 + odd)),
        (
            "coordinates beyond the field",
            [[4].as_slice(), &[255; 64]].concat().try_into().unwrap(),
        ),
    ];
    for (name, enc) in hostile {
        assert_eq!(open(&enc).unwrap_err(), Reject::BadSeal, "{name}");
    }
}

/// RFC 9180, sections 4.1 and 5.1, for suite (0x0010, 0x0001, 0x0002) in base mode.
fn open_by_the_letter(
    secret: &Secret<32>,
    public: &seal::PublicKey,
    sealed: &seal::Sealed,
    info: &[u8],
) -> Vec<u8> {
    let private = agreement::PrivateKey::from_private_key(&ECDH_P256, secret.expose()).unwrap();
    let peer = UnparsedPublicKey::new(&ECDH_P256, sealed.enc);
    let shared = agreement::agree(&private, peer, (), |shared| Ok(shared.to_vec())).unwrap();

    let kem = b"KEM\x00\x10".as_slice();
    let prk = labelled_extract(kem, &[], b"eae_prk", &shared);
    let kem_context = [&sealed.enc[..], public].concat();
    let shared_secret = labelled_expand(kem, &prk, b"shared_secret", &kem_context, 32);

    let suite = b"HPKE\x00\x10\x00\x01\x00\x02".as_slice();
    let psk_id_hash = labelled_extract(suite, &[], b"psk_id_hash", &[]);
    let info_hash = labelled_extract(suite, &[], b"info_hash", info);
    let schedule = [&[0], &psk_id_hash[..], &info_hash].concat();
    let secret = labelled_extract(suite, &shared_secret, b"secret", &[]);
    let key = labelled_expand(suite, &secret, b"key", &schedule, 32);
    let nonce = labelled_expand(suite, &secret, b"base_nonce", &schedule, 12);

    let mut plain = sealed.ciphertext.clone();
    aead::Key::new(&Secret::new(key.try_into().unwrap()))
        .open(nonce.try_into().unwrap(), &[], &mut plain)
        .unwrap();
    plain
}

fn labelled_extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> [u8; 32] {
    hmac(salt, &[b"HPKE-v1", suite, label, ikm])
}

fn labelled_expand(suite: &[u8], prk: &[u8], label: &[u8], info: &[u8], length: u16) -> Vec<u8> {
    // One block of HKDF-Expand: no key here is longer.
    let parts: [&[u8]; 6] = [&length.to_be_bytes(), b"HPKE-v1", suite, label, info, &[1]];
    hmac(prk, &parts)[..usize::from(length)].to_vec()
}
