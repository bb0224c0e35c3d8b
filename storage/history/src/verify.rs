//! The offline check: from files, chain and public keys alone, whether each stored reading is what
//! a device signed, for the patient it was bound to, once.
//!
//! It goes on after a fault and names every one it finds. A batch that is whole but for withheld
//! series is *verified, n series withheld*.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use pulseward_base::{Digest, Kid, Partition, Reject};
use pulseward_batch::digest::{Place, batch_digest, leaf_digest, leaf_salt, readings_digest_of};
use pulseward_custody::FileKeys;

use crate::{
    chain::ChainError,
    enrolled::{self, Enrolled},
    error::HistoryError,
    files::{FilesError, blocking},
    heads::{self, Heads},
    manifest::FileEntry,
    merge::leaf_of,
    rows::{Enrolment, LeafProof, Proof, Reading, Rows, Salts},
    run::HEADS,
    schema::FileKind,
    shelf::{Directory, Shelf as _},
    store::{BatchName, PartitionStore, chain_reader, files_of, name_of, partitions_in},
};

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Manifests whose signatures hold and that follow each other.
    pub manifests: u64,
    /// Files that are what their manifests say.
    pub files: u64,
    /// Readings seen.
    pub rows: u64,
    /// Batches whose device's signature holds over exactly the rows that are stored.
    pub verified: u64,
    /// Batches that no signature covers yet; they say so.
    pub unproven: u64,
    /// Series that were withheld from verified batches.
    pub withheld: u64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The partition.
    pub partition: Partition,
    /// The file, by its name; none where it is about a chain.
    pub file: Option<String>,
    /// The batch, where it is about one.
    pub batch: Option<BatchName>,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The chain of manifests does not hold.
    #[error("the chain does not hold: {0}")]
    Chain(String),
    /// A signed list of heads names a manifest that is not in the chain.
    #[error("the chain was rolled back behind manifest {0}")]
    RolledBack(u64),
    /// A file is missing, altered or unreadable.
    #[error("the file does not hold: {0}")]
    File(String),
    /// Rows name a batch that has no proof in their commit.
    #[error("rows without a proof")]
    NoProof,
    /// A row is filed under another patient than its batch.
    #[error("row {row} is filed under another patient")]
    MovedRow {
        /// Its place in the file.
        row: usize,
    },
    /// The rows are not those that the device signed.
    #[error("the rows are not those that the device signed")]
    NotSigned,
    /// No enrolment binds the batch's device to its patient under its record.
    #[error("no enrolment binds this device to this patient")]
    NotBound,
    /// An enrolment's own signatures do not hold.
    #[error("an enrolment does not hold: {0}")]
    Enrolment(Reject),
    /// The batch is stored twice.
    #[error("the batch is stored twice")]
    Twice,
}

/// Verifies the store in `directory`. The chains must be signed by a history, and enrolments by a
/// registry, under `root`.
pub async fn verify(
    directory: &Path,
    keys: Arc<dyn FileKeys>,
    root: Kid,
) -> Result<Report, HistoryError> {
    let mut report = Report::default();
    let mut digests = BTreeMap::new();
    for partition in partitions_in(directory)? {
        let chain = verify_chain(directory, partition, &keys, root, &mut report).await?;
        if let Some((store, chain)) = chain {
            digests.insert(partition, chain);
            verify_files(&store, &root, &mut report).await;
        }
    }
    verify_heads(directory, root, &digests, &mut report).await?;
    Ok(report)
}

async fn verify_chain(
    directory: &Path,
    partition: Partition,
    keys: &Arc<dyn FileKeys>,
    root: Kid,
    report: &mut Report,
) -> Result<Option<(PartitionStore, Vec<Digest>)>, HistoryError> {
    let mut fault = |error: ChainError| -> Result<_, HistoryError> {
        if let ChainError::Io(error) = error {
            return Err(error.into());
        }
        let fault = Fault::Chain(error.to_string());
        report.findings.push(Finding {
            partition,
            file: None,
            batch: None,
            fault,
        });
        Ok(None)
    };
    let reader = match chain_reader(directory, partition, keys.as_ref(), root).await {
        Ok(Some(reader)) => reader,
        Ok(None) => return Ok(None),
        Err(HistoryError::Chain(error)) => return fault(error),
        Err(error) => return Err(error),
    };
    let (head, digests) = match blocking(move || Ok(reader.load_all())).await? {
        Ok(Some(chain)) => chain,
        Ok(None) => return Ok(None),
        Err(error) => return fault(error),
    };
    report.manifests += u64::try_from(digests.len()).unwrap_or(u64::MAX);
    let files = files_of(directory, partition, Arc::clone(keys));
    Ok(Some((
        PartitionStore {
            partition,
            head,
            files,
        },
        digests,
    )))
}

