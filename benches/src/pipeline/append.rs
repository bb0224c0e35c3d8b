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
const ROUNDS: usize = 41;
/// How many entries each of those that wait appends in a round.
const EACH: usize = 32;
/// How many entries are appended one by one.
const SINGLE: usize = 1500;
/// How large a segment of the log is: the floor's file takes its room in the same steps.
const SEGMENT: usize = 64 << 20;

/// Durable appends a second with many waiting.
pub(crate) fn many(scratch: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let (mut ours, mut theirs, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let count = WAITING * EACH;
    let log = ScratchLog::open(scratch)?;
    let mut floor = Floor::open(scratch, count * ROUNDS)?;
    for _ in 0..ROUNDS {
        let before = log.synced();
        let (done, took) = on_wall(|| runtime.block_on(log.append_waiting()));
        done?;
        ours.push(count as f64 / took.as_secs_f64());
        let (entries, syncs) = log.synced();
        let group = (entries - before.0) / (syncs - before.1).max(1.0);
        groups.push(group);
        let (done, took) = on_wall(|| floor.append(count, group.round().max(1.0) as usize));
        done?;
        theirs.push(count as f64 / took.as_secs_f64());
    }
    lines.say(format!(
        "{WAITING} wait, {count} entries of {ENTRY} bytes a round, {ROUNDS} rounds, medians"
    ));
    let spread = |name: &str, values: &[f64]| {
        let [low, high] = [0.1, 0.9].map(|share| percentile(values, share));
        let middle = median(values.to_vec());
        format!("{name:34} {middle:9.0}, four of five between {low:.0} and {high:.0}")
    };
    lines.say(spread("entries that one sync made durable", &groups));
    lines.say(spread("durable appends a second", &ours));
    lines.say(spread("write and fdatasync, as large", &theirs));
    let figure = Figure::new(
        "append",
        "durable appends a second of 1 KiB, 256 waiting",
        median(ours),
        median(theirs),
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
    let mut floor = Floor::open(scratch, SINGLE)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..SINGLE {
        let (done, took) = on_wall(|| runtime.block_on(log.append_one()));
        done?;
        ours.push(took.as_secs_f64() * 1e6);
        let (done, took) = on_wall(|| floor.append(1, 1));
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

    /// Returns how many entries were made durable, and by how many syncs.
    fn synced(&self) -> (f64, f64) {
        let families = self.registry.gather();
        let mut named = families
            .iter()
            .filter(|family| family.name() == "pulseward_eventlog_commit_entries");
        let metric = named.next().and_then(|family| family.get_metric().first());
        metric.map_or((0.0, 0.0), |metric| {
            let histogram = metric.get_histogram();
            (
                histogram.get_sample_sum(),
                histogram.get_sample_count() as f64,
            )
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

/// A file with its room set aside, which is written from its start on, as a segment of the log is.
struct Floor {
    file: File,
    bytes: Vec<u8>,
    at: u64,
    _directory: TempDir,
}

impl Floor {
    fn open(scratch: &Path, entries: usize) -> anyhow::Result<Self> {
        let directory = directory(scratch)?;
        let path: PathBuf = directory.path().join("floor");
        let file = File::options().create_new(true).write(true).open(path)?;
        let room = (entries * ENTRY).next_multiple_of(SEGMENT) as u64;
        fallocate(&file, FallocateFlags::empty(), 0, room)?;
        file.sync_all()?;
        Ok(Self {
            file,
            bytes: noise().repeat(WAITING),
            at: 0,
            _directory: directory,
        })
    }

    /// Writes `count` entries, `group` at a time, each group durable before the next.
    fn append(&mut self, count: usize, group: usize) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 {
            let size = group.min(left) * ENTRY;
            let bytes = self.bytes.get(..size);
            let bytes = bytes.context("a group is no larger than what waits")?;
            self.file.write_all_at(bytes, self.at)?;
            self.file.sync_data()?;
            self.at += size as u64;
            left -= group.min(left);
        }
        Ok(())
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
