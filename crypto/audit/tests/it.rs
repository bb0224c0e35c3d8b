//! What a chain shows: every change, cut and rewrite.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use proptest::prelude::*;
use pulseward_audit::{Action, Broken, Chain, Entry, Head, Record, SIZE, SignedHead, verify};
use pulseward_base::{Digest, Micros, Reject, bytes::hex};
use pulseward_crypto::SigningKey;

fn entry(time: i64) -> Entry {
    Entry {
        time: Micros(time),
        actor: Digest([1; 32]),
        action: Action::PersonShown,
        subject: Digest([2; 32]),
    }
}

fn chain(length: i64) -> (Vec<Vec<u8>>, Head) {
    let mut chain = Chain::begin();
    let records = (0..length).map(|time| chain.append(entry(time))).collect();
    (records, chain.head())
}

fn check(records: &[Vec<u8>]) -> Result<Head, Broken> {
    verify(Head::EMPTY, records.iter().map(Vec::as_slice))
}

fn reaches(head: &Head, records: &[Vec<u8>]) -> Result<(), Broken> {
    head.reached_by(records.iter().map(Vec::as_slice))
}

#[test]
fn a_chain_verifies_to_its_head_and_goes_on_from_it() {
    let (mut records, head) = chain(5);
    assert_eq!(check(&records), Ok(head));
    assert_eq!(head.count, 5);
    let mut resumed = Chain::resume(head);
    records.push(resumed.append(entry(9)));
    assert_eq!(check(&records), Ok(resumed.head()));
    assert_eq!(
        verify(head, records[5..].iter().map(Vec::as_slice)),
        Ok(resumed.head())
    );
    assert_eq!(check(&[]), Ok(Head::EMPTY));
}

#[test]
fn the_layout_is_frozen() {
    let (records, head) = chain(2);
    let record = |seq: &str, previous: &str, time: &str| {
        let (actor, subject) = ("01".repeat(32), "02".repeat(32));
        format!("01{seq}{previous}{time}{actor}0500{subject}")
    };
    let zero = "0000000000000000";
    let one = "0100000000000000";
    assert_eq!(hex(&records[0]), record(zero, &"00".repeat(32), zero));
    let last = Record::decode(&records[1]).unwrap();
    assert_eq!(hex(&records[1]), record(one, &hex(&last.previous.0), one));
    let digest =
        |record: &[u8]| pulseward_crypto::hash::sha256(&[b"pulseward/v1/audit\x00", record]);
    assert_eq!(last.previous, digest(&records[0]));
    assert_eq!(head.last, digest(&records[1]));
    assert_eq!(records[0].len(), SIZE);
}

#[test]
fn a_removed_repeated_moved_or_changed_record_breaks_the_chain_at_its_place() {
    let (good, _) = chain(5);
    let broken = |at: u64, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut records = good.clone();
        change(&mut records);
        let verdict = check(&records).unwrap_err();
        assert!(
            verdict == Broken::NotNext(at) || verdict == Broken::Malformed(at),
            "{verdict:?}, expected at {at}"
        );
    };
    broken(2, &|records| drop(records.remove(2)));
    broken(3, &|records| records.insert(3, records[2].clone()));
    broken(1, &|records| records.swap(1, 2));
    broken(2, &|records| records[2].truncate(SIZE - 1));
    for byte in 0..SIZE {
        let mut records = good.clone();
        records[1][byte] ^= 1;
        let (Broken::Malformed(place) | Broken::NotNext(place)) = check(&records).unwrap_err()
        else {
            panic!("no head is signed here");
        };
        // What a record says is vouched for by the next.
        assert!((1..=2).contains(&place), "byte {byte} noticed at {place}");
    }
}

#[test]
fn a_signed_head_shows_a_cut_and_a_rewritten_chain() {
    let key = SigningKey::generate();
    let (records, head) = chain(5);
    let bytes = SignedHead::issue(&key, &head);
    assert_eq!(bytes.len(), SignedHead::SIZE);
    let signed = SignedHead::decode(&bytes).unwrap();
    let head = signed.verify(&key.verifying_key()).unwrap();
    assert_eq!(reaches(&head, &records), Ok(()));
    let (longer, _) = chain(7);
    assert_eq!(reaches(&head, &longer), Ok(()), "records may follow");
    assert_eq!(
        reaches(&head, &records[..4]),
        Err(Broken::NotReached(5)),
        "the last was cut off"
    );
    let mut rewritten = Chain::begin();
    let rewritten: Vec<_> = (0..5)
        .map(|time| {
            rewritten.append(Entry {
                actor: Digest([9; 32]),
                ..entry(time)
            })
        })
        .collect();
    assert_eq!(reaches(&head, &rewritten), Err(Broken::NotReached(5)));

    let other = SigningKey::generate().verifying_key();
    assert_eq!(signed.verify(&other), Err(Reject::BadSignature));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let holds = SignedHead::decode(&changed)
            .is_ok_and(|signed| signed.verify(&key.verifying_key()).is_ok());
        assert!(!holds, "byte {at}");
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_run_the_chain_backwards() {
    let mut chain = Chain::begin();
    let records = [chain.append(entry(100)), chain.append(entry(50))];
    assert_eq!(Record::decode(&records[1]).unwrap().entry.time, Micros(100));
    assert_eq!(check(&records), Ok(chain.head()));
}

#[test]
fn numbers_and_words_of_actions_are_unique_and_go_both_ways() {
    let mut words: Vec<_> = Action::ALL.iter().map(|action| action.word()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Action::ALL.len());
    for action in Action::ALL {
        assert_eq!(Action::from_number(action.number()), Some(*action));
    }
    assert_eq!(Action::from_number(0), None);
}

proptest! {
    #[test]
    fn foreign_bytes_are_a_record_in_its_one_spelling_or_malformed(bytes in prop::collection::vec(any::<u8>(), 0..130)) {
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encode(), bytes.clone());
        }
        let _total = SignedHead::decode(&bytes);
    }
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/audit.md");

/// The page's table is that of the code. Set PULSEWARD_BLESS to write it.
#[test]
fn the_audit_page_lists_the_actions_of_the_code() {
    let row = |action: &Action| format!("| {} | `{}` |\n", action.number(), action.word());
    let rows: String = Action::ALL.iter().map(row).collect();
    let page = std::fs::read_to_string(PAGE).unwrap();
    let begin = "<!-- actions: begin (generated) -->\n";
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once("<!-- actions: end -->").unwrap();
    let current = format!(
        "{before}{begin}| number | action |\n| --- | --- |\n{rows}<!-- actions: end -->{after}"
    );
    if std::env::var_os("PULSEWARD_BLESS").is_some() {
        std::fs::write(PAGE, &current).unwrap();
        return;
    }
    assert_eq!(page, current, "run with PULSEWARD_BLESS=1 to write it anew");
}
