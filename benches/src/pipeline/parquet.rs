//! What encryption and its guards cost history's files, against the Parquet library's own writer and
//! reader with the same encodings on the same rows, in the clear.

use std::{collections::BTreeMap, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::PageIndexPolicy,
        properties::{EnabledStatistics, WriterProperties, WriterVersion},
    },
};
use pulseward_base::{Micros, Partition, Pseudonym};
use pulseward_crypto::{hash::sha256, random};
use pulseward_history::{
    file::{FileName, open_strict, seal},
    rows::{Reading, Rows},
    schema::FileKind,
};
use pulseward_vitals::Kind;

use super::timing::{median, on_cpu};
use crate::figure::{Figure, Lines, Target};

const ROUNDS: usize = 7;
/// A commit's file, and one into which commits were merged.
const COMMIT: usize = 131_072;
const MERGED: usize = 1 << 20;
const PATIENTS: u32 = 200;
const KINDS: [Kind; 6] = [
    Kind::HeartRate,
    Kind::SpO2,
    Kind::RespiratoryRate,
    Kind::Temperature,
    Kind::SystolicPressure,
    Kind::DiastolicPressure,
];
const NOW: i64 = 1_800_000_000_000_000;

const NAME: FileName = FileName {
    id: [7; 16],
    partition: Partition(0),
    kind: FileKind::Readings,
};

/// Writing a merged file.
pub(crate) fn write() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let mut headline = (0.0, 0.0);
    for (what, rows) in both() {
        let count = rows.len();
        let (arrow, took) = on_cpu(|| rows.to_arrow());
        let (arrow, key) = (arrow?, random::secret());
        lines.say(format!("{what}: {count} rows"));
        lines.say(said("rows into Arrow, on top", per_row(took, count)));
        let (mut ours, mut theirs, mut sizes) = (Vec::new(), Vec::new(), (0, 0));
        for _ in 0..ROUNDS {
            let (sealed, took) = on_cpu(|| seal(&NAME, &key, &arrow));
            sizes.0 = sealed?.len();
            ours.push(per_row(took, count));
            let (plain, took) = on_cpu(|| write_plain(&arrow));
            sizes.1 = plain?.len();
            theirs.push(per_row(took, count));
        }
        headline = (median(ours), median(theirs));
        compare(&mut lines, "written", headline);
        let bytes = |size: usize| size as f64 / count as f64;
        let (sealed, plain) = (bytes(sizes.0), bytes(sizes.1));
        lines.say(format!("  bytes a row: {sealed:.3}, plain {plain:.3}"));
    }
    Ok(figure(
        "parquet-write",
        "ns of CPU a row written, merged file",
        headline,
        lines,
    ))
}

/// Reading a merged file.
pub(crate) fn read() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let mut headline = (0.0, 0.0);
    for (what, rows) in both() {
        let (arrow, key) = (rows.to_arrow()?, random::secret());
        let count = rows.len();
        let sealed = Bytes::from(seal(&NAME, &key, &arrow)?);
        let plain = Bytes::from(write_plain(&arrow)?);
        drop((rows, arrow));
        let (mut ours, mut theirs, mut back) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (opened, took) = on_cpu(|| open_strict(&NAME, &key, sealed.clone()));
            ours.push(per_row(took, count));
            let (rows, took) = on_cpu(|| {
                Rows::from_arrow(FileKind::Readings, &opened?).map_err(anyhow::Error::from)
            });
            anyhow::ensure!(rows?.len() == count, "every row comes back");
            back.push(per_row(took, count));
            let (read, took) = on_cpu(|| read_plain(plain.clone()));
            anyhow::ensure!(
                read?.iter().map(RecordBatch::num_rows).sum::<usize>() == count,
                "every row comes back"
            );
            theirs.push(per_row(took, count));
        }
        headline = (median(ours), median(theirs));
        lines.say(format!("{what}: {count} rows"));
        compare(&mut lines, "read", headline);
        lines.say(said("Arrow into rows, on top", median(back)));
    }
    Ok(figure(
        "parquet-read",
        "ns of CPU a row read, merged file",
        headline,
        lines,
    ))
}

