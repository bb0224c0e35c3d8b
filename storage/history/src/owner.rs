//! A partition's store in the hands of its owner: the chain that was claimed, and the files.
//!
//! Everything that changes the store is here, and each change is one commit: new rows, rows merged,
//! patients erased.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pulseward_base::{Clock, KeyId, Kid, Micros, Partition, Pseudonym, bytes::unhex};
use pulseward_crypto::random;
use pulseward_custody::{
    FileKeys, KeyError,
    dek::{Class, dek},
};

use crate::{
    chain::{self, Chain, ChainError, ChainReader, Change, Head},
    collect::Collector,
    enrolled,
    error::HistoryError,
    files::{Files, Patience, Placing, blocking},
    manifest::{FileEntry, ManifestError, Signer},
    marks::DeviceMark,
    merge::{LeftOut, merge},
    metrics::Metrics,
    rows::Rows,
    schema::FileKind,
    settings::Settings,
    shelf::{Directory, Shelf, is_unfinished},
};

/// How often a beginning is tried while others begin the same chain.
const BEGINNINGS: u32 = 4;

/// What an owner is given.
#[derive(Clone)]
pub(crate) struct OwnerTools {
    pub(crate) keys: Arc<dyn FileKeys>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) root: Kid,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Metrics,
}

/// A partition's store.
pub(crate) struct Owner {
    tools: OwnerTools,
    files: Files,
    /// Taken while a commit is under way; none after one has failed.
    chain: Option<Chain>,
}

/// The files of one commit.
type Commit = Vec<FileEntry>;

impl Owner {
    /// Claims a partition's chain, beginning it if there is none, and removes what dead owners
    /// left behind.
    pub(crate) async fn claim(
        partition: Partition,
        tools: OwnerTools,
    ) -> Result<Self, HistoryError> {
        let home = tools.settings.directory.join(partition_name(partition));
        let shelves = blocking(move || {
            let manifests: Arc<dyn Shelf> = Arc::new(Directory::open(&home.join(MANIFESTS))?);
            let data: Arc<dyn Shelf> = Arc::new(Directory::open(&home.join(DATA))?);
            Ok((manifests, data))
        });
        let (manifests, data) = shelves.await?;
        let mut tries = 0;
        let chain = loop {
            tries += 1;
            match claim(&manifests, partition, &tools).await {
                Ok(chain) => break chain,
                // Somebody else began the chain between our look and our claim.
                Err(HistoryError::Chain(
                    ChainError::Broken { .. }
                    | ChainError::Manifest {
                        error: ManifestError::Seal,
                        ..
                    },
                )) if tries < BEGINNINGS => {}
                Err(error) => return Err(error),
            }
        };
        let patience = Patience {
            every: tools.settings.retry_after,
            tries: tools.settings.key_tries,
        };
        let files = Files {
            shelf: data,
            keys: Arc::clone(&tools.keys),
            partition,
            patience,
        };
        let mut owner = Self {
            tools,
            files,
            chain: Some(chain),
        };
        owner.collect_garbage(&manifests).await?;
        Ok(owner)
    }

    /// Returns what is committed.
    pub(crate) fn head(&self) -> Result<&Head, HistoryError> {
        Ok(self.chain.as_ref().ok_or(ChainError::Fenced)?.head())
    }

    /// Commits what was collected.
    pub(crate) async fn commit(
        &mut self,
        log: [u8; 16],
        collector: &mut Collector,
    ) -> Result<(), HistoryError> {
        let rows = std::mem::take(&mut collector.pending).into_files();
        let counts = counts(&rows);
        let added = self.write(rows, 0).await?;
        let marks = changed(collector);
        self.put(Change {
            log,
            positions: collector.positions,
            added,
            removed: vec![],
            marks,
        })
        .await?;
        collector.marks.settle();
        let metrics = &self.tools.metrics;
        for (kind, count) in counts {
            match kind {
                FileKind::Readings => metrics.rows.inc_by(count),
                FileKind::Scores => metrics.scores.inc_by(count),
                FileKind::Alerts => metrics.alerts.inc_by(count),
                FileKind::Proofs | FileKind::Enrolments => {}
            }
        }
        Ok(())
    }

