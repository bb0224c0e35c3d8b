//! Arrow into rows. Total: a column of another type, a foreign kind or a value that is not the one
//! its steps spell is an error.

use arrow::{
    array::{
        Array, AsArray, BinaryArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray,
    },
    datatypes::{
        ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type,
    },
};
use pulseward_base::{
    AlertId, Digest, Incarnation, Kid, Micros, ModelId, Pseudonym, Seq,
    bytes::{Malformed, unhex},
};
use pulseward_crypto::Signature;
use pulseward_vitals::Kind;

use super::{AlertRow, CausedBy, Enrolment, Proof, Reading, Rows, Salts, ScoreRow, Term};
use crate::schema::FileKind;

impl Rows {
    /// Reads the rows of a whole file.
    pub fn from_arrow(kind: FileKind, batches: &[RecordBatch]) -> Result<Self, Malformed> {
        fn all<T>(
            batches: &[RecordBatch],
            row: fn(&Table<'_>, usize) -> Result<T, Malformed>,
        ) -> Result<Vec<T>, Malformed> {
            let of_batch =
                |batch| (0..RecordBatch::num_rows(batch)).map(move |at| row(&Table(batch), at));
            batches.iter().flat_map(of_batch).collect()
        }
        Ok(match kind {
            FileKind::Readings => Self::Readings(all(batches, reading)?),
            FileKind::Proofs => Self::Proofs(all(batches, proof)?),
            FileKind::Enrolments => Self::Enrolments(all(batches, enrolment)?),
            FileKind::Scores => Self::Scores(all(batches, score)?),
            FileKind::Alerts => Self::Alerts(all(batches, alert)?),
        })
    }
}

fn reading(table: &Table<'_>, at: usize) -> Result<Reading, Malformed> {
    let kind = kind_of(table.text("kind", at)?)?;
    let raw = table.number::<Int32Type>("raw", at)?;
    let value = table.number::<Float64Type>("value", at)?;
    // Two columns say the same; a file where they differ is not one this writer made.
    if value.to_bits() != kind.to_unit(raw).to_bits() || table.text("unit", at)? != kind.spec().ucum
    {
        return Err(Malformed);
    }
    Ok(Reading {
        pseudonym: Pseudonym(table.hex("pseudonym", at)?),
        device: table.number::<UInt32Type>("device", at)?,
        batch: table.number::<UInt32Type>("batch", at)?,
        time: table.time("ts", at)?,
        received: table.time("received", at)?,
        kind,
        channel: table.number::<UInt8Type>("channel", at)?,
        raw,
        quality: table.number::<UInt8Type>("quality", at)?,
        flags: table.number::<UInt16Type>("flags", at)?,
    })
}

fn proof(table: &Table<'_>, at: usize) -> Result<Proof, Malformed> {
    Ok(Proof {
        batch: table.number::<UInt32Type>("batch", at)?,
        device: table.number::<UInt32Type>("device", at)?,
        pseudonym: Pseudonym(table.hex("pseudonym", at)?),
        kid: Kid(table.fixed("kid", at)?),
        record_digest: Digest(table.fixed("record_digest", at)?),
        incarnation: Incarnation(table.fixed("incarnation", at)?),
        seq: Seq(table.number::<UInt64Type>("seq", at)?),
        time: table.time("time", at)?,
        clock_offset: table.number::<Int64Type>("clock_offset", at)?,
        received: table.time("received", at)?,
        salts: Salts::decode(
            table.fixed("seed", at)?,
            table.column::<BinaryArray>("leaves", at)?.value(at),
        )?,
        proven: match table.number::<UInt8Type>("proven", at)? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        },
        signature: Signature(table.fixed("signature", at)?),
        rows: table.number::<UInt32Type>("rows", at)?,
    })
}

fn enrolment(table: &Table<'_>, at: usize) -> Result<Enrolment, Malformed> {
    Ok(Enrolment {
        certificate: table.fixed("certificate", at)?,
        record: table.fixed("record", at)?,
        binding: table.fixed("binding", at)?,
    })
}

fn score(table: &Table<'_>, at: usize) -> Result<ScoreRow, Malformed> {
    let low = table.numbers("term_low", at)?;
    let value = vec![0; low.len()];
    score_with(table, at, &value, &low)
}

fn alert(table: &Table<'_>, at: usize) -> Result<AlertRow, Malformed> {
    let (value, low) = (
        table.numbers("term_value", at)?,
        table.numbers("term_low", at)?,
    );
    Ok(AlertRow {
        alert: AlertId(table.hex("alert", at)?),
        severity: table.number::<UInt8Type>("severity", at)?,
        state: table.number::<UInt8Type>("state", at)?,
        what: table.number::<UInt16Type>("what", at)?,
        score: score_with(table, at, &value, &low)?,
    })
}