fn figure(
    name: &'static str,
    unit: &'static str,
    (ours, theirs): (f64, f64),
    lines: Lines,
) -> Figure {
    Figure::new(name, unit, ours, theirs, Target::RatioAtMost(1.10))
        .versus("ns: the Parquet library in the clear, same encodings")
        .with_lines(lines.into_vec())
}

fn per_row(took: Duration, count: usize) -> f64 {
    took.as_secs_f64() * 1e9 / count as f64
}

fn said(what: &str, nanos: f64) -> String {
    format!(
        "  {what:24} {nanos:7.1} ns a row, {:6.2} million rows a second",
        1e3 / nanos
    )
}

fn compare(lines: &mut Lines, done: &str, (ours, theirs): (f64, f64)) {
    lines.say(said(&format!("{done}, sealed"), ours));
    lines.say(said(&format!("{done}, plain"), theirs));
}

/// The same encodings as history's files have, without their keys.
fn plain_properties() -> anyhow::Result<WriterProperties> {
    Ok(WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(COMMIT))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_dictionary_enabled("ts".into(), false)
        .set_column_encoding("ts".into(), Encoding::DELTA_BINARY_PACKED)
        .build())
}

fn write_plain(rows: &RecordBatch) -> anyhow::Result<Vec<u8>> {
    let schema: SchemaRef = rows.schema();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(plain_properties()?))?;
    writer.write(rows)?;
    Ok(writer.into_inner()?)
}

fn read_plain(bytes: Bytes) -> anyhow::Result<Vec<RecordBatch>> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
    Ok(builder
        .with_batch_size(8192)
        .build()?
        .collect::<Result<_, _>>()?)
}

/// A commit's rows in the order in which batches came, and a merged file's, in its own order.
fn both() -> [(&'static str, Rows); 2] {
    let mut merged = readings(MERGED);
    merged.sort_by_key(|row| (row.pseudonym, row.kind, row.channel, row.time));
    [
        ("a commit's file", Rows::Readings(readings(COMMIT))),
        ("a merged file", Rows::Readings(merged)),
    ]
}

/// Batches of a minute, patient after patient, as a ward sends them: each kind once in six seconds,
/// at its sensor's resolution, walking about its level.
fn readings(count: usize) -> Vec<Reading> {
    let mut levels: BTreeMap<(u32, Kind), i32> = BTreeMap::new();
    let mut dice = Dice(0x9e37_79b9);
    let mut rows = Vec::with_capacity(count);
    for batch in 0_u32.. {
        let (patient, minute) = (batch % PATIENTS, batch / PATIENTS);
        let from = NOW + i64::from(minute) * 60_000_000;
        for kind in KINDS {
            let spec = kind.spec();
            let level = levels
                .entry((patient, kind))
                .or_insert(i32::midpoint(spec.lowest, spec.highest));
            for at in 0..10 {
                if rows.len() == count {
                    return rows;
                }
                *level = (*level + dice.roll(7) - 3).clamp(spec.lowest, spec.highest);
                rows.push(Reading {
                    pseudonym: pseudonym(patient),
                    device: patient,
                    batch,
                    time: Micros(from + at * 6_000_000 + i64::from(dice.roll(20)) * 1000),
                    received: Micros(from + 60_000_000),
                    kind,
                    channel: 0,
                    raw: *level,
                    quality: 0,
                    flags: 0,
                });
            }
        }
    }
    rows
}

fn pseudonym(patient: u32) -> Pseudonym {
    let digest = sha256(&[&patient.to_le_bytes()]);
    Pseudonym(*digest.0.first_chunk().unwrap_or(&[0; 16]))
}

/// Numbers that are the same in every run.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: i32) -> i32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        i32::try_from(self.0 >> 8).unwrap_or_default() % sides
    }
}
