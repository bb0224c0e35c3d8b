//! One encrypted Parquet file: written with a key for every column, opened only if it is exactly
//! what this writer would have written.
//!
//! The Parquet library has four traps, and every way in and out leads through here to avoid them:
//! 1. a bloom filter of an encrypted column is written in the clear: none is ever switched on, and
//!    a file that has one is refused;
//! 2. a column without a key of its own is written in the clear once any other has one: the writer
//!    takes a key for every leaf of the schema, and a file with a bare column is refused;
//! 3. a plain file passes for an encrypted one: both magics must say that the footer is encrypted;
//! 4. hostile lengths panic: the file's hash is checked before a byte of it is parsed, and what is
//!    left is caught.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowSchemaConverter, ArrowWriter,
        arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::{Compression, Encoding, ZstdLevel},
    encryption::{decrypt::FileDecryptionProperties, encrypt::FileEncryptionProperties},
    errors::ParquetError,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData},
        properties::{EnabledStatistics, WriterProperties, WriterVersion},
    },
    schema::types::SchemaDescriptor,
};
use pulseward_base::{Partition, Secret};
use pulseward_custody::dek::{Class, Handle, dek};

use crate::{
    material::material,
    schema::{FileKind, Layout},
};

/// What the magic of a file with an encrypted footer is, in front and behind.
const MAGIC: &[u8] = b"PARE";

/// How many rows a row group has: the size at which files were smallest for their speed.
const ROW_GROUP: usize = 131_072;

/// How many rows are decoded at a time.
const READ_ROWS: usize = 8192;

/// A file that could not be written or is not what it must be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A column lies in the file in the clear.
    #[error("a column is not encrypted")]
    BareColumn,
    /// A file has a bloom filter, which the library leaves in the clear.
    #[error("a bloom filter is in the clear")]
    BloomFilter,
    /// The bytes made the decoder give up in a way that it should not.
    #[error("malformed file")]
    Malformed,
    /// The file's footer is not encrypted.
    #[error("the footer is not encrypted")]
    NotEncrypted,
    /// The library refused.
    #[error("parquet refused")]
    Parquet(#[from] ParquetError),
    /// The file's columns are not those of its kind.
    #[error("the schema is not the one of its kind")]
    Schema,
}

/// What identifies a file to whoever seals or opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName {
    /// Random, and the name of the file's key.
    pub id: [u8; 16],
    /// The partition it belongs to.
    pub partition: Partition,
    /// What it holds.
    pub kind: FileKind,
}

impl FileName {
    /// Returns what binds every page of the file to it.
    #[must_use]
    pub fn aad(&self) -> Vec<u8> {
        let partition = self.partition.0.to_le_bytes();
        [
            b"PWF1".as_slice(),
            &self.id,
            &partition,
            &[self.kind.number()],
        ]
        .concat()
    }

    const fn handle(&self, class: Class) -> Handle {
        Handle {
            file: self.id,
            class,
        }
    }
}

/// Returns the file's bytes: `rows` under keys derived from `key`.
pub fn seal(name: &FileName, key: &Secret<32>, rows: &RecordBatch) -> Result<Vec<u8>, FileError> {
    let schema = name.kind.schema();
    if rows.schema() != schema {
        return Err(FileError::Schema);
    }
    let leaves = ArrowSchemaConverter::new().convert(&schema)?;
    let properties = writer_properties(name, &leaves, encryption(name, key, &leaves)?)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(rows)?;
    Ok(writer.into_inner()?)
}

/// A key for every leaf of the schema; a leaf that no table classifies is an error, not a default.
fn encryption(
    name: &FileName,
    key: &Secret<32>,
    leaves: &SchemaDescriptor,
) -> Result<Arc<FileEncryptionProperties>, FileError> {
    let dek = |class| dek(key, class).expose().to_vec();
    let mut builder = FileEncryptionProperties::builder(dek(Class::Footer))
        .with_footer_key_metadata(material(&name.handle(Class::Footer)))
        .with_aad_prefix(name.aad())
        .with_aad_prefix_storage(true);
    for leaf in leaves.columns() {
        let path = leaf.path().string();
        let class = name.kind.column_of(&path).ok_or(FileError::Schema)?.class;
        let metadata = material(&name.handle(class));
        builder = builder.with_column_key_and_metadata(&path, dek(class), metadata);
    }
    Ok(builder.build()?)
}

fn writer_properties(
    name: &FileName,
    leaves: &SchemaDescriptor,
    encryption: Arc<FileEncryptionProperties>,
) -> Result<WriterProperties, FileError> {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by("pulseward".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_enabled(false)
        .with_file_encryption_properties(encryption);
    for leaf in leaves.columns() {
        let path = leaf.path().clone();
        let column = name
            .kind
            .column_of(&path.string())
            .ok_or(FileError::Schema)?;
        builder = match column.layout {
            Layout::Dictionary => builder.set_column_dictionary_enabled(path, true),
            Layout::Plain => builder.set_column_dictionary_enabled(path, false),
            Layout::Delta => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    Ok(builder.build())
}

/// Opens a file whose bytes have been checked against the manifest's hash.
pub fn open_strict(
    name: &FileName,
    key: &Secret<32>,
    bytes: Bytes,
) -> Result<Vec<RecordBatch>, FileError> {
    let schema = name.kind.schema();
    let leaves = ArrowSchemaConverter::new().convert(&schema)?;
    let mut keys = FileDecryptionProperties::builder(dek(key, Class::Footer).expose().to_vec())
        .with_aad_prefix(name.aad());
    for leaf in leaves.columns() {
        let path = leaf.path().string();
        let class = name.kind.column_of(&path).ok_or(FileError::Schema)?.class;
        keys = keys.with_column_key(&path, dek(key, class).expose().to_vec());
    }
    open_guarded(bytes, keys.build()?, Some(&schema))
}

/// Opens `bytes` with `keys` behind the guards that this module promises.
pub(crate) fn open_guarded(
    bytes: Bytes,
    keys: Arc<FileDecryptionProperties>,
    schema: Option<&SchemaRef>,
) -> Result<Vec<RecordBatch>, FileError> {
    if !(bytes.starts_with(MAGIC) && bytes.ends_with(MAGIC)) {
        return Err(FileError::NotEncrypted);
    }
    // The closure owns what it works on; nothing it leaves half-done is seen again.
    catch_unwind(AssertUnwindSafe(move || read(bytes, keys, schema)))
        .map_err(|_panic| FileError::Malformed)?
}

fn read(
    bytes: Bytes,
    keys: Arc<FileDecryptionProperties>,
    schema: Option<&SchemaRef>,
) -> Result<Vec<RecordBatch>, FileError> {
    let options = ArrowReaderOptions::new()
        .with_file_decryption_properties(keys)
        .with_page_index_policy(PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
    check_columns(builder.metadata())?;
    if schema.is_some_and(|schema| schema.fields() != builder.schema().fields()) {
        return Err(FileError::Schema);
    }
    let reader = builder.with_batch_size(READ_ROWS).build()?;
    reader
        .map(|batch| batch.map_err(|error| FileError::Parquet(error.into())))
        .collect()
}

fn check_columns(metadata: &ParquetMetaData) -> Result<(), FileError> {
    for column in metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns())
    {
        if column.crypto_metadata().is_none() {
            return Err(FileError::BareColumn);
        }
        if column.bloom_filter_offset().is_some() {
            return Err(FileError::BloomFilter);
        }
    }
    Ok(())
}