    /// Rewrites every file that has rows of the patients whose keys were destroyed, and commits
    /// that together with the position behind the order to do so.
    pub(crate) async fn erase(
        &mut self,
        keys: &[KeyId],
        log: [u8; 16],
        collector: &mut Collector,
    ) -> Result<(), HistoryError> {
        let patients = self.patients(keys).await?;
        let left_out = LeftOut {
            patients,
            older: self.expired(),
        };
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for commit in self.commits()?.into_values() {
            let rows = self.read(&commit).await?;
            if rows.iter().any(|rows| mentions(rows, &left_out)) {
                let level = commit.first().map_or(0, |file| file.level);
                let kept = blocking_merge(vec![rows], left_out.clone()).await?;
                added.extend(self.write(kept, level).await?);
                removed.extend(commit);
            }
        }
        let marks = changed(collector);
        self.replace(log, collector, added, removed, marks).await
    }

    /// Merges the files of small commits when there are many of one level. Returns whether it did.
    pub(crate) async fn compact(
        &mut self,
        log: [u8; 16],
        collector: &mut Collector,
    ) -> Result<bool, HistoryError> {
        let Some((level, chosen)) = self.choose()? else {
            return Ok(false);
        };
        let mut commits = Vec::with_capacity(chosen.len());
        for commit in &chosen {
            commits.push(self.read(commit).await?);
        }
        let left_out = LeftOut {
            patients: BTreeSet::new(),
            older: self.expired(),
        };
        let rows = blocking_merge(commits, left_out).await?;
        let added = self.write(rows, level.saturating_add(1)).await?;
        let removed = chosen.into_iter().flatten().collect();
        // Positions stay where they are committed: what is collected meanwhile is not in any file.
        self.replace(log, collector, added, removed, Vec::new())
            .await?;
        Ok(true)
    }

    /// Commits files in the place of others, whose keys are destroyed then. Nothing pending is
    /// lost: where marks are not given, the committed positions stay.
    async fn replace(
        &mut self,
        log: [u8; 16],
        collector: &mut Collector,
        added: Vec<FileEntry>,
        removed: Vec<FileEntry>,
        marks: Vec<(Kid, DeviceMark)>,
    ) -> Result<(), HistoryError> {
        let whole = collector.pending.is_empty();
        let positions = if whole {
            collector.positions
        } else {
            self.head()?.positions
        };
        let ids = removed.iter().map(|file| file.name.id).collect();
        self.put(Change {
            log,
            positions,
            added,
            removed: ids,
            marks,
        })
        .await?;
        if whole {
            collector.marks.settle();
        }
        for file in &removed {
            self.files.destroy(file).await?;
        }
        self.tools.metrics.compactions.inc();
        Ok(())
    }

    async fn put(&mut self, change: Change) -> Result<(), HistoryError> {
        let mut chain = self.chain.take().ok_or(ChainError::Fenced)?;
        let now = self.tools.clock.now();
        let started = self.tools.clock.monotonic();
        let work = move || Ok((chain.commit(change, now), chain));
        let (committed, chain) = blocking(work).await?;
        let metrics = &self.tools.metrics;
        if matches!(committed, Err(ChainError::Fenced)) {
            metrics.fenced.inc();
        }
        committed?;
        let took = self.tools.clock.monotonic().saturating_sub(started);
        metrics.commit_seconds.observe(took.as_secs_f64());
        metrics.commits.inc();
        metrics
            .files
            .set(i64::try_from(chain.head().files.len()).unwrap_or(i64::MAX));
        self.chain = Some(chain);
        Ok(())
    }

    async fn write(&self, files: Vec<Rows>, level: u8) -> Result<Vec<FileEntry>, HistoryError> {
        let placing = Placing {
            epoch: self.head()?.epoch,
            commit: random::bytes(),
            level,
        };
        let mut written = Vec::with_capacity(files.len());
        for rows in files {
            let entry = self.files.write(rows, placing).await?;
            self.tools.metrics.bytes.inc_by(entry.bytes);
            written.push(entry);
        }
        Ok(written)
    }

