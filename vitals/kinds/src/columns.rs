//! The readings of one batch, column by column, exactly as a device signs them.
//!
//! ```text
//! columns = count u16 | leaf × count
//! leaf    = type u8 (1 = rows) | kind u16 | channel u8 | n u32 | times i64 × n | values i32 × n | qualities u8 × n
//! ```
//! All little-endian. Leaves strictly ascend by (type, kind, channel), rows by time, and no leaf is
//! empty: one set of rows has one spelling, so it has one digest.

use std::fmt;

use pulseward_base::{
    Micros, Reject,
    bytes::{Reader, Writer},
};

use crate::Kind;

/// The only type of leaf there is yet; wave-forms and opaque frames have theirs to come.
pub const ROWS: u8 = 1;

/// One reading. Its `Debug` is blind: a vital sign must not reach a log line by accident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// When the device took it, by the device's clock.
    pub time: Micros,
    /// Steps of the kind's unit.
    pub value: i32,
    /// The device's own word on its quality: 0 is good, more is worse.
    pub quality: u8,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Row(..)")
    }
}

/// The rows of one kind from one channel of a device, in ascending order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// What was measured.
    pub kind: Kind,
    /// Which of the device's sensors of that kind.
    pub channel: u8,
    /// The readings: at least one, times strictly ascending.
    pub rows: Vec<Row>,
}

/// How large a batch may be. A bound on what a peer can make the reader allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most leaves a batch may have.
    pub leaves: usize,
    /// The most rows a batch may have, over all its leaves.
    pub rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            leaves: 64,
            rows: 16_384,
        }
    }
}

/// A batch's readings in canonical order. There is no way to hold them in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    leaves: Vec<Leaf>,
}

impl Columns {
    /// Takes leaves that are already in canonical order.
    pub fn new(leaves: Vec<Leaf>) -> Result<Self, Reject> {
        let columns = Self { leaves };
        columns.check()?;
        Ok(columns)
    }

    /// Reads what [`Columns::encode`] wrote, refusing every other spelling.
    pub fn decode(bytes: &[u8], limits: Limits) -> Result<Self, Reject> {
        let mut reader = Reader::new(bytes);
        let count = usize::from(reader.u16().map_err(malformed)?);
        if count > limits.leaves {
            return Err(Reject::TooLarge);
        }
        let mut rows_left = limits.rows;
        let mut leaves = Vec::with_capacity(count);
        for _ in 0..count {
            let leaf = decode_leaf(&mut reader, rows_left)?;
            rows_left -= leaf.rows.len();
            leaves.push(leaf);
        }
        reader.end().map_err(malformed)?;
        Self::new(leaves)
    }

    /// Writes the canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(2 + self.leaves.len() * 8 + self.rows() * 13);
        // Unwrap safety: `check` bounds the count of leaves by the distinct (kind, channel) pairs
        // and of rows by what fits a u32; both saturate rather than wrap.
        writer.u16(u16::try_from(self.leaves.len()).unwrap_or(u16::MAX));
        for leaf in &self.leaves {
            encode_leaf(leaf, &mut writer);
        }
        writer.into_vec()
    }

    /// Returns the leaves, in order.
    #[must_use]
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Returns how many rows there are in all.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.rows.len()).sum()
    }

    fn check(&self) -> Result<(), Reject> {
        if self.leaves.is_empty() || self.leaves.iter().any(|leaf| leaf.rows.is_empty()) {
            return Err(Reject::Malformed);
        }
        let place = |leaf: &Leaf| (leaf.kind.spec().number, leaf.channel);
        let leaves = self.leaves.is_sorted_by(|a, b| place(a) < place(b));
        let rows = |leaf: &Leaf| leaf.rows.is_sorted_by(|a, b| a.time < b.time);
        if leaves && self.leaves.iter().all(rows) {
            Ok(())
        } else {
            Err(Reject::NotAscending)
        }
    }
}

/// Writes one leaf as a device hashes and sends it.
pub fn encode_leaf(leaf: &Leaf, writer: &mut Writer) {
    writer
        .u8(ROWS)
        .u16(leaf.kind.spec().number)
        .u8(leaf.channel);
    writer.u32(u32::try_from(leaf.rows.len()).unwrap_or(u32::MAX));
    for row in &leaf.rows {
        writer.i64(row.time.0);
    }
    for row in &leaf.rows {
        writer.i32(row.value);
    }
    for row in &leaf.rows {
        writer.u8(row.quality);
    }
}

