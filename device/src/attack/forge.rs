//! Batches that the SDK would not make: signed in good form over columns that are in none.

use pulseward_base::{Digest, bytes::Writer};
use pulseward_batch::digest::{Place, batch_digest, leaf_salt, readings_digest_of};
use pulseward_crypto::{SigningKey, hash::sha256, random};

/// A leaf as bytes: type, kind, channel and rows of (time, value).
pub(super) fn leaf(kind: u16, channel: u8, rows: &[(i64, i32)]) -> Vec<u8> {
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let mut writer = Writer::new();
    writer.u8(1).u16(kind).u8(channel).u32(count);
    for (time, _) in rows {
        writer.i64(*time);
    }
    for (_, value) in rows {
        writer.i32(*value);
    }
    for _ in rows {
        writer.u8(0);
    }
    writer.into_vec()
}

/// Signs leaves as they are, in their order.
pub(super) fn batch(key: &SigningKey, ctx: &Digest, place: &Place, leaves: &[Vec<u8>]) -> Vec<u8> {
    let seed = random::bytes();
    let digest = |(index, leaf): (u32, &Vec<u8>)| {
        sha256(&[b"pulseward/v1/leaf", &[0], &leaf_salt(&seed, index), leaf])
    };
    let digests: Vec<_> = (0..).zip(leaves).map(digest).collect();
    let digest = batch_digest(&key.kid(), ctx, place, &readings_digest_of(&digests));
    let signature = key.sign_prehash(&digest);
    let mut writer = Writer::new();
    writer
        .put(&place.incarnation.0)
        .u64(place.seq.0)
        .i64(place.time.0)
        .put(&seed)
        .u8(1)
        .put(&signature.0)
        .u16(u16::try_from(leaves.len()).unwrap_or(u16::MAX));
    for leaf in leaves {
        writer.put(leaf);
    }
    writer.into_vec()
}

#[cfg(test)]
mod tests {
    use pulseward_base::{Incarnation, Micros, Seq};
    use pulseward_batch::NewBatch;
    use pulseward_vitals::{Columns, Kind, Leaf, Row};

    use super::*;

    #[test]
    fn what_is_forged_in_good_form_is_what_the_sdk_makes() {
        let rows = [(5, 970), (6, 960)];
        let bytes = leaf(Kind::SpO2.spec().number, 0, &rows);
        let row = |(time, value): (i64, i32)| Row {
            time: Micros(time),
            value,
            quality: 0,
        };
        let real = Columns::new(vec![Leaf {
            kind: Kind::SpO2,
            channel: 0,
            rows: rows.map(row).to_vec(),
        }])
        .unwrap();
        let place = Place {
            incarnation: Incarnation::ZERO,
            seq: Seq(0),
            time: Micros(1),
        };
        let key = SigningKey::generate();
        let forged = batch(&key, &Digest::ZERO, &place, &[bytes]);
        let made = NewBatch::new(place, &real).sign(&key, &Digest::ZERO);
        // All but seed and signature, which are random.
        assert_eq!(forged[..32], made.payload[..32]);
        assert_eq!(forged[129..], made.payload[129..]);
    }
}
