//! What the embedded log makes of a disk, against the least that durable writing takes there: the
//! same bytes in the same groups, written to a file that has its room, and `fdatasync`.
//!
//! Both sides take turns on files of their own in one directory. The floor writes for as many
//! entries at once as one sync of ours made durable on average in the turn before it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use prometheus::Registry;
use pulseward_base::Partition;
use pulseward_crypto::random;
use pulseward_eventlog::{
    Backend, Class, Metrics, RawAppend, Topic,
    embedded::{EmbeddedLog, Settings},
};
use rustix::fs::{FallocateFlags, fallocate};
use tempfile::TempDir;

use super::timing::{SystemClock, median, on_wall};
use crate::figure::{Figure, Lines, Target};

const ENTRY: usize = 1024;
const WAITING: usize = 256;
const ROUNDS: usize = 7;
/// How many entries each of those that wait appends in a round.
const EACH: usize = 128;
/// How many entries are appended one by one in a round.
const SINGLE: usize = 200;
/// How large the floor's file is: as a segment of the log.
const FLOOR_BYTES: u64 = 64 << 20;

/// Durable appends a second with many waiting.
pub(crate) fn many(scratch: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let (mut ours, mut theirs, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let count = WAITING * EACH;
    for _ in 0..ROUNDS {
        let log = ScratchLog::open(scratch)?;
        let (done, took) = on_wall(|| runtime.block_on(log.append_waiting()));
        done?;
        ours.push(per_second(count, took));
        let group = log.mean_group();
        groups.push(group);
        let floor = Floor::open(scratch)?;
        let (done, took) = on_wall(|| floor.append(count, group.round().max(1.0) as usize));
        done?;
        theirs.push(per_second(count, took));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    lines.say(format!(
        "{WAITING} wait, {count} entries of {ENTRY} bytes a round, {ROUNDS} rounds, medians"
    ));
    lines.say(format!(
        "entries that one sync made durable {:9.0}",
        median(groups)
    ));
    lines.say(format!("durable appends a second           {ours:9.0}"));
    lines.say(format!("write and fdatasync, as large      {theirs:9.0}"));
    let figure = Figure::new(
        "append",
        "durable appends a second of 1 KiB, 256 waiting",
        ours,
        theirs,
        Target::RatioAtLeast(0.5),
    );
    Ok(figure
        .versus("a second: write and fdatasync in groups as large")
        .with_lines(lines.into_vec()))
}

/// How long one durable append takes when nobody else waits.
pub(crate) fn one(scratch: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let log = ScratchLog::open(scratch)?;
    let floor = Floor::open(scratch)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS * SINGLE {
        let (done, took) = on_wall(|| runtime.block_on(log.append_one()));
        done?;
        ours.push(took.as_secs_f64() * 1e6);
        let at = ours.len() - 1;
        let (done, took) = on_wall(|| floor.write(at, 1));
        done?;
        theirs.push(took.as_secs_f64() * 1e6);
    }
    let worst = |values: &[f64]| percentile(values, 0.99);
    lines.say(format!(
        "{} appends of {ENTRY} bytes, one by one, in turns",
        ours.len()
    ));
    lines.say(format!(
        "99 % within: {:.0} us, the floor {:.0} us",
        worst(&ours),
        worst(&theirs)
    ));
    let figure = Figure::new(
        "append-one",
        "us, a lone durable append of 1 KiB",
        median(ours),
        median(theirs),
        Target::RatioAtMost(1.5),
    );
    Ok(figure
        .versus("us: write and fdatasync")
        .with_lines(lines.into_vec()))
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// A log that is gone with its directory.
struct ScratchLog {
    log: Arc<EmbeddedLog>,
    registry: Registry,
    bytes: Bytes,
    _directory: TempDir,
}

impl ScratchLog {
    fn open(scratch: &Path) -> anyhow::Result<Self> {
        let directory = directory(scratch)?;
        let registry = Registry::new();
        let metrics = Metrics::new(&registry)?;
        let clock = Arc::new(SystemClock::start());
        let log = EmbeddedLog::open(
            &directory.path().join("log"),
            Settings::default(),
            clock,
            metrics,
        )?;
        Ok(Self {
            log: Arc::new(log),
            registry,
            bytes: Bytes::from(noise()),
            _directory: directory,
        })
    }

    /// Appends with [`WAITING`] tasks at once, each waiting for its own to be durable.
    async fn append_waiting(&self) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..WAITING {
            let (log, bytes) = (Arc::clone(&self.log), self.bytes.clone());
            let partition = Partition(u32::try_from(task)? % log.partitions());
            tasks.spawn(async move {
                for _ in 0..EACH {
                    log.append(vec![entry(partition, &bytes)], Class::Ingest)
                        .await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn append_one(&self) -> anyhow::Result<()> {
        let entries = vec![entry(Partition(0), &self.bytes)];
        self.log.append(entries, Class::Ingest).await?;
        Ok(())
    }

    /// Returns how many entries one sync made durable on average.
    fn mean_group(&self) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "pulseward_eventlog_commit_entries");
        let histogram = family
            .and_then(|family| family.get_metric().first())
            .map(|metric| metric.get_histogram());
        histogram.map_or(1.0, |histogram| {
            histogram.get_sample_sum() / histogram.get_sample_count().max(1) as f64
        })
    }
}

fn entry(partition: Partition, bytes: &Bytes) -> RawAppend {
    RawAppend {
        topic: Topic::Feed,
        partition,
        key: None,
        bytes: bytes.clone(),
    }
}

/// A file with its room set aside.
struct Floor {
    file: File,
    bytes: Vec<u8>,
    _directory: TempDir,
}

impl Floor {
    fn open(scratch: &Path) -> anyhow::Result<Self> {
        let directory = directory(scratch)?;
        let path: PathBuf = directory.path().join("floor");
        let file = File::options().create_new(true).write(true).open(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, FLOOR_BYTES)?;
        file.sync_all()?;
        Ok(Self {
            file,
            bytes: noise().repeat(WAITING),
            _directory: directory,
        })
    }

    fn append(&self, count: usize, group: usize) -> anyhow::Result<()> {
        for first in (0..count).step_by(group) {
            self.write(first, group)?;
        }
        Ok(())
    }

    /// Writes `group` entries behind the first `at` of them, and makes them durable.
    fn write(&self, at: usize, group: usize) -> anyhow::Result<()> {
        let size = group * ENTRY;
        let bytes = self
            .bytes
            .get(..size)
            .context("a group is no larger than what waits")?;
        let room = usize::try_from(FLOOR_BYTES)? - size;
        self.file.write_all_at(bytes, (at * ENTRY % room) as u64)?;
        Ok(self.file.sync_data()?)
    }
}

fn directory(scratch: &Path) -> anyhow::Result<TempDir> {
    fs::create_dir_all(scratch)?;
    TempDir::with_prefix_in("figures-", scratch)
        .with_context(|| format!("couldn't write in {}", scratch.display()))
}

fn noise() -> Vec<u8> {
    random::bytes::<ENTRY>().to_vec()
}
