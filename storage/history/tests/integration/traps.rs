//! The four traps of the Parquet library. Each test holds what the guard refuses; each also holds
//! that the library still has the trap, so that a fix there is noticed here.

use std::sync::Arc;

use arrow::{
    array::{Float32Array, Int32Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    encryption::encrypt::FileEncryptionProperties,
    file::{properties::WriterProperties, reader::ChunkReader as _},
};
use pulseward_base::{Partition, Secret};
use pulseward_custody::dek::{Class, dek};
use pulseward_history::{
    file::{FileError, FileName, open_strict, seal},
    rows::Rows,
    schema::FileKind,
};
use pulseward_vitals::Kind;

use crate::files::reading;

const KEY: [u8; 32] = [5; 32];
const NAME: FileName = FileName {
    id: [3; 16],
    partition: Partition(1),
    kind: FileKind::Readings,
};

fn key_of(class: Class) -> Vec<u8> {
    dek(&Secret::new(KEY), class).expose().to_vec()
}

fn readings() -> RecordBatch {
    let rows = (0..100).map(|at| reading(Kind::HeartRate, at, 7)).collect();
    Rows::Readings(rows).to_arrow().unwrap()
}

fn write(rows: &RecordBatch, properties: WriterProperties) -> Bytes {
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    Bytes::from(writer.into_inner().unwrap())
}

/// Keys for all columns of a schema but one, as a careless writer would give them.
fn keys_but(rows: &RecordBatch, but: &str) -> Arc<FileEncryptionProperties> {
    let mut builder = FileEncryptionProperties::builder(key_of(Class::Footer))
        .with_aad_prefix(NAME.aad())
        .with_aad_prefix_storage(true);
    for field in rows.schema().fields() {
        if field.name() != but {
            let class = match field.name().as_str() {
                "value" | "raw" => Class::Values,
                _ => Class::Times,
            };
            builder = builder.with_column_key(field.name(), key_of(class));
        }
    }
    builder.build().unwrap()
}

fn open(bytes: Bytes) -> Result<Vec<RecordBatch>, FileError> {
    open_strict(&NAME, &Secret::new(KEY), bytes)
}

#[test]
fn trap_1_a_bloom_filter_lies_in_the_clear_and_is_refused() {
    let rows = readings();
    let plain = WriterProperties::builder().with_file_encryption_properties(keys_but(&rows, ""));
    let without = write(&rows, plain.clone().build());
    assert!(open(without).is_ok());
    let with = write(&rows, plain.set_bloom_filter_enabled(true).build());
    assert!(matches!(open(with), Err(FileError::BloomFilter)));
    // Ours has none, whatever the library's default comes to be.
    let ours = seal(&NAME, &Secret::new(KEY), &rows).unwrap();
    assert!(open(Bytes::from(ours)).is_ok());
}

#[test]
fn trap_2_a_column_without_a_key_lies_in_the_clear_and_is_refused() {
    let rows = readings();
    let properties =
        WriterProperties::builder().with_file_encryption_properties(keys_but(&rows, "pseudonym"));
    let bytes = write(&rows, properties.build());
    let pseudonym = "01".repeat(16);
    let leaks = bytes
        .windows(32)
        .any(|window| window == pseudonym.as_bytes());
    assert!(
        leaks,
        "the library encrypts columns without a key now: the guard can go"
    );
    assert!(matches!(open(bytes), Err(FileError::BareColumn)));
    // A column that no table classifies is not written at all.
    let note = RecordBatch::try_from_iter([(
        "note",
        Arc::new(StringArray::from(vec!["LEAK"])) as Arc<dyn arrow::array::Array>,
    )])
    .unwrap();
    assert!(matches!(
        seal(&NAME, &Secret::new(KEY), &note),
        Err(FileError::Schema)
    ));
}

#[test]
fn trap_3_a_plain_file_does_not_pass_for_an_encrypted_one() {
    let rows = readings();
    let plain = write(&rows, WriterProperties::builder().build());
    assert!(matches!(open(plain.clone()), Err(FileError::NotEncrypted)));
    // Nor does one whose ends were painted over.
    let mut painted = plain.to_vec();
    let end = painted.len() - 4;
    painted[..4].copy_from_slice(b"PARE");
    painted[end..].copy_from_slice(b"PARE");
    assert!(open(Bytes::from(painted)).is_err());
    let signed = FileEncryptionProperties::builder(key_of(Class::Footer))
        .with_plaintext_footer(true)
        .build()
        .unwrap();
    let properties = WriterProperties::builder().with_file_encryption_properties(signed);
    assert!(matches!(
        open(write(&rows, properties.build())),
        Err(FileError::NotEncrypted)
    ));
    assert!(ParquetRecordBatchReaderBuilder::try_new(plain).is_ok());
}

#[test]
fn trap_4_hostile_bytes_are_an_error_and_never_a_panic_or_other_rows() {
    let rows = readings();
    let good = seal(&NAME, &Secret::new(KEY), &rows).unwrap();
    let expect = open(Bytes::from(good.clone())).unwrap();
    // The hook is silenced for this test's own thread's panics only, which the guard turns into
    // errors; it is the library's decoder that panics.
    let mut refused = 0;
    for at in (0..good.len()).step_by(7) {
        for value in [0, 1, 11, 0x7f, 0xff] {
            let mut altered = good.clone();
            if altered[at] == value {
                continue;
            }
            altered[at] = value;
            match open(Bytes::from(altered)) {
                Ok(rows) => assert_eq!(rows, expect, "other rows at byte {at}"),
                Err(_) => refused += 1,
            }
        }
    }
    for length in (0..good.len()).step_by(11) {
        assert!(open(Bytes::from(good[..length].to_vec())).is_err());
    }
    assert!(refused > 1000, "only {refused} alterations were noticed");
    // A length of a module that is smaller than its own nonce and tag.
    let footer = good.len() - 8;
    let mut short = good.clone();
    short[footer..footer + 4].copy_from_slice(&5_u32.to_le_bytes());
    assert!(open(Bytes::from(short)).is_err());
    assert!(Bytes::from(good).get_bytes(0, 4).is_ok());
}

#[test]
fn a18_a_file_whose_values_are_f32_is_refused() {
    let rows = readings();
    let before = rows.schema();
    let columns = before
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "value" => Field::new("value", DataType::Float32, false),
            _ => field.as_ref().clone(),
        });
    let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
    let mut arrays = rows.columns().to_vec();
    arrays[8] = Arc::new(Float32Array::from(vec![0.7; rows.num_rows()]));
    let narrow = RecordBatch::try_new(schema, arrays).unwrap();
    assert!(matches!(
        seal(&NAME, &Secret::new(KEY), &narrow),
        Err(FileError::Schema)
    ));
    let properties =
        WriterProperties::builder().with_file_encryption_properties(keys_but(&narrow, ""));
    assert!(matches!(
        open(write(&narrow, properties.build())),
        Err(FileError::Schema)
    ));
}

#[test]
fn a_value_that_its_steps_do_not_spell_is_malformed() {
    let rows = readings();
    let mut arrays = rows.columns().to_vec();
    arrays[9] = Arc::new(Int32Array::from(vec![8; rows.num_rows()]));
    let odd = RecordBatch::try_new(rows.schema(), arrays).unwrap();
    let bytes = seal(&NAME, &Secret::new(KEY), &odd).unwrap();
    let opened = open(Bytes::from(bytes)).unwrap();
    assert!(Rows::from_arrow(FileKind::Readings, &opened).is_err());
}
