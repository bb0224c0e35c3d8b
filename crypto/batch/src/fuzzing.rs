//! What the fuzz target calls, so that a target is one line and a test replays the same.

use pulseward_vitals::Limits;

use crate::{contents::Contents, stored::StoredBatch};

/// Reads `data` as the payload of a batch frame and as a stored batch.
pub fn batch_parse(data: &[u8]) {
    let limits = Limits::default();
    if let Ok(contents) = Contents::decode(data, limits) {
        let columns = contents.columns.encode();
        assert!(data.ends_with(&columns), "one set of rows, one spelling");
    }
    if let Ok(stored) = StoredBatch::decode(data, limits) {
        assert_eq!(stored.encode(), data, "one batch, one spelling");
    }
}

#[cfg(test)]
mod tests {
    use pulseward_base::{Digest, Incarnation, Kid, Micros, Pseudonym, Seq};
    use pulseward_crypto::SigningKey;
    use pulseward_vitals::{Columns, Kind, Leaf, Row};

    use super::*;
    use crate::{Arrival, NewBatch, Proof, digest::Place};

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/batch_parse");

    /// Returns a payload and the stored form of it.
    fn fresh() -> [(&'static str, Vec<u8>); 2] {
        let row = Row {
            time: Micros(1),
            value: 720,
            quality: 0,
        };
        let leaf = |kind| Leaf {
            kind,
            channel: 0,
            rows: vec![row],
        };
        let columns = Columns::new(vec![leaf(Kind::HeartRate), leaf(Kind::SpO2)]).unwrap();
        let place = Place {
            incarnation: Incarnation([1; 16]),
            seq: Seq(2),
            time: Micros(3),
        };
        let signed = NewBatch::new(place, &columns).sign(&SigningKey::generate(), &Digest([4; 32]));
        let stored = StoredBatch {
            pseudonym: Pseudonym([5; 16]),
            device: Kid([6; 32]),
            record: Digest([4; 32]),
            arrival: Arrival::default(),
            proof: Proof::Signature,
            contents: Contents::decode(&signed.payload, Limits::default()).unwrap(),
        };
        [("payload", signed.payload), ("stored", stored.encode())]
    }

    #[test]
    fn the_seeds_of_batch_parse_pass() {
        if std::env::var_os("PULSEWARD_BLESS").is_some() {
            for (name, seed) in fresh() {
                std::fs::write(format!("{ROOT}/{name}"), seed).unwrap();
            }
        }
        let mut seeds = 0;
        for file in std::fs::read_dir(ROOT).unwrap() {
            batch_parse(&std::fs::read(file.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0, "batch_parse has seeds");
    }
}