fn score_with(
    table: &Table<'_>,
    at: usize,
    value: &[i32],
    low: &[i32],
) -> Result<ScoreRow, Malformed> {
    let (kinds, high) = (
        table.texts("term_kind", at)?,
        table.numbers("term_high", at)?,
    );
    if [value.len(), low.len(), high.len()] != [kinds.len(); 3] {
        return Err(Malformed);
    }
    let bounds = value.iter().zip(low).zip(high);
    let terms = kinds
        .iter()
        .zip(bounds)
        .map(|(kind, ((value, low), high))| {
            Ok(Term {
                kind: term_kind(kind)?,
                value: *value,
                low: *low,
                high,
            })
        });
    Ok(ScoreRow {
        pseudonym: Pseudonym(table.hex("pseudonym", at)?),
        at: table.time("ts", at)?,
        lane: table.number::<UInt8Type>("lane", at)?,
        model: ModelId(table.hex("model", at)?),
        low: table.number::<Int32Type>("low", at)?,
        high: table.number::<Int32Type>("high", at)?,
        flags: table.number::<UInt16Type>("flags", at)?,
        terms: terms.collect::<Result<_, _>>()?,
        cause: CausedBy {
            generation: table.number::<UInt32Type>("cause_generation", at)?,
            offset: table.number::<UInt64Type>("cause_offset", at)?,
            index: table.number::<UInt32Type>("cause_index", at)?,
        },
    })
}

fn kind_of(name: &str) -> Result<Kind, Malformed> {
    Kind::from_name(name).ok_or(Malformed)
}

/// A kind's number, from its name or from the number itself.
fn term_kind(word: &str) -> Result<u16, Malformed> {
    match Kind::from_name(word) {
        Some(kind) => Ok(kind.spec().number),
        None => word.parse().map_err(|_| Malformed),
    }
}

/// One record batch, read by name.
struct Table<'a>(&'a RecordBatch);

impl<'a> Table<'a> {
    fn column<T: 'static>(&self, name: &str, at: usize) -> Result<&'a T, Malformed> {
        let column = self.0.column_by_name(name).ok_or(Malformed)?;
        if at >= column.len() || column.is_null(at) {
            return Err(Malformed);
        }
        column.as_any().downcast_ref().ok_or(Malformed)
    }

    fn number<T: ArrowPrimitiveType>(&self, name: &str, at: usize) -> Result<T::Native, Malformed> {
        Ok(self
            .column::<arrow::array::PrimitiveArray<T>>(name, at)?
            .value(at))
    }

    fn time(&self, name: &str, at: usize) -> Result<Micros, Malformed> {
        Ok(Micros(self.number::<TimestampMicrosecondType>(name, at)?))
    }

    fn text(&self, name: &str, at: usize) -> Result<&'a str, Malformed> {
        let column = self.column::<arrow::array::DictionaryArray<Int32Type>>(name, at)?;
        let values: &StringArray = column.values().as_string_opt().ok_or(Malformed)?;
        let key = column.key(at).ok_or(Malformed)?;
        if key >= values.len() || values.is_null(key) {
            return Err(Malformed);
        }
        Ok(values.value(key))
    }

    fn hex<const N: usize>(&self, name: &str, at: usize) -> Result<[u8; N], Malformed> {
        unhex(self.text(name, at)?)?
            .try_into()
            .map_err(|_| Malformed)
    }

    fn fixed<const N: usize>(&self, name: &str, at: usize) -> Result<[u8; N], Malformed> {
        self.column::<FixedSizeBinaryArray>(name, at)?
            .value(at)
            .try_into()
            .map_err(|_| Malformed)
    }

    fn list(&self, name: &str, at: usize) -> Result<arrow::array::ArrayRef, Malformed> {
        Ok(self.column::<ListArray>(name, at)?.value(at))
    }

    fn numbers(&self, name: &str, at: usize) -> Result<Vec<i32>, Malformed> {
        let list = self.list(name, at)?;
        let list = list.as_primitive_opt::<Int32Type>().ok_or(Malformed)?;
        Ok(list.values().to_vec())
    }

    fn texts(&self, name: &str, at: usize) -> Result<Vec<String>, Malformed> {
        let list = self.list(name, at)?;
        let list: &StringArray = list.as_string_opt().ok_or(Malformed)?;
        list.iter()
            .map(|value| value.map(str::to_owned).ok_or(Malformed))
            .collect()
    }
}