async fn verify_heads(
    directory: &Path,
    root: Kid,
    digests: &BTreeMap<Partition, Vec<Digest>>,
    report: &mut Report,
) -> Result<(), HistoryError> {
    let home = directory.join(HEADS);
    if !home.exists() {
        return Ok(());
    }
    let newest = blocking(move || {
        let shelf = Directory::existing(&home);
        let Some(newest) = heads::numbers(&shelf)?.last().copied() else {
            return Ok(None);
        };
        Ok(shelf.read(&heads::heads_name(newest), heads::MAX_BYTES)?)
    });
    let Some(bytes) = newest.await? else {
        return Ok(());
    };
    let heads = match Heads::verify(&bytes, &root) {
        Ok(heads) => heads.chains,
        Err(error) => {
            let fault = Fault::Chain(error.to_string());
            let partition = Partition(0);
            report.findings.push(Finding {
                partition,
                file: None,
                batch: None,
                fault,
            });
            return Ok(());
        }
    };
    for head in heads {
        let at = usize::try_from(head.number).unwrap_or(usize::MAX);
        let found = digests.get(&head.partition).and_then(|chain| chain.get(at));
        if found != Some(&head.digest) {
            let fault = Fault::RolledBack(head.number);
            let partition = head.partition;
            report.findings.push(Finding {
                partition,
                file: None,
                batch: None,
                fault,
            });
        }
    }
    Ok(())
}

async fn verify_files(store: &PartitionStore, root: &Kid, report: &mut Report) {
    let mut checks = Checks {
        partition: store.partition,
        report,
        enrolled: BTreeMap::new(),
        seen: BTreeSet::new(),
    };
    for file in store
        .head
        .files
        .values()
        .filter(|file| is(file, FileKind::Enrolments))
    {
        if let Some(Rows::Enrolments(rows)) = checks.read(store, file).await {
            checks.enrolments(file, &rows, root);
        }
    }
    for commit in store.commits().into_values() {
        let mut read = Commit::default();
        for file in commit.iter().filter(|file| !is(file, FileKind::Enrolments)) {
            match checks.read(store, file).await {
                Some(Rows::Readings(rows)) => read.readings.push((file.clone(), rows)),
                Some(Rows::Proofs(rows)) => read.proofs.push((file.clone(), rows)),
                Some(_) | None => {}
            }
        }
        checks.commit(read);
    }
}

fn is(file: &FileEntry, kind: FileKind) -> bool {
    file.name.kind == kind
}

/// The files of a commit that prove each other.
#[derive(Default)]
struct Commit {
    readings: Vec<(FileEntry, Vec<Reading>)>,
    proofs: Vec<(FileEntry, Vec<Proof>)>,
}

/// One batch's rows, each with its place in its file.
type BatchRows = Vec<(usize, Reading)>;

struct Checks<'a> {
    partition: Partition,
    report: &'a mut Report,
    /// Enrolments that hold, by the digest of their record.
    enrolled: BTreeMap<Digest, Vec<Enrolled>>,
    seen: BTreeSet<BatchName>,
}

