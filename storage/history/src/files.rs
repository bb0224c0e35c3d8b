//! Files on a shelf: written under a key of their own, read only if they are what their manifest
//! says.

use std::{io, sync::Arc, time::Duration};

use arrow::error::ArrowError;
use bytes::Bytes;
use pulseward_base::{Epoch, Micros, Partition, Secret};
use pulseward_crypto::{hash, random};
use pulseward_custody::{FileKeys, KeyError};

use crate::{
    file::{self, FileError, FileName},
    manifest::{self, FileEntry},
    rows::Rows,
    shelf::{Created, Shelf},
};

/// How large a file may be.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// A file that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The rows do not make a table.
    #[error("rows could not be encoded")]
    Arrow(#[from] ArrowError),
    /// The file is not what its manifest says it is.
    #[error("a file's bytes are not those of its manifest")]
    Changed,
    /// The file is not what this program would have written.
    #[error("a file does not open")]
    File(#[from] FileError),
    /// The shelf failed.
    #[error("the files' shelf failed")]
    Io(#[from] io::Error),
    /// Its key was not given.
    #[error("a file's key was not given")]
    Key(#[from] KeyError),
    /// The file opens, but its rows say what this program would not have written.
    #[error("a file's rows are malformed")]
    Malformed,
    /// The file is not there.
    #[error("a file is missing")]
    Missing,
    /// The task that did the work ended early.
    #[error("the work was cut off")]
    CutOff,
}

/// The files of one partition.
#[derive(Clone)]
pub struct Files {
    /// Where they lie.
    pub shelf: Arc<dyn Shelf>,
    /// Where their keys come from.
    pub keys: Arc<dyn FileKeys>,
    /// Whose they are.
    pub partition: Partition,
    /// How long the keys are asked for.
    pub patience: Patience,
}

/// How often keys that are unavailable are asked for again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The wait between two tries.
    pub every: Duration,
    /// How many tries there are.
    pub tries: u32,
}

impl Patience {
    /// Asks once.
    pub const ONCE: Self = Self {
        every: Duration::ZERO,
        tries: 1,
    };

    async fn ask<F>(self, mut ask: impl FnMut() -> F) -> Result<Secret<32>, KeyError>
    where
        F: Future<Output = Result<Secret<32>, KeyError>>,
    {
        let mut tries = 1;
        loop {
            match ask().await {
                Err(KeyError::Unavailable) if tries < self.tries => tries += 1,
                other => return other,
            }
            tokio::time::sleep(self.every).await;
        }
    }
}

/// What a new file is to be known as.
#[derive(Clone, Copy, Debug)]
pub struct Placing {
    /// The owner's term.
    pub epoch: Epoch,
    /// The commit it belongs to.
    pub commit: [u8; 16],
    /// How often its rows have been merged.
    pub level: u8,
}

impl Files {
    /// Writes a file, durably. It is no part of the store until a manifest names it.
    pub async fn write(&self, rows: Rows, placing: Placing) -> Result<FileEntry, FilesError> {
        let id = random::bytes();
        let key = self.patience.ask(|| self.keys.create(id)).await?;
        let name = FileName {
            id,
            partition: self.partition,
            kind: rows.kind(),
        };
        let shelf = Arc::clone(&self.shelf);
        blocking(move || write(shelf.as_ref(), name, &key, &rows, placing)).await
    }

    /// Reads a file.
    pub async fn read(&self, entry: &FileEntry) -> Result<Rows, FilesError> {
        let key = self.patience.ask(|| self.keys.open(entry.name.id)).await?;
        let (shelf, entry) = (Arc::clone(&self.shelf), entry.clone());
        blocking(move || read(shelf.as_ref(), &entry, &key)).await
    }

    /// Destroys a file's key and removes it. It must be no part of the store any more.
    pub async fn destroy(&self, entry: &FileEntry) -> Result<(), FilesError> {
        self.keys.destroy(entry.name.id).await?;
        let (shelf, name) = (Arc::clone(&self.shelf), entry.file_name());
        blocking(move || Ok(shelf.remove(&name)?)).await
    }
}

/// Runs what takes long or waits for a disk where that is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| FilesError::CutOff)?
}

fn write(
    shelf: &dyn Shelf,
    name: FileName,
    key: &Secret<32>,
    rows: &Rows,
    placing: Placing,
) -> Result<FileEntry, FilesError> {
    let bytes = file::seal(&name, key, &rows.to_arrow()?)?;
    let (first, last) = rows.span().unwrap_or((Micros(0), Micros(0)));
    let entry = FileEntry {
        name,
        level: placing.level,
        epoch: placing.epoch,
        commit: placing.commit,
        rows: u64::try_from(rows.len()).unwrap_or(u64::MAX),
        bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        digest: hash::sha256(&[&bytes]),
        first,
        last,
    };
    match shelf.create(&manifest::file_name(placing.epoch, &name), &bytes)? {
        Created::New => Ok(entry),
        // 128 random bits were drawn twice.
        Created::Exists => Err(FilesError::Io(io::ErrorKind::AlreadyExists.into())),
    }
}

/// The hash is checked before anything is parsed, on the very bytes that are then parsed.
fn read(shelf: &dyn Shelf, entry: &FileEntry, key: &Secret<32>) -> Result<Rows, FilesError> {
    let limit = entry.bytes.min(MAX_FILE_BYTES);
    let bytes = shelf
        .read(&entry.file_name(), limit)?
        .ok_or(FilesError::Missing)?;
    if hash::sha256(&[&bytes]) != entry.digest {
        return Err(FilesError::Changed);
    }
    let batches = file::open_strict(&entry.name, key, Bytes::from(bytes))?;
    let rows = Rows::from_arrow(entry.name.kind, &batches).map_err(|_| FilesError::Malformed)?;
    if u64::try_from(rows.len()).ok() == Some(entry.rows) {
        Ok(rows)
    } else {
        Err(FilesError::Malformed)
    }
}
