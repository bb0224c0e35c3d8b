//! What goes into a file comes out of it, to the last bit, and only with its keys and its name.

use bytes::Bytes;
use proptest::prelude::*;
use pulseward_base::{
    AlertId, Digest, Incarnation, Kid, Micros, ModelId, Partition, Pseudonym, Secret, Seq,
};
use pulseward_crypto::Signature;
use pulseward_history::{
    file::{FileName, open_strict, seal},
    rows::{AlertRow, CausedBy, Enrolment, LeafProof, Proof, Reading, Rows, Salts, ScoreRow, Term},
};
use pulseward_vitals::Kind;

const KEY: [u8; 32] = [5; 32];

fn name(rows: &Rows) -> FileName {
    FileName {
        id: [3; 16],
        partition: Partition(1),
        kind: rows.kind(),
    }
}

fn round_trip(rows: &Rows) -> Rows {
    let (name, key) = (name(rows), Secret::new(KEY));
    let bytes = seal(&name, &key, &rows.to_arrow().unwrap()).unwrap();
    let batches = open_strict(&name, &key, Bytes::from(bytes)).unwrap();
    Rows::from_arrow(name.kind, &batches).unwrap()
}

pub(crate) fn reading(kind: Kind, time: i64, raw: i32) -> Reading {
    Reading {
        pseudonym: Pseudonym([1; 16]),
        device: 2,
        batch: 3,
        time: Micros(time),
        received: Micros(4),
        kind,
        channel: 5,
        raw,
        quality: 6,
        flags: 7,
    }
}

fn proof(salts: Salts) -> Proof {
    Proof {
        batch: 0,
        device: 1,
        pseudonym: Pseudonym([2; 16]),
        kid: Kid([3; 32]),
        record_digest: Digest([4; 32]),
        incarnation: Incarnation([5; 16]),
        seq: Seq(u64::MAX),
        time: Micros(i64::MIN),
        clock_offset: i64::MAX,
        received: Micros(-1),
        salts,
        proven: true,
        signature: Signature([6; 64]),
        rows: 7,
    }
}

fn score() -> ScoreRow {
    let term = |kind, low| Term {
        kind,
        value: 0,
        low,
        high: i32::MAX,
    };
    ScoreRow {
        pseudonym: Pseudonym([1; 16]),
        at: Micros(2),
        lane: 3,
        model: ModelId([4; 16]),
        low: i32::MIN,
        high: 5,
        flags: 6,
        // The second kind is one that this version has no name for.
        terms: vec![term(1, -1), term(60_000, 7)],
        cause: CausedBy {
            generation: 8,
            offset: u64::MAX,
            index: 9,
        },
    }
}

#[test]
fn every_kind_of_file_is_read_back_as_it_was_written() {
    let leaves = vec![
        LeafProof::Kept([1; 16]),
        LeafProof::Withheld(Digest([2; 32])),
    ];
    let alert = AlertRow {
        alert: AlertId([9; 16]),
        severity: 1,
        state: 2,
        what: 3,
        score: score(),
    };
    let enrolment = Enrolment {
        certificate: [1; 148],
        record: [2; 147],
        binding: [3; 179],
    };
    for rows in [
        Rows::Readings(vec![reading(Kind::HeartRate, 1, 2)]),
        Rows::Proofs(vec![
            proof(Salts::Seed([7; 32])),
            proof(Salts::Leaves(leaves)),
        ]),
        Rows::Enrolments(vec![enrolment.clone(), enrolment]),
        Rows::Scores(vec![
            score(),
            ScoreRow {
                terms: vec![],
                ..score()
            },
        ]),
        Rows::Alerts(vec![alert]),
    ] {
        assert_eq!(round_trip(&rows), rows, "{}", rows.kind());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a18_readings_survive_at_the_extremes_of_i32_and_time(
        rows in prop::collection::vec((0..Kind::ALL.len(), any::<i64>(), any::<i32>()), 1..60),
    ) {
        let rows = rows.iter().map(|(kind, time, raw)| reading(Kind::ALL[*kind], *time, *raw));
        let extremes = [i32::MIN, -1, 0, 1, i32::MAX].map(|raw| reading(Kind::SpO2, i64::MIN, raw));
        let rows = Rows::Readings(rows.chain(extremes).collect());
        prop_assert_eq!(round_trip(&rows), rows);
    }
}

#[test]
fn a_file_opens_under_its_own_key_and_name_only() {
    let rows = Rows::Readings(vec![reading(Kind::HeartRate, 1, 2)]);
    let name = name(&rows);
    let bytes = Bytes::from(seal(&name, &Secret::new(KEY), &rows.to_arrow().unwrap()).unwrap());
    let opens = |name: &FileName, key| open_strict(name, &Secret::new(key), bytes.clone()).is_ok();
    assert!(opens(&name, KEY));
    assert!(!opens(&name, [6; 32]));
    assert!(!opens(
        &FileName {
            id: [4; 16],
            ..name
        },
        KEY
    ));
    assert!(!opens(
        &FileName {
            partition: Partition(2),
            ..name
        },
        KEY
    ));
}

#[test]
fn no_value_and_no_name_of_a_patient_stands_in_the_bytes() {
    let rows = Rows::Readings(
        (0..500)
            .map(|at| reading(Kind::HeartRate, at, 0x4142_4344))
            .collect(),
    );
    let bytes = seal(&name(&rows), &Secret::new(KEY), &rows.to_arrow().unwrap()).unwrap();
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(!holds(&[0x44, 0x43, 0x42, 0x41]));
    assert!(!holds("01".repeat(16).as_bytes()));
    assert!(!holds(b"heart_rate"));
    assert!(!holds(b"pseudonym"));
}
