//! A store as its readers see it: what the newest manifests name, checked before it is believed.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use pulseward_base::{Incarnation, Kid, Partition, Seq};
use pulseward_custody::{
    FileKeys, KeyError,
    dek::{Class, dek},
};

use crate::{
    chain::{self, ChainError, ChainReader, Head},
    error::HistoryError,
    files::{Files, FilesError, Patience, blocking},
    manifest::FileEntry,
    owner::{DATA, MANIFESTS, partition_name},
    rows::{Proof, Reading, Rows},
    schema::FileKind,
    shelf::{Directory, Shelf},
};

/// One batch, by what its device calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchName {
    /// The device.
    pub kid: Kid,
    /// Its queue.
    pub incarnation: Incarnation,
    /// The batch's number in it.
    pub seq: Seq,
}

/// How often a batch is stored, and with how many rows in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Once, if all is well.
    pub times: u32,
    /// Its readings in the files.
    pub rows: u64,
}

/// A store in a directory, as of when it was opened.
pub struct Store {
    partitions: Vec<PartitionStore>,
}

/// One partition of it.
pub(crate) struct PartitionStore {
    pub(crate) partition: Partition,
    pub(crate) head: Head,
    pub(crate) files: Files,
}

impl Store {
    /// Opens the store in `directory`, whose manifests a history under `root` signed.
    pub async fn open(
        directory: &Path,
        keys: Arc<dyn FileKeys>,
        root: Kid,
    ) -> Result<Self, HistoryError> {
        let mut partitions = Vec::new();
        for partition in partitions_in(directory)? {
            if let Some(reader) = chain_reader(directory, partition, keys.as_ref(), root).await? {
                let head = blocking(move || Ok(reader.load())).await??;
                let files = files_of(directory, partition, Arc::clone(&keys));
                partitions.extend(head.map(|head| PartitionStore {
                    partition,
                    head,
                    files,
                }));
            }
        }
        Ok(Self { partitions })
    }

    /// Returns how many readings are stored, as the manifests say.
    #[must_use]
    pub fn stored_rows(&self) -> u64 {
        let readings = |(_, file): &(_, &FileEntry)| file.name.kind == FileKind::Readings;
        self.files()
            .filter(readings)
            .map(|(_, file)| file.rows)
            .sum()
    }

    /// Returns all files.
    pub fn files(&self) -> impl Iterator<Item = (Partition, &FileEntry)> {
        self.partitions.iter().flat_map(|store| {
            store
                .head
                .files
                .values()
                .map(|file| (store.partition, file))
        })
    }

    /// Reads one of its files.
    pub async fn read(&self, partition: Partition, file: &FileEntry) -> Result<Rows, FilesError> {
        let store = self
            .partitions
            .iter()
            .find(|store| store.partition == partition);
        store.ok_or(FilesError::Missing)?.files.read(file).await
    }

    /// Shows every row of every file of one kind, a file at a time.
    pub async fn rows(
        &self,
        kind: FileKind,
        mut show: impl FnMut(Partition, Rows),
    ) -> Result<(), FilesError> {
        for store in &self.partitions {
            for file in store
                .head
                .files
                .values()
                .filter(|file| file.name.kind == kind)
            {
                show(store.partition, store.files.read(file).await?);
            }
        }
        Ok(())
    }

    /// Counts what is stored of every batch: what a device's own ledger is compared with.
    pub async fn batches(&self) -> Result<BTreeMap<BatchName, Counted>, FilesError> {
        let mut counted: BTreeMap<BatchName, Counted> = BTreeMap::new();
        for store in &self.partitions {
            for commit in store.commits().into_values() {
                let (readings, proofs) = store.commit_rows(&commit).await?;
                let mut rows: BTreeMap<u32, u64> = BTreeMap::new();
                for reading in &readings {
                    *rows.entry(reading.batch).or_default() += 1;
                }
                for proof in &proofs {
                    let entry = counted.entry(name_of(proof)).or_default();
                    entry.times += 1;
                    entry.rows += rows.get(&proof.batch).copied().unwrap_or(0);
                }
            }
        }
        Ok(counted)
    }
}

impl PartitionStore {
    /// The files of each commit, whose batches are numbered together.
    pub(crate) fn commits(&self) -> BTreeMap<[u8; 16], Vec<FileEntry>> {
        let mut commits: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for file in self.head.files.values() {
            commits.entry(file.commit).or_default().push(file.clone());
        }
        commits
    }

    async fn commit_rows(
        &self,
        commit: &[FileEntry],
    ) -> Result<(Vec<Reading>, Vec<Proof>), FilesError> {
        let (mut readings, mut proofs) = (Vec::new(), Vec::new());
        for file in commit {
            if matches!(file.name.kind, FileKind::Readings | FileKind::Proofs) {
                match self.files.read(file).await? {
                    Rows::Readings(rows) => readings.extend(rows),
                    Rows::Proofs(rows) => proofs.extend(rows),
                    _ => {}
                }
            }
        }
        Ok((readings, proofs))
    }
}

pub(crate) const fn name_of(proof: &Proof) -> BatchName {
    BatchName {
        kid: proof.kid,
        incarnation: proof.incarnation,
        seq: proof.seq,
    }
}

/// Returns the partitions that a directory holds.
pub(crate) fn partitions_in(directory: &Path) -> io::Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix('p')?.parse().ok());
        let named = number
            .map(Partition)
            .filter(|one| name.to_str() == Some(&partition_name(*one)));
        partitions.extend(named);
    }
    partitions.sort_unstable();
    Ok(partitions)
}

/// Returns what reads a partition's chain; none if it has no manifest.
pub(crate) async fn chain_reader(
    directory: &Path,
    partition: Partition,
    keys: &dyn FileKeys,
    root: Kid,
) -> Result<Option<ChainReader>, HistoryError> {
    let shelf: Arc<dyn Shelf> = Arc::new(at(directory, partition, MANIFESTS));
    let looking = Arc::clone(&shelf);
    let chain = match blocking(move || Ok(chain::chain_on(looking.as_ref()))).await? {
        Err(ChainError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        chain => chain?,
    };
    let Some(chain) = chain else { return Ok(None) };
    let key = keys
        .open(chain)
        .await
        .map_err(|error: KeyError| HistoryError::Key(error))?;
    let key = dek(&key, Class::Footer);
    Ok(Some(ChainReader {
        shelf,
        partition,
        chain,
        key,
        root,
    }))
}

pub(crate) fn files_of(directory: &Path, partition: Partition, keys: Arc<dyn FileKeys>) -> Files {
    let shelf = Arc::new(at(directory, partition, DATA));
    Files {
        shelf,
        keys,
        partition,
        patience: Patience::ONCE,
    }
}

fn at(directory: &Path, partition: Partition, folder: &str) -> Directory {
    let path: PathBuf = directory.join(partition_name(partition)).join(folder);
    Directory::existing(&path)
}
