//! What a batch's digest covers, and what can be dropped from under it.

use proptest::prelude::*;
use pulseward_base::bytes::hex;
use pulseward_base::{Digest, Kid};
use pulseward_batch::digest::{
    batch_digest, leaf_digest, leaf_salt, readings_digest, readings_digest_of,
};
use pulseward_vitals::{Columns, Kind, Leaf};

use crate::world::{PLACE, columns, leaf};

const SEED: [u8; 32] = [0xa5; 32];

#[test]
fn the_digests_of_given_readings_are_frozen() {
    assert_eq!(
        hex(&columns().encode()),
        concat!(
            "0300",
            "0101000002000000",
            "01000000000000000200000000000000",
            "d0020000da020000",
            "0000",
            "0102000001000000",
            "0100000000000000",
            "ca030000",
            "00",
            "0104000102000000",
            "01000000000000000200000000000000",
            "00000080ffffff7f",
            "0000",
        )
    );
    let readings = readings_digest(&SEED, &columns());
    assert_eq!(hex(&leaf_salt(&SEED, 1)), SALT);
    assert_eq!(hex(&readings.0), READINGS);
    let digest = batch_digest(&Kid([1; 32]), &Digest([2; 32]), &PLACE, &readings);
    assert_eq!(hex(&digest.0), BATCH);
}

// Worked out by a second implementation, in Python, from the page alone.
const SALT: &str = "793743d91da0f5c8a1fa219f63a31f2c";
const READINGS: &str = "40e281296fe813be4598bab9dff49b274fed44d41047d6303b7f2e857b9a3b0b";
const BATCH: &str = "4fbdfe3bdb8348032ed487132e1cbf7b6036766bf3f6e8235ec78e8539055cee";

#[test]
fn a19_what_was_dropped_is_known_by_its_digest_and_cannot_be_guessed_without_its_salt() {
    let all = columns();
    let salts = [0, 1, 2].map(|index| leaf_salt(&SEED, index));
    let kept = |index: usize| leaf_digest(&salts[index], &all.leaves()[index]);
    // Retention dropped the leaf in the middle and keeps its digest, and the others' salts.
    let withheld = kept(1);
    assert_eq!(
        readings_digest_of(&[kept(0), withheld, kept(2)]),
        readings_digest(&SEED, &all)
    );
    // Whoever tries every saturation there is finds it with the salt, and not with any other.
    let guess = |salt| {
        (300..=1000).any(|value| leaf_digest(salt, &leaf(Kind::SpO2, 0, &[(1, value)])) == withheld)
    };
    assert!(guess(&salts[1]));
    assert!(!guess(&salts[0]) && !guess(&salts[2]) && !guess(&[0; 16]));
}

fn any_columns() -> impl Strategy<Value = Columns> {
    let rows = prop::collection::btree_map(any::<i64>(), any::<(i32, u8)>(), 1..6);
    prop::collection::btree_map((0..Kind::ALL.len(), any::<u8>()), rows, 1..5).prop_map(|leaves| {
        let leaf = |((kind, channel), rows): ((usize, u8), _)| Leaf {
            kind: Kind::ALL[kind],
            channel,
            rows: std::collections::BTreeMap::into_iter(rows)
                .map(|(time, (value, quality))| pulseward_vitals::Row {
                    time: pulseward_base::Micros(time),
                    value,
                    quality,
                })
                .collect(),
        };
        Columns::new(leaves.into_iter().map(leaf).collect()).unwrap()
    })
}

proptest! {
    #[test]
    fn a18_two_sets_of_rows_have_two_digests(one in any_columns(), other in any_columns()) {
        let same = readings_digest(&SEED, &one) == readings_digest(&SEED, &other);
        prop_assert_eq!(same, one == other);
    }

    #[test]
    fn a18_one_changed_row_changes_the_digest(columns in any_columns(), pick: prop::sample::Index, by in 1..i32::MAX) {
        let mut leaves = columns.leaves().to_vec();
        let at = pick.index(leaves.len());
        leaves[at].rows[0].value = leaves[at].rows[0].value.wrapping_add(by);
        let changed = Columns::new(leaves).unwrap();
        prop_assert_ne!(readings_digest(&SEED, &columns), readings_digest(&SEED, &changed));
    }

    #[test]
    fn another_seed_gives_another_digest(columns in any_columns(), seed: [u8; 32]) {
        prop_assume!(seed != SEED);
        prop_assert_ne!(readings_digest(&SEED, &columns), readings_digest(&seed, &columns));
    }
}
