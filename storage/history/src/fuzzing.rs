//! What a fuzzer feeds with bytes of its own: each takes anything and must neither panic nor take
//! memory that the bytes do not pay for.

use pulseward_base::{Kid, Partition};

use crate::{heads::Heads, manifest, rows::Salts};

/// Reads a manifest and signed heads. Nothing a fuzzer makes up is signed.
///
/// # Panics
/// When it is.
pub fn signed(input: &[u8]) {
    assert!(
        manifest::verify(input, &Kid::ZERO).is_err(),
        "a signature was guessed"
    );
    assert!(
        Heads::verify(input, &Kid::ZERO).is_err(),
        "a signature was guessed"
    );
}

/// Reads what a manifest holds once it is opened. What decodes must encode to the same bytes.
///
/// # Panics
/// When it does not.
pub fn manifest_body(input: &[u8]) {
    let partition = Partition(3);
    if let Ok(body) = manifest::decode_body(input, partition) {
        assert!(
            manifest::encode_body(&body, partition) == input,
            "a body has two spellings"
        );
    }
}

/// Reads what stands in the place of a seed. What decodes must encode to the same bytes.
///
/// # Panics
/// When it does not.
pub fn leaf_proofs(input: &[u8]) {
    if let Ok(salts) = Salts::decode([0; 32], input) {
        assert!(salts.encode_leaves() == input, "leaves have two spellings");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulseward_base::{Digest, Epoch, Incarnation, Micros, Seq};

    use super::*;
    use crate::{
        file::FileName,
        manifest::{Body, Deed, FileEntry, Positions},
        marks::Marks,
        rows::CausedBy,
        schema::FileKind,
    };

    /// A body with something of everything.
    fn whole() -> Vec<u8> {
        let cause = CausedBy {
            generation: 1,
            offset: 2,
            index: 3,
        };
        let mut marks = Marks::default();
        for seq in [1, 90, 300, 250] {
            marks.count(Kid([7; 32]), Incarnation([1; 16]), Seq(seq));
        }
        marks.revoke(Kid([8; 32]));
        let file = FileEntry {
            name: FileName {
                id: [1; 16],
                partition: Partition(3),
                kind: FileKind::Scores,
            },
            level: 1,
            epoch: Epoch(2),
            commit: [3; 16],
            rows: 4,
            bytes: 5,
            digest: Digest([6; 32]),
            first: Micros(7),
            last: Micros(8),
        };
        let body = Body {
            deed: Deed::Commit,
            checkpoint: true,
            log: [9; 16],
            positions: Positions {
                score_cause: Some(cause),
                ..Positions::default()
            },
            added: vec![file],
            removed: vec![[4; 16]],
            marks: marks
                .all()
                .map(|(kid, mark)| (*kid, mark.clone()))
                .collect(),
        };
        let bytes = manifest::encode_body(&body, Partition(3));
        assert_eq!(manifest::decode_body(&bytes, Partition(3)), Ok(body));
        bytes
    }

    #[test]
    fn every_flip_and_cut_of_a_body_is_a_body_of_one_spelling_or_an_error() {
        let good = whole();
        for at in 0..good.len() {
            manifest_body(&good[..at]);
            for bit in 0..8 {
                let mut altered = good.clone();
                altered[at] ^= 1 << bit;
                manifest_body(&altered);
            }
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_an_error_and_never_a_panic(bytes: Vec<u8>) {
            signed(&bytes);
            signed(&[b"PWM1\x01", &bytes[..]].concat());
            signed(&[b"PWH1\x01", &bytes[..]].concat());
            manifest_body(&bytes);
            leaf_proofs(&bytes);
        }
    }
}
