//! Rows into Arrow.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryArray, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int32Builder,
        Int64Array, ListBuilder, RecordBatch, StringBuilder, StringDictionaryBuilder,
        TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    },
    datatypes::{DataType, Field, Int32Type},
    error::ArrowError,
};
use pulseward_base::{Micros, bytes::hex};
use pulseward_vitals::Kind;

use super::{AlertRow, Enrolment, Proof, Reading, Rows, Salts, ScoreRow, Term};
use crate::schema::FileKind;

impl Rows {
    /// Returns which kind of file they make.
    #[must_use]
    pub const fn kind(&self) -> FileKind {
        match self {
            Self::Readings(_) => FileKind::Readings,
            Self::Proofs(_) => FileKind::Proofs,
            Self::Enrolments(_) => FileKind::Enrolments,
            Self::Scores(_) => FileKind::Scores,
            Self::Alerts(_) => FileKind::Alerts,
        }
    }

    /// Returns how many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Readings(rows) => rows.len(),
            Self::Proofs(rows) => rows.len(),
            Self::Enrolments(rows) => rows.len(),
            Self::Scores(rows) => rows.len(),
            Self::Alerts(rows) => rows.len(),
        }
    }

    /// Returns whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the first and the last time among them; none where rows have no time.
    #[must_use]
    pub fn span(&self) -> Option<(Micros, Micros)> {
        fn ends(times: impl Iterator<Item = Micros> + Clone) -> Option<(Micros, Micros)> {
            Some((times.clone().min()?, times.max()?))
        }
        match self {
            Self::Readings(rows) => ends(rows.iter().map(|row| row.time)),
            Self::Proofs(rows) => ends(rows.iter().map(|row| row.time)),
            Self::Enrolments(_) => None,
            Self::Scores(rows) => ends(rows.iter().map(|row| row.at)),
            Self::Alerts(rows) => ends(rows.iter().map(|row| row.score.at)),
        }
    }

    /// Returns them as Arrow, in the schema of their kind.
    pub fn to_arrow(&self) -> Result<RecordBatch, ArrowError> {
        let columns = match self {
            Self::Readings(rows) => readings(rows)?,
            Self::Proofs(rows) => proofs(rows)?,
            Self::Enrolments(rows) => enrolments(rows)?,
            Self::Scores(rows) => scores(rows)?,
            Self::Alerts(rows) => alerts(rows)?,
        };
        RecordBatch::try_new(self.kind().schema(), columns)
    }
}

fn readings(rows: &[Reading]) -> Result<Vec<ArrayRef>, ArrowError> {
    Ok(vec![
        names(rows.iter().map(|row| row.pseudonym.0))?,
        Arc::new(rows.iter().map(|row| row.device).collect::<UInt32Array>()),
        Arc::new(rows.iter().map(|row| row.batch).collect::<UInt32Array>()),
        times(rows.iter().map(|row| row.time)),
        times(rows.iter().map(|row| row.received)),
        text(rows.iter().map(|row| row.kind.spec().name))?,
        Arc::new(rows.iter().map(|row| row.channel).collect::<UInt8Array>()),
        text(rows.iter().map(|row| row.kind.spec().ucum))?,
        Arc::new(
            rows.iter()
                .map(|row| row.kind.to_unit(row.raw))
                .collect::<Float64Array>(),
        ),
        Arc::new(rows.iter().map(|row| row.raw).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.quality).collect::<UInt8Array>()),
        Arc::new(rows.iter().map(|row| row.flags).collect::<UInt16Array>()),
    ])
}

fn proofs(rows: &[Proof]) -> Result<Vec<ArrayRef>, ArrowError> {
    Ok(vec![
        Arc::new(rows.iter().map(|row| row.batch).collect::<UInt32Array>()),
        Arc::new(rows.iter().map(|row| row.device).collect::<UInt32Array>()),
        names(rows.iter().map(|row| row.pseudonym.0))?,
        fixed(rows.iter().map(|row| row.kid.0))?,
        fixed(rows.iter().map(|row| row.record_digest.0))?,
        fixed(rows.iter().map(|row| row.incarnation.0))?,
        Arc::new(rows.iter().map(|row| row.seq.0).collect::<UInt64Array>()),
        times(rows.iter().map(|row| row.time)),
        Arc::new(
            rows.iter()
                .map(|row| row.clock_offset)
                .collect::<Int64Array>(),
        ),
        times(rows.iter().map(|row| row.received)),
        Arc::new(BinaryArray::from_iter_values(
            rows.iter().map(|row| row.salts.encode_leaves()),
        )),
        fixed(rows.iter().map(|row| match &row.salts {
            Salts::Seed(seed) => *seed,
            Salts::Leaves(_) => [0; 32],
        }))?,
        Arc::new(
            rows.iter()
                .map(|row| u8::from(row.proven))
                .collect::<UInt8Array>(),
        ),
        fixed(rows.iter().map(|row| row.signature.0))?,
        Arc::new(rows.iter().map(|row| row.rows).collect::<UInt32Array>()),
    ])
}

fn enrolments(rows: &[Enrolment]) -> Result<Vec<ArrayRef>, ArrowError> {
    Ok(vec![
        fixed(rows.iter().map(|row| row.certificate))?,
        fixed(rows.iter().map(|row| row.record))?,
        fixed(rows.iter().map(|row| row.binding))?,
    ])
}

