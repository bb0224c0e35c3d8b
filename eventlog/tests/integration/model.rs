//! The journal against a model: random appends, crashes, power cuts, trims and reopenings. Whatever
//! happens, what was acknowledged is there, an append is whole or absent, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use pulseward_base::{Offset, Partition};
use pulseward_eventlog::{
    Backend, Class, LogError, RawAppend, Retention, Topic, TrimPoint,
    embedded::{
        EmbeddedLog,
        memory::{Crash, Faults, MemoryFs},
    },
};

use crate::support::{open, read_all, runtime, small};

#[derive(Clone, Debug)]
enum Step {
    /// One append of entries: topic, partition, key, size.
    Append(Vec<(usize, u32, u8, usize)>),
    /// The disk stops this many operations from now; a crash of this kind follows.
    StopAfter(u64, Crash),
    Crash(Crash),
    Close,
    Trim(u32, u64),
}

type Stream = (Topic, u32);
type Entries = BTreeMap<u64, (Option<[u8; 16]>, Bytes)>;

/// What must be there.
#[derive(Default)]
struct Model {
    entries: BTreeMap<Stream, Entries>,
    ends: BTreeMap<Stream, u64>,
    trimmed: BTreeMap<Stream, u64>,
    /// The append that was neither acknowledged nor refused when the disk stopped.
    in_doubt: Option<Vec<RawAppend>>,
    serial: u32,
}

const TOPICS: &[Topic] = &[
    Topic::Feed,
    Topic::Alerts,
    Topic::State,
    Topic::Devices,
    Topic::Audit,
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let entry = (0..TOPICS.len(), 0..2_u32, 0..4_u8, 0..1500_usize);
    let append = prop::collection::vec(entry, 1..5).prop_map(Step::Append);
    let crash = prop_oneof![Just(Crash::Kill), any::<u64>().prop_map(Crash::PowerCut)];
    let stop = (0..12_u64, crash.clone()).prop_map(|(after, crash)| Step::StopAfter(after, crash));
    let step = prop_oneof![
        12 => append,
        2 => stop,
        1 => crash.prop_map(Step::Crash),
        1 => Just(Step::Close),
        2 => (0..2_u32, 0..40_u64).prop_map(|(partition, back)| Step::Trim(partition, back)),
    ];
    prop::collection::vec(step, 1..60)
}

impl Model {
    fn make(&mut self, entries: &[(usize, u32, u8, usize)]) -> Vec<RawAppend> {
        let make = |(topic, partition, key, size): &(usize, u32, u8, usize)| {
            self.serial += 1;
            let topic = TOPICS[*topic];
            // Every entry is unlike every other.
            let mut bytes = self.serial.to_le_bytes().to_vec();
            bytes.resize(4 + size, *key);
            RawAppend {
                topic,
                partition: Partition(*partition),
                key: (topic.retention() == Retention::Compacted).then_some([*key; 16]),
                bytes: Bytes::from(bytes),
            }
        };
        entries.iter().map(make).collect()
    }

    fn add(&mut self, appends: Vec<RawAppend>) {
        for append in appends {
            let stream = (append.topic, append.partition.0);
            let end = self.ends.entry(stream).or_default();
            let entry = (append.key, append.bytes);
            self.entries.entry(stream).or_default().insert(*end, entry);
            *end += 1;
        }
    }

    /// Returns points so far behind the ends of one partition's streams, and at the others' ends.
    fn trim_points(&mut self, partition: u32, back: u64) -> Vec<TrimPoint> {
        let mut points = Vec::new();
        for topic in [Topic::Feed, Topic::Alerts] {
            for part in 0..2 {
                let end = self.ends.get(&(topic, part)).copied().unwrap_or(0);
                let back = if part == partition { back } else { 0 };
                let below = end.saturating_sub(back);
                let trimmed = self.trimmed.entry((topic, part)).or_default();
                *trimmed = below.max(*trimmed);
                points.push(TrimPoint {
                    topic,
                    partition: Partition(part),
                    below: Offset(below),
                });
            }
        }
        points
    }

    /// Decides whether the append in doubt is there, by its first entry, and takes all of it.
    async fn settle(&mut self, log: &EmbeddedLog) {
        let Some(appends) = self.in_doubt.take() else {
            return;
        };
        let first = &appends[0];
        let stream = (first.topic, first.partition.0);
        let bounds = log.bounds(first.topic, first.partition).await.unwrap();
        let known = self.ends.get(&stream).copied().unwrap_or(0);
        if bounds.end.0 > known {
            self.add(appends);
        }
    }