fn decode_leaf(reader: &mut Reader<'_>, rows_left: usize) -> Result<Leaf, Reject> {
    if reader.u8().map_err(malformed)? != ROWS {
        return Err(Reject::UnknownKind);
    }
    let number = reader.u16().map_err(malformed)?;
    let channel = reader.u8().map_err(malformed)?;
    let count = usize::try_from(reader.u32().map_err(malformed)?).map_err(|_| Reject::TooLarge)?;
    if count > rows_left {
        return Err(Reject::TooLarge);
    }
    let mut times = Reader::new(reader.take(count * 8).map_err(malformed)?);
    let mut values = Reader::new(reader.take(count * 4).map_err(malformed)?);
    let qualities = reader.take(count).map_err(malformed)?;
    let kind = Kind::from_number(number).ok_or(Reject::UnknownKind)?;
    let rows = qualities
        .iter()
        .map(|quality| {
            let time = Micros(times.i64().map_err(malformed)?);
            Ok(Row {
                time,
                value: values.i32().map_err(malformed)?,
                quality: *quality,
            })
        })
        .collect::<Result<_, Reject>>()?;
    Ok(Leaf {
        kind,
        channel,
        rows,
    })
}

const fn malformed(_: pulseward_base::bytes::Malformed) -> Reject {
    Reject::Malformed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(kind: Kind, channel: u8, rows: &[(i64, i32)]) -> Leaf {
        let row = |&(time, value): &(i64, i32)| Row {
            time: Micros(time),
            value,
            quality: 0,
        };
        Leaf {
            kind,
            channel,
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        let columns = Columns::new(vec![leaf(Kind::SpO2, 3, &[(1, 970), (2, -1)])]).unwrap();
        let expect = [
            &[1, 0][..],                                       // one leaf
            &[1, 2, 0, 3, 2, 0, 0, 0],                         // rows, SpO2, channel 3, two
            &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], // times
            &[0xca, 3, 0, 0, 0xff, 0xff, 0xff, 0xff],          // values
            &[0, 0],                                           // qualities
        ];
        assert_eq!(columns.encode(), expect.concat());
    }

    #[test]
    fn debug_shows_no_vital_sign() {
        let columns = Columns::new(vec![leaf(Kind::SpO2, 3, &[(77_777, 88_888)])]).unwrap();
        let shown = format!("{columns:?}");
        assert!(
            !shown.contains("77777") && !shown.contains("88888"),
            "{shown}"
        );
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let heart = || leaf(Kind::HeartRate, 0, &[(1, 800)]);
        let oxygen = || leaf(Kind::SpO2, 0, &[(1, 970)]);
        let check = |leaves, reject| assert_eq!(Columns::new(leaves), Err(reject));
        check(vec![oxygen(), heart()], Reject::NotAscending);
        check(vec![heart(), heart()], Reject::NotAscending);
        check(
            vec![leaf(Kind::SpO2, 0, &[(1, 970), (1, 971)])],
            Reject::NotAscending,
        );
        check(
            vec![leaf(Kind::SpO2, 0, &[(2, 970), (1, 971)])],
            Reject::NotAscending,
        );
        check(vec![leaf(Kind::SpO2, 0, &[])], Reject::Malformed);
        check(vec![], Reject::Malformed);
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_allocated() {
        let limits = Limits { leaves: 1, rows: 1 };
        let two = Columns::new(vec![leaf(Kind::SpO2, 0, &[(1, 1), (2, 2)])])
            .unwrap()
            .encode();
        assert_eq!(Columns::decode(&two, limits), Err(Reject::TooLarge));
        let claims_all = [&[1, 0, 1, 2, 0, 0][..], &[255; 4]].concat();
        assert_eq!(
            Columns::decode(&claims_all, Limits::default()),
            Err(Reject::TooLarge)
        );
        let unknown_kind = [&[1, 0, 1, 0xff, 0xff, 0][..], &[0; 4]].concat();
        assert_eq!(
            Columns::decode(&unknown_kind, limits),
            Err(Reject::UnknownKind)
        );
    }

    proptest! {
        #[test]
        fn foreign_bytes_give_columns_or_a_rejection(bytes: Vec<u8>) {
            if let Ok(columns) = Columns::decode(&bytes, Limits::default()) {
                prop_assert_eq!(columns.encode(), bytes);
            }
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(values in prop::collection::vec((any::<i32>(), any::<u8>()), 1..50)) {
            let rows = values.iter().zip(0..)
                .map(|(&(value, quality), time)| Row { time: Micros(time), value, quality });
            let leaf = Leaf { kind: Kind::HeartRate, channel: 1, rows: rows.collect() };
            let columns = Columns::new(vec![leaf]).unwrap();
            prop_assert_eq!(Columns::decode(&columns.encode(), Limits::default()), Ok(columns));
        }
    }
}