    async fn read(&self, commit: &Commit) -> Result<Vec<Rows>, HistoryError> {
        let mut rows = Vec::with_capacity(commit.len());
        for file in commit {
            rows.push(self.files.read(file).await?);
        }
        Ok(rows)
    }

    /// The files of each commit.
    fn commits(&self) -> Result<BTreeMap<[u8; 16], Commit>, HistoryError> {
        let mut commits: BTreeMap<[u8; 16], Commit> = BTreeMap::new();
        for file in self.head()?.files.values() {
            commits.entry(file.commit).or_default().push(file.clone());
        }
        Ok(commits)
    }

    /// The oldest commits of the lowest level that has enough of them, within the row limit.
    fn choose(&self) -> Result<Option<(u8, Vec<Commit>)>, HistoryError> {
        let settings = &self.tools.settings;
        let mut levels: BTreeMap<u8, Vec<Commit>> = BTreeMap::new();
        for commit in self.commits()?.into_values() {
            let level = commit.first().map_or(0, |file| file.level);
            if level < u8::MAX && rows_of(&commit) < settings.compact_rows {
                levels.entry(level).or_default().push(commit);
            }
        }
        for (level, mut commits) in levels {
            if commits.len() < settings.compact_commits.max(2) {
                continue;
            }
            commits.sort_by_key(|commit| {
                let first = commit.first();
                (
                    first.map(|file| file.epoch),
                    commit.iter().map(|file| file.last).max(),
                )
            });
            let mut rows = 0;
            commits.truncate(settings.compact_commits.max(2));
            commits.retain(|commit| {
                rows += rows_of(commit);
                rows <= settings.compact_rows
            });
            if commits.len() >= 2 {
                return Ok(Some((level, commits)));
            }
        }
        Ok(None)
    }

    fn expired(&self) -> BTreeMap<pulseward_vitals::Kind, Micros> {
        let now = self.tools.clock.now();
        let before = |(kind, keep): (&_, &_)| (*kind, now.minus(*keep));
        self.tools.settings.retention.iter().map(before).collect()
    }

    /// The pseudonyms of patients' keys, from the enrolments that are stored.
    async fn patients(&self, keys: &[KeyId]) -> Result<BTreeSet<Pseudonym>, HistoryError> {
        let mut patients = BTreeSet::new();
        for file in self.head()?.files.values() {
            if file.name.kind != FileKind::Enrolments {
                continue;
            }
            let Rows::Enrolments(enrolments) = self.files.read(file).await? else {
                continue;
            };
            let held = enrolments
                .iter()
                .filter_map(|one| enrolled::check(one, &self.tools.root).ok());
            patients.extend(
                held.filter(|one| keys.contains(&one.key))
                    .map(|one| one.pseudonym),
            );
        }
        Ok(patients)
    }

    /// Removes files that no manifest names: those of owners before this one, past a grace, in
    /// which they may still learn that they are fenced.
    async fn collect_garbage(&mut self, manifests: &Arc<dyn Shelf>) -> Result<(), HistoryError> {
        let head = self.head()?;
        let epoch = head.epoch.0;
        let named: BTreeSet<String> = head.files.values().map(FileEntry::file_name).collect();
        let before = self
            .tools
            .clock
            .now()
            .minus(self.tools.settings.garbage_grace);
        let (data, manifests) = (Arc::clone(&self.files.shelf), Arc::clone(manifests));
        let garbage = blocking(move || {
            for shelf in [&manifests, &data] {
                for old in shelf.list()?.iter().filter(|old| is_unfinished(&old.name)) {
                    if old.modified < before {
                        shelf.remove(&old.name)?;
                    }
                }
            }
            let listed = data.list()?.into_iter().filter(|listed| {
                let of_epoch = epoch_of(&listed.name).is_some_and(|written| written < epoch);
                of_epoch && listed.modified < before && !named.contains(&listed.name)
            });
            Ok(listed.map(|listed| listed.name).collect::<Vec<_>>())
        });
        for name in garbage.await? {
            if let Some(id) = id_of(&name) {
                self.tools.keys.destroy(id).await?;
            }
            let shelf = Arc::clone(&self.files.shelf);
            blocking(move || Ok(shelf.remove(&name)?)).await?;
        }
        Ok(())
    }
}