    async fn check(&self, log: &EmbeddedLog) {
        for topic in TOPICS {
            for partition in 0..2 {
                let stream = (*topic, partition);
                self.check_stream(log, stream).await;
            }
        }
    }

    async fn check_stream(&self, log: &EmbeddedLog, stream: Stream) {
        let (topic, partition) = stream;
        let bounds = log.bounds(topic, Partition(partition)).await.unwrap();
        let end = self.ends.get(&stream).copied().unwrap_or(0);
        assert_eq!(bounds.end.0, end, "{stream:?}");
        let trimmed = self.trimmed.get(&stream).copied().unwrap_or(0);
        assert!(bounds.start.0 <= trimmed, "{stream:?} lost its start");
        let none = BTreeMap::new();
        let expected = self.entries.get(&stream).unwrap_or(&none);
        let read: BTreeMap<u64, Bytes> =
            read_all(log, topic, partition).await.into_iter().collect();
        for (offset, bytes) in &read {
            assert!(
                expected[offset].1 == *bytes,
                "{stream:?} {offset} is another"
            );
        }
        let must: BTreeSet<u64> = match topic.retention() {
            Retention::Kept => expected.keys().copied().collect(),
            Retention::Trimmed => (bounds.start.0..end).collect(),
            Retention::Compacted => newest_of(expected),
        };
        let missing: Vec<_> = must
            .iter()
            .filter(|offset| !read.contains_key(offset))
            .collect();
        assert!(missing.is_empty(), "{stream:?} lacks {missing:?}");
        if topic.retention() == Retention::Compacted {
            let newest = log.newest(topic, Partition(partition)).await.unwrap();
            let offsets: BTreeSet<u64> = newest.iter().map(|entry| entry.offset.0).collect();
            assert_eq!(offsets, must, "{stream:?}");
        }
    }
}

fn newest_of(entries: &Entries) -> BTreeSet<u64> {
    let mut newest = BTreeMap::new();
    for (offset, (key, _)) in entries {
        newest.insert(*key, *offset);
    }
    newest.into_values().collect()
}

async fn run(steps: Vec<Step>) {
    let fs = MemoryFs::new();
    let mut model = Model::default();
    let mut log = open(&fs, small());
    let mut crash = None;
    for step in steps {
        match step {
            Step::Append(entries) => {
                let appends = model.make(&entries);
                match log.append(appends.clone(), Class::Ingest).await {
                    Ok(_) => model.add(appends),
                    Err(LogError::Full) => {}
                    Err(LogError::Poisoned) => {
                        model.in_doubt.get_or_insert(appends);
                        let how = crash.take().expect("only a stopped disk poisons");
                        log = restart(&fs, log, Some(how)).await;
                        model.settle(&log).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Step::StopAfter(after, how) => {
                crash = Some(how);
                fs.set_faults(Faults {
                    stop_at: Some(fs.operations() + after),
                    ..Faults::default()
                });
                continue;
            }
            Step::Crash(how) => {
                crash = None;
                log = restart(&fs, log, Some(how)).await;
            }
            Step::Close => {
                let how = crash.take();
                log = restart(&fs, log, how).await;
            }
            Step::Trim(partition, back) => {
                // A stopped disk may fail it; then a crash follows sooner or later.
                let trimmed = log.trim(&model.trim_points(partition, back)).await;
                assert!(trimmed.is_ok() || crash.is_some(), "{trimmed:?}");
                if trimmed.is_err() {
                    log = restart(&fs, log, crash.take()).await;
                }
            }
        }
        if crash.is_none() {
            model.check(&log).await;
        }
    }
    let log = restart(&fs, log, crash).await;
    model.check(&log).await;
}

async fn restart(fs: &MemoryFs, log: EmbeddedLog, crash: Option<Crash>) -> EmbeddedLog {
    drop(log);
    if let Some(crash) = crash {
        fs.crash(crash);
    }
    open(fs, small())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: crate::support::count("PULSEWARD_MODEL_CASES", 150),
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn b16_no_crash_loses_what_was_acknowledged_or_tears_an_append(steps in steps()) {
        runtime().block_on(run(steps));
    }
}