fn scores(rows: &[ScoreRow]) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut columns = vec![
        names(rows.iter().map(|row| row.pseudonym.0))?,
        times(rows.iter().map(|row| row.at)),
        Arc::new(rows.iter().map(|row| row.lane).collect::<UInt8Array>()),
    ];
    columns.extend(result(rows.iter())?);
    columns.push(kinds(rows.iter()));
    columns.push(terms(rows.iter(), |term| term.low));
    columns.push(terms(rows.iter(), |term| term.high));
    columns.extend(causes(rows.iter()));
    Ok(columns)
}

fn alerts(rows: &[AlertRow]) -> Result<Vec<ArrayRef>, ArrowError> {
    let inner = || rows.iter().map(|row| &row.score);
    let mut columns = vec![
        names(rows.iter().map(|row| row.alert.0))?,
        names(inner().map(|row| row.pseudonym.0))?,
        times(inner().map(|row| row.at)),
        Arc::new(inner().map(|row| row.lane).collect::<UInt8Array>()) as ArrayRef,
        Arc::new(rows.iter().map(|row| row.what).collect::<UInt16Array>()),
        Arc::new(rows.iter().map(|row| row.severity).collect::<UInt8Array>()),
        Arc::new(rows.iter().map(|row| row.state).collect::<UInt8Array>()),
        Arc::new(inner().map(|row| row.flags).collect::<UInt16Array>()),
        names(inner().map(|row| row.model.0))?,
        Arc::new(inner().map(|row| row.low).collect::<Int32Array>()),
        Arc::new(inner().map(|row| row.high).collect::<Int32Array>()),
        kinds(inner()),
        terms(inner(), |term| term.value),
        terms(inner(), |term| term.low),
        terms(inner(), |term| term.high),
    ];
    columns.extend(causes(inner()));
    Ok(columns)
}

/// Model, low, high and flags of scores.
fn result<'a>(
    rows: impl Iterator<Item = &'a ScoreRow> + Clone,
) -> Result<[ArrayRef; 4], ArrowError> {
    Ok([
        names(rows.clone().map(|row| row.model.0))?,
        Arc::new(rows.clone().map(|row| row.low).collect::<Int32Array>()),
        Arc::new(rows.clone().map(|row| row.high).collect::<Int32Array>()),
        Arc::new(rows.map(|row| row.flags).collect::<UInt16Array>()),
    ])
}

fn causes<'a>(rows: impl Iterator<Item = &'a ScoreRow> + Clone) -> [ArrayRef; 3] {
    [
        Arc::new(
            rows.clone()
                .map(|row| row.cause.generation)
                .collect::<UInt32Array>(),
        ),
        Arc::new(
            rows.clone()
                .map(|row| row.cause.offset)
                .collect::<UInt64Array>(),
        ),
        Arc::new(rows.map(|row| row.cause.index).collect::<UInt32Array>()),
    ]
}

fn kinds<'a>(rows: impl Iterator<Item = &'a ScoreRow>) -> ArrayRef {
    let item = Field::new("item", DataType::Utf8, false);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(item);
    for row in rows {
        for term in &row.terms {
            builder.values().append_value(kind_name(term.kind));
        }
        builder.append(true);
    }
    Arc::new(builder.finish())
}

/// A kind's name, or its number if this version has no name for it.
fn kind_name(number: u16) -> String {
    Kind::from_number(number).map_or_else(|| number.to_string(), |kind| kind.spec().name.to_owned())
}

fn terms<'a>(rows: impl Iterator<Item = &'a ScoreRow>, of: fn(&Term) -> i32) -> ArrayRef {
    let item = Field::new("item", DataType::Int32, false);
    let mut builder = ListBuilder::new(Int32Builder::new()).with_field(item);
    for row in rows {
        for term in &row.terms {
            builder.values().append_value(of(term));
        }
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn names(values: impl Iterator<Item = [u8; 16]>) -> Result<ArrayRef, ArrowError> {
    spelled(values, |name| hex(name))
}

fn text(values: impl Iterator<Item = &'static str>) -> Result<ArrayRef, ArrowError> {
    spelled(values, |word| *word)
}

/// Neighbours are mostly of one patient, kind and unit: a run of them is spelled and looked up once.
fn spelled<T: PartialEq, S: AsRef<str>>(
    values: impl Iterator<Item = T>,
    spell: impl Fn(&T) -> S,
) -> Result<ArrayRef, ArrowError> {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    let mut values = values.peekable();
    while let Some(value) = values.next() {
        let mut count = 1;
        while values.next_if_eq(&value).is_some() {
            count += 1;
        }
        builder.append_n(spell(&value), count)?;
    }
    Ok(Arc::new(builder.finish()))
}

fn times(values: impl Iterator<Item = Micros>) -> ArrayRef {
    let array = TimestampMicrosecondArray::from_iter_values(values.map(|time| time.0));
    Arc::new(array.with_timezone("UTC"))
}

fn fixed<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Result<ArrayRef, ArrowError> {
    let size = i32::try_from(N).map_err(|_| ArrowError::InvalidArgumentError("size".to_owned()))?;
    let mut builder = FixedSizeBinaryBuilder::new(size);
    for value in values {
        builder.append_value(value)?;
    }
    Ok(Arc::new(builder.finish()))
}
