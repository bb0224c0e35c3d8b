//! Frozen bytes: what was once written must be read for ever, field by field.
//!
//! `tests/vectors/slips.txt` holds one line a layout, `name hex`, made with the keys below. Set
//! PULSEWARD_BLESS to write it anew, which is right only before a version has shipped.

use std::{collections::BTreeMap, fmt::Write as _};

use pulseward_base::{
    Kid, Secret,
    bytes::{hex, unhex},
};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    seal::KeyPair,
    slips::{Binding, Grant, Record, TicketSlip, WayBack},
};

use crate::{
    party::NOW,
    slips::{
        PIPELINE, Signer, bound, enrolment, grant_terms, riders, ticket_terms, way_back_terms,
    },
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/slips.txt");

fn key(byte: u8) -> SigningKey {
    SigningKey::from_secret(&Secret::new([byte; 32])).unwrap()
}

fn signer(use_: Use) -> Signer {
    Signer::from_keys(use_, key(1), key(2))
}

fn reader() -> KeyPair {
    KeyPair::from_secret(&Secret::new([3; 32])).unwrap()
}

fn fresh() -> BTreeMap<&'static str, Vec<u8>> {
    let vault = signer(Use::Vault);
    let delivery = signer(Use::Delivery);
    let registry = signer(Use::Registry);
    BTreeMap::from([
        ("certificate", registry.certificate.to_vec()),
        (
            "ticket",
            TicketSlip::issue(&vault.certificate, &vault.key, &ticket_terms(), &riders()),
        ),
        (
            "record",
            Record::issue(&registry.key, &enrolment(key(4).point())).to_vec(),
        ),
        ("binding", Binding::issue(&registry.key, &bound()).to_vec()),
        (
            "way-back",
            WayBack::issue(&delivery.certificate, &delivery.key, &way_back_terms()),
        ),
        (
            "grant",
            Grant::issue(
                &registry.certificate,
                &registry.key,
                &grant_terms(&reader()),
            ),
        ),
    ])
}

fn frozen() -> BTreeMap<String, Vec<u8>> {
    if std::env::var_os("PULSEWARD_BLESS").is_some() {
        let mut text = String::new();
        for (name, bytes) in fresh() {
            writeln!(text, "{name} {}", hex(&bytes)).unwrap();
        }
        std::fs::write(PATH, text).unwrap();
    }
    let text = std::fs::read_to_string(PATH).unwrap();
    text.lines()
        .map(|line| {
            let (name, bytes) = line.split_once(' ').unwrap();
            (name.to_owned(), unhex(bytes).unwrap())
        })
        .collect()
}

#[test]
fn what_was_frozen_still_holds_and_says_what_it_said() {
    let frozen = frozen();
    let (root, registry): (Kid, _) = (key(1).kid(), key(2).verifying_key());
    let subject = certificate::verify(&frozen["certificate"], &root, Use::Registry, NOW).unwrap();
    assert_eq!(subject, registry);
    let ticket = TicketSlip::decode(&frozen["ticket"]).unwrap();
    let ticket = ticket.verify(&root, &PIPELINE, NOW).unwrap();
    assert_eq!((ticket.terms, ticket.riders), (ticket_terms(), riders()));
    let record = Record::decode(&frozen["record"]).unwrap();
    assert_eq!(record.verify(&registry), Ok(enrolment(key(4).point())));
    let binding = Binding::decode(&frozen["binding"]).unwrap();
    assert_eq!(binding.verify(&registry), Ok(bound()));
    let way_back = WayBack::decode(&frozen["way-back"]).unwrap();
    assert_eq!(way_back.verify(&root, NOW), Ok(way_back_terms()));
    let grant = Grant::decode(&frozen["grant"]).unwrap();
    assert_eq!(grant.verify(&root, NOW), Ok(grant_terms(&reader())));
}

#[test]
fn what_is_written_today_differs_from_what_was_frozen_in_signatures_only() {
    let frozen = frozen();
    for (name, bytes) in fresh() {
        let before = &frozen[name];
        assert_eq!(bytes.len(), before.len(), "{name}");
        let differing = bytes.iter().zip(before).filter(|(a, b)| a != b).count();
        assert!(differing <= 128, "{name}: {differing} bytes differ");
    }
}

#[test]
fn a_certificate_lies_field_by_field_as_the_page_says() {
    let bytes = &frozen()["certificate"];
    let expected = [
        &key(1).point().0[..],
        &[1, 2],
        &key(2).point().0,
        &NOW.0.to_le_bytes(),
        &crate::party::hours(24).0.to_le_bytes(),
    ]
    .concat();
    assert_eq!(bytes[..84], expected);
    assert_eq!(bytes.len(), 84 + 64);
}