/// What a partition's directory is called.
pub(crate) fn partition_name(partition: Partition) -> String {
    format!("p{:04}", partition.0)
}

/// Where in a partition's directory its manifests lie.
pub(crate) const MANIFESTS: &str = "manifest";

/// Where in a partition's directory its files lie.
pub(crate) const DATA: &str = "data";

async fn claim(
    manifests: &Arc<dyn Shelf>,
    partition: Partition,
    tools: &OwnerTools,
) -> Result<Chain, HistoryError> {
    let shelf = Arc::clone(manifests);
    let known = blocking(move || Ok(chain::chain_on(shelf.as_ref()))).await??;
    let chain = known.unwrap_or_else(random::bytes);
    let key = match known {
        Some(chain) => tools.keys.open(chain).await?,
        None => tools.keys.create(chain).await?,
    };
    let reader = ChainReader {
        shelf: Arc::clone(manifests),
        partition,
        chain,
        key: dek(&key, Class::Footer),
        root: tools.root,
    };
    let (signer, now) = (Arc::clone(&tools.signer), tools.clock.now());
    let claimed = blocking(move || Ok(Chain::claim(reader, signer, now))).await?;
    // Only a race that was lost: after a failed write the chain may exist, and need its key.
    let lost = matches!(
        claimed,
        Err(ChainError::Broken { .. } | ChainError::Manifest { .. })
    );
    if lost && known.is_none() {
        match tools.keys.destroy(chain).await {
            Ok(()) | Err(KeyError::Erased) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(claimed?)
}

async fn blocking_merge(
    commits: Vec<Vec<Rows>>,
    left_out: LeftOut,
) -> Result<Vec<Rows>, HistoryError> {
    Ok(blocking(move || Ok(merge(commits, &left_out))).await??)
}

fn changed(collector: &Collector) -> Vec<(Kid, DeviceMark)> {
    collector
        .marks
        .changed()
        .map(|(kid, mark)| (*kid, mark.clone()))
        .collect()
}

fn counts(files: &[Rows]) -> Vec<(FileKind, u64)> {
    files
        .iter()
        .map(|rows| (rows.kind(), u64::try_from(rows.len()).unwrap_or(u64::MAX)))
        .collect()
}

fn rows_of(commit: &Commit) -> u64 {
    commit.iter().map(|file| file.rows).sum()
}

/// Whether a file has anything that is to be left out, as far as it takes to know that its commit
/// must be rewritten.
fn mentions(rows: &Rows, left_out: &LeftOut) -> bool {
    let gone = |pseudonym: &Pseudonym| left_out.patients.contains(pseudonym);
    match rows {
        Rows::Readings(rows) => rows.iter().any(|row| gone(&row.pseudonym)),
        Rows::Proofs(rows) => rows.iter().any(|row| gone(&row.pseudonym)),
        Rows::Enrolments(rows) => rows
            .iter()
            .any(|row| crate::merge::pseudonym_of(row).is_some_and(|pseudonym| gone(&pseudonym))),
        Rows::Scores(rows) => rows.iter().any(|row| gone(&row.pseudonym)),
        Rows::Alerts(rows) => rows.iter().any(|row| gone(&row.score.pseudonym)),
    }
}

/// The epoch in a file's name.
fn epoch_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.split_once('-')?.0, 16).ok()
}

/// The id in a file's name.
fn id_of(name: &str) -> Option<[u8; 16]> {
    let (_, rest) = name.split_once('-')?;
    let (id, _) = rest.split_once('.')?;
    unhex(id).ok()?.try_into().ok()
}
