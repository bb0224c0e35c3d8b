//! Published vectors: RFC 6979 (A.2.5), RFC 5869, RFC 4231, RFC 9180 (A.3.1), GCM's own test cases.

use hpke::Kem as _;
use pulseward_base::{
    Digest, Secret,
    bytes::{hex, unhex},
};
use pulseward_crypto::{
    Signature, SigningKey,
    aead::{Key, OpenError},
    hash::{hkdf, hmac, hmac_matches, sha256},
    seal::KeyPair,
};

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).unwrap().try_into().unwrap()
}

const RFC6979_SECRET: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
const RFC6979_X: &str = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";

#[test]
fn rfc_6979_keys_and_signatures_hold_in_their_low_form() {
    let key = SigningKey::from_secret(&Secret::new(bytes(RFC6979_SECRET))).unwrap();
    assert_eq!(hex(&key.point().0), format!("03{RFC6979_X}"));
    let high_s = bytes::<64>(concat!(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    ));
    let low_s = bytes::<64>(concat!(
        "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
        "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"
    ));
    let verifying = key.verifying_key();
    assert_eq!(
        verifying.verify_prehash(&sha256(&[b"test"]), &Signature(low_s)),
        Ok(())
    );
    assert_eq!(
        verifying.verify_prehash(&sha256(&[b"sample"]), &Signature(high_s)),
        Err(pulseward_base::Reject::NotCanonical)
    );
}

#[test]
fn rfc_5869_keys_are_derived() {
    let ikm = [0x0b; 22];
    let salt: Vec<u8> = (0..=0x0c).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    let (left, right) = info.split_at(4);
    assert_eq!(
        hex(hkdf(&salt, &ikm, &[left, right]).expose()),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    );
    assert_eq!(
        hex(hkdf(&[], &ikm, &[]).expose()),
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    );
}

#[test]
fn rfc_4231_macs_match_whole_and_cut() {
    let mac = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
    assert_eq!(
        hex(&mac),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    let matches = |tag: &[u8]| hmac_matches(b"Jefe", &[b"what do ya want for nothing?"], tag);
    assert!(matches(&mac) && matches(&mac[..16]));
    assert!(!matches(&mac[1..]) && !matches(&[]) && !matches(&[&mac[..], &[0]].concat()));
}

#[test]
fn gcm_test_cases_13_14_and_16_seal_and_open() {
    let cases = [
        ("00".repeat(32), "00".repeat(12), String::new(), String::new(),
         "530f8afbc74536b9a963b4f1c4cb738b".to_owned()),
        ("00".repeat(32), "00".repeat(12), String::new(), "00".repeat(16),
         "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919".to_owned()),
        ("feffe9928665731c6d6a8f9467308308".repeat(2), "cafebabefacedbaddecaf888".to_owned(),
         "feedfacedeadbeeffeedfacedeadbeefabaddad2".to_owned(),
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39".to_owned(),
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b".to_owned()),
    ];
    for (key, nonce, aad, plain, sealed) in cases {
        let (key, nonce) = (Key::new(&Secret::new(bytes(&key))), bytes(&nonce));
        let (aad, plain) = (unhex(&aad).unwrap(), unhex(&plain).unwrap());
        let mut buffer = plain.clone();
        key.seal(nonce, &aad, &mut buffer);
        assert_eq!(hex(&buffer), sealed);
        key.open(nonce, &aad, &mut buffer).unwrap();
        assert_eq!(buffer, plain);
        let mut changed = unhex(&sealed).unwrap();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(key.open(nonce, &aad, &mut changed), Err(OpenError));
        assert_eq!(key.open(nonce, &aad, &mut vec![0; 15]), Err(OpenError));
    }
}

const RFC9180_SECRET: &str = "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2";
const RFC9180_PUBLIC: &str = "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0";
const RFC9180_ENC: &str = "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4";

#[test]
fn rfc_9180_a_3_1_holds_for_the_keys_and_the_key_schedule_in_use() {
    use hpke::Deserializable as _;

    type P256 = hpke::kem::DhP256HkdfSha256;
    let pair = KeyPair::from_secret(&Secret::new(bytes(RFC9180_SECRET))).unwrap();
    assert_eq!(hex(pair.public()), RFC9180_PUBLIC);
    let ikm = unhex("668b37171f1072f3cf12ea8a236a45df23fc13b82af3609ad1e354f6ef817550").unwrap();
    let (private, _) = P256::derive_keypair(&ikm);
    assert_eq!(hex(&hpke::Serializable::to_bytes(&private)), RFC9180_SECRET);

    let enc = <P256 as hpke::Kem>::EncappedKey::from_bytes(&unhex(RFC9180_ENC).unwrap()).unwrap();
    let info = unhex("4f6465206f6e2061204772656369616e2055726e").unwrap();
    let mut receiver = hpke::setup_receiver::<hpke::aead::AesGcm128, hpke::kdf::HkdfSha256, P256>(
        &hpke::OpModeR::Base,
        &private,
        &enc,
        &info,
    )
    .unwrap();
    let sealed = unhex("5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434").unwrap();
    let plain = receiver.open(&sealed, b"Count-0").unwrap();
    assert_eq!(plain, b"Beauty is truth, truth beauty");
}

#[test]
fn sha_256_goes_over_its_parts_as_one() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex(&sha256(&[b"a", b"", b"bc"]).0), abc);
    assert_ne!(sha256(&[]), Digest::ZERO);
}
