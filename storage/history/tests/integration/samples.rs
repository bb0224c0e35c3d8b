//! Encrypted files of other writers: what this library opens of them, it opens right.
//! The samples are found under the folder that PULSEWARD_DATA names.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    encryption::decrypt::FileDecryptionProperties,
};

#[expect(clippy::disallowed_methods, reason = "tests may read the environment")]
fn samples() -> Option<PathBuf> {
    let found = std::env::var("PULSEWARD_DATA").ok();
    if found.is_none() {
        println!("skipped: PULSEWARD_DATA does not name the folder of samples");
    }
    Some(Path::new(&found?).join("parquet_encrypted"))
}

/// The samples' keys are digits: ten of sixteen or thirty-two, counted up per column.
fn key(length: usize, last: u8) -> Vec<u8> {
    let mut key: Vec<u8> = b"1234567890"
        .iter()
        .copied()
        .cycle()
        .take(length - 1)
        .collect();
    key.push(b'0' + last);
    key
}

fn footer_key(length: usize) -> Vec<u8> {
    b"0123456789".iter().copied().cycle().take(length).collect()
}

fn rows(path: &Path, columns: &[(&str, Vec<u8>)], aad: Option<&[u8]>) -> Result<usize, String> {
    let length = if path.to_string_lossy().contains("aes256") {
        32
    } else {
        16
    };
    let mut keys = FileDecryptionProperties::builder(footer_key(length));
    for (column, key) in columns {
        keys = keys.with_column_key(column, key.clone());
    }
    if let Some(aad) = aad {
        keys = keys.with_aad_prefix(aad.to_vec());
    }
    let options = ArrowReaderOptions::new()
        .with_file_decryption_properties(keys.build().map_err(|error| error.to_string())?);
    let bytes = Bytes::from(std::fs::read(path).map_err(|error| error.to_string())?);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| error.to_string())?;
    reader
        .map(|batch| {
            batch
                .map(|batch| batch.num_rows())
                .map_err(|error| error.to_string())
        })
        .sum()
}

fn columns(length: usize) -> Vec<(&'static str, Vec<u8>)> {
    if length == 16 {
        return vec![("double_field", key(16, 0)), ("float_field", key(16, 1))];
    }
    let names = [
        "double_field",
        "float_field",
        "boolean_field",
        "int32_field",
        "ba_field",
        "flba_field",
        "int64_field.list.element",
        "int96_field",
    ];
    names
        .into_iter()
        .zip(2..)
        .map(|(name, last)| (name, key(32, last)))
        .collect()
}

#[test]
fn files_of_other_writers_open_and_those_in_a_cipher_we_do_not_have_are_refused() {
    let Some(samples) = samples() else { return };
    let here = |name: &str| samples.join(format!("{name}.parquet.encrypted"));
    assert_eq!(rows(&here("uniform_encryption"), &[], None), Ok(50));
    assert_eq!(
        rows(&here("encrypt_columns_and_footer"), &columns(16), None),
        Ok(50)
    );
    let aad = here("encrypt_columns_and_footer_aad");
    assert_eq!(rows(&aad, &columns(16), Some(b"tester")), Ok(50));
    assert!(rows(&aad, &columns(16), Some(b"other")).is_err());
    assert!(
        rows(
            &here("uniform_encryption"),
            &columns(16)[..1],
            Some(b"tester")
        )
        .is_err()
    );
    assert!(rows(&here("encrypt_columns_and_footer"), &columns(16)[..1], None).is_err());
    assert!(rows(&here("encrypt_columns_and_footer_ctr"), &columns(16), None).is_err());
    let long = here("aes256/encrypt_columns_and_footer");
    assert_eq!(rows(&long, &columns(32), None), Ok(50));
    assert!(
        rows(
            &here("aes256/encrypt_columns_and_footer_ctr"),
            &columns(32),
            None
        )
        .is_err()
    );
}