impl Checks<'_> {
    async fn read(&mut self, store: &PartitionStore, file: &FileEntry) -> Option<Rows> {
        match store.files.read(file).await {
            Ok(rows) => {
                self.report.files += 1;
                Some(rows)
            }
            Err(error) => {
                self.find(file, None, Fault::File(chain_of_causes(&error)));
                None
            }
        }
    }

    fn find(&mut self, file: &FileEntry, batch: Option<BatchName>, fault: Fault) {
        let (partition, file) = (self.partition, Some(file.file_name()));
        self.report.findings.push(Finding {
            partition,
            file,
            batch,
            fault,
        });
    }

    fn enrolments(&mut self, file: &FileEntry, rows: &[Enrolment], root: &Kid) {
        for row in rows {
            match enrolled::check(row, root) {
                Ok(enrolled) => self
                    .enrolled
                    .entry(enrolled.record)
                    .or_default()
                    .push(enrolled),
                Err(reject) => self.find(file, None, Fault::Enrolment(reject)),
            }
        }
    }

    fn commit(&mut self, commit: Commit) {
        let mut rows: BTreeMap<u32, BatchRows> = BTreeMap::new();
        let mut home = None;
        for (file, readings) in commit.readings {
            self.report.rows += u64::try_from(readings.len()).unwrap_or(u64::MAX);
            for (at, reading) in readings.into_iter().enumerate() {
                rows.entry(reading.batch).or_default().push((at, reading));
            }
            home = Some(file);
        }
        for (file, proofs) in commit.proofs {
            let home = home.as_ref().unwrap_or(&file);
            for proof in proofs {
                let rows = rows.remove(&proof.batch).unwrap_or_default();
                self.batch(home, &proof, &rows);
            }
        }
        if let Some(home) = home.filter(|_| !rows.is_empty()) {
            self.find(&home, None, Fault::NoProof);
        }
    }

    fn batch(&mut self, home: &FileEntry, proof: &Proof, rows: &BatchRows) {
        let name = name_of(proof);
        if !self.seen.insert(name) {
            self.find(home, Some(name), Fault::Twice);
        }
        let moved = rows
            .iter()
            .find(|(_, row)| row.pseudonym != proof.pseudonym);
        if let Some((row, _)) = moved {
            self.find(home, Some(name), Fault::MovedRow { row: *row });
            return;
        }
        let Some(device) = self.bound(proof) else {
            self.find(home, Some(name), Fault::NotBound);
            return;
        };
        let Some((readings, withheld)) = rebuild(proof, rows) else {
            self.find(home, Some(name), Fault::NotSigned);
            return;
        };
        let Proof {
            kid,
            incarnation,
            seq,
            time,
            ..
        } = *proof;
        let place = Place {
            incarnation,
            seq,
            time,
        };
        let digest = batch_digest(&kid, &proof.record_digest, &place, &readings);
        if !proof.proven {
            self.report.unproven += 1;
        } else if device
            .device
            .verify_prehash(&digest, &proof.signature)
            .is_ok()
        {
            self.report.verified += 1;
            self.report.withheld += withheld;
        } else {
            self.find(home, Some(name), Fault::NotSigned);
        }
    }

    /// The enrolment under which the batch was signed, for the patient it is filed under, at the
    /// time it was received.
    fn bound(&self, proof: &Proof) -> Option<Enrolled> {
        let held = self.enrolled.get(&proof.record_digest)?;
        let fits = |one: &&Enrolled| {
            one.device.kid() == proof.kid
                && one.pseudonym == proof.pseudonym
                && one.from <= proof.received
                && proof.received <= one.until
        };
        held.iter().find(fits).cloned()
    }
}

/// Rebuilds the digest of a batch's readings from its rows, and counts what was withheld; none when
/// the rows do not even have the shape of what was signed.
fn rebuild(proof: &Proof, rows: &BatchRows) -> Option<(Digest, u64)> {
    if usize::try_from(proof.rows).ok()? != rows.len() {
        return None;
    }
    let mut leaves: BTreeMap<(u16, u8), Vec<Reading>> = BTreeMap::new();
    for (_, row) in rows {
        leaves
            .entry((row.kind.spec().number, row.channel))
            .or_default()
            .push(*row);
    }
    let known: Vec<_> = match &proof.salts {
        Salts::Seed(seed) => {
            let count = u32::try_from(leaves.len()).ok()?;
            (0..count)
                .map(|index| LeafProof::Kept(leaf_salt(seed, index)))
                .collect()
        }
        Salts::Leaves(known) => known.clone(),
    };
    let (mut leaves, mut withheld) = (leaves.into_values(), 0);
    let mut digests = Vec::with_capacity(known.len());
    for leaf in known {
        digests.push(match leaf {
            LeafProof::Kept(salt) => leaf_digest(&salt, &leaf_of(&leaves.next()?)?),
            LeafProof::Withheld(digest) => {
                withheld += 1;
                digest
            }
        });
    }
    leaves
        .next()
        .is_none()
        .then(|| (readings_digest_of(&digests), withheld))
}

fn chain_of_causes(error: &FilesError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
