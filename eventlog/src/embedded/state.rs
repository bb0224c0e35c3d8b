//! What the journal knows of itself in memory, of durable entries only: where each stream ends,
//! where its entries lie, which of them are the newest of their key.
//!
//! The index is sparse: a point per stream and [`STRIDE`] bytes of it; from a point on a reader
//! scans. The newest entries of all streams are kept whole, up to a bound, because that is what
//! nearly all reads ask for.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use pulseward_base::{Offset, Partition};
use tokio::sync::watch;

use super::{
    frame::{Opening, Record},
    fs::LogFile,
};
use crate::{Bounds, CompactionKey, RawEntry, Retention, Topic};

/// How many bytes of a stream lie between two points of its index.
const STRIDE: u64 = 64 << 10;

/// What a kept entry takes in memory beside its bytes, about.
const CACHED_OVERHEAD: usize = 128;

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId {
    pub(super) topic: Topic,
    pub(super) partition: Partition,
}

impl StreamId {
    pub(super) const fn of(record: &Record) -> Self {
        Self {
            topic: record.topic,
            partition: record.partition,
        }
    }

    /// Returns all streams of a log.
    pub(super) fn all(partitions: u32) -> impl Iterator<Item = Self> {
        Topic::ALL.iter().flat_map(move |topic| {
            (0..partitions).map(move |partition| Self {
                topic: *topic,
                partition: Partition(partition),
            })
        })
    }
}

/// Where the frame lies that has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FramePlace {
    /// In its topic's table.
    Table { at: u64 },
    /// In a segment.
    Segment { segment: u64, at: u64 },
}

/// All that is known.
pub(super) struct State {
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) segments: BTreeMap<u64, Segment>,
    pub(super) tables: BTreeMap<Topic, Table>,
    pub(super) poisoned: bool,
    cache: Cache,
}

/// One partition of one topic.
pub(super) struct Stream {
    /// The first offset that is not trimmed.
    pub(super) start: u64,
    /// The next offset, told to whoever waits for it.
    pub(super) end: watch::Sender<u64>,
    /// Below this nobody needs the stream's entries.
    pub(super) needed: u64,
    /// On a compacted topic: the newest entry of each key.
    pub(super) newest: BTreeMap<CompactionKey, (u64, FramePlace)>,
    /// Of what was moved: where in the table the older entries lie.
    pub(super) rows: BTreeMap<u64, u64>,
    cached: VecDeque<RawEntry>,
}

/// One file of the journal.
pub(super) struct Segment {
    pub(super) file: Arc<dyn LogFile>,
    /// Up to where its frames are durable.
    pub(super) durable: u64,
    pub(super) spans: BTreeMap<StreamId, Span>,
}

/// What one segment has of one stream.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) last: u64,
    /// Offsets and the frames that they are in, in order.
    points: Vec<(u64, u64)>,
    since_point: u64,
}

/// What was moved out of trimmed segments.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) number: u64,
    pub(super) file: Arc<dyn LogFile>,
    pub(super) bytes: u64,
}

/// The newest entries of all streams, in the order in which they came.
struct Cache {
    limit: usize,
    bytes: usize,
    order: VecDeque<StreamId>,
}

impl State {
    /// Returns the state of a log without entries.
    pub(super) fn new(partitions: u32, cache_bytes: usize) -> Self {
        let streams = StreamId::all(partitions).map(|id| (id, Stream::new()));
        Self {
            streams: streams.collect(),
            segments: BTreeMap::new(),
            tables: BTreeMap::new(),
            poisoned: false,
            cache: Cache {
                limit: cache_bytes,
                bytes: 0,
                order: VecDeque::new(),
            },
        }
    }

    /// Takes up the durable records of the frame at `at` of `segment`, which ends at `durable`.
    pub(super) fn add_frame(&mut self, segment: u64, at: u64, durable: u64, records: &[Record]) {
        let place = FramePlace::Segment { segment, at };
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.durable = durable;
            for record in records {
                segment.add(at, record);
            }
        }
        for record in records {
            if let Some(stream) = self.streams.get_mut(&StreamId::of(record)) {
                stream.note_newest(record, place);
                stream.end.send_replace(record.offset.0 + 1);
            }
        }
    }

    /// Keeps just appended records in memory. Records that were read back share the memory of
    /// their whole frame, so they are not kept.
    pub(super) fn keep(&mut self, records: &[Record]) {
        for record in records {
            let id = StreamId::of(record);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.cached.push_back(RawEntry {
                    offset: record.offset,
                    key: record.key,
                    bytes: record.bytes.clone(),
                });
                self.cache.bytes += record.bytes.len() + CACHED_OVERHEAD;
                self.cache.order.push_back(id);
            }
        }
        self.cache.shrink(&mut self.streams);
    }

    /// Takes up a row of a topic's table.
    pub(super) fn add_row(&mut self, at: u64, record: &Record) {
        if let Some(stream) = self.streams.get_mut(&StreamId::of(record)) {
            stream.rows.insert(record.offset.0, at);
            stream.note_newest(record, FramePlace::Table { at });
        }
    }

    /// Says that all is over, and wakes all who wait so that they hear it.
    pub(super) fn poison(&mut self) {
        self.poisoned = true;
        for stream in self.streams.values() {
            stream.end.send_modify(|_| {});
        }
    }

    /// Returns where every stream that has had an entry goes on.
    pub(super) fn ends(&self) -> Vec<(Topic, Partition, Offset)> {
        self.streams
            .iter()
            .filter(|(_, stream)| stream.end() > 0)
            .map(|(id, stream)| (id.topic, id.partition, Offset(stream.end())))
            .collect()
    }

    /// Starts where an opening says the log was.
    pub(super) fn start_at(&mut self, opening: &Opening) {
        for (topic, partition, end) in &opening.ends {
            let id = StreamId {
                topic: *topic,
                partition: *partition,
            };
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.end.send_replace(end.0);
                if topic.retention() == Retention::Trimmed {
                    stream.start = stream.first_row().unwrap_or(end.0);
                }
            }
        }
    }
}

impl Stream {
    fn new() -> Self {
        Self {
            start: 0,
            end: watch::Sender::new(0),
            needed: 0,
            newest: BTreeMap::new(),
            rows: BTreeMap::new(),
            cached: VecDeque::new(),
        }
    }

    /// Returns the next offset.
    pub(super) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Returns the oldest entry that was moved to the table.
    pub(super) fn first_row(&self) -> Option<u64> {
        self.rows.keys().next().copied()
    }

    /// Returns where it starts and ends.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            start: Offset(self.start),
            end: Offset(self.end()),
        }
    }

    /// Returns the entries from `from` on when they are all in memory.
    pub(super) fn cached_from(&self, from: u64) -> Option<impl Iterator<Item = &RawEntry>> {
        let first = self.cached.front()?.offset.0;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        Some(self.cached.iter().skip(skip))
    }

    fn note_newest(&mut self, record: &Record, place: FramePlace) {
        let Some(key) = record.key else { return };
        let newest = self.newest.entry(key).or_insert((record.offset.0, place));
        if record.offset.0 >= newest.0 {
            *newest = (record.offset.0, place);
        }
    }
}

impl Segment {
    pub(super) fn new(file: Arc<dyn LogFile>, durable: u64) -> Self {
        Self {
            file,
            durable,
            spans: BTreeMap::new(),
        }
    }

    fn add(&mut self, at: u64, record: &Record) {
        let offset = record.offset.0;
        let span = self
            .spans
            .entry(StreamId::of(record))
            .or_insert_with(|| Span {
                last: offset,
                points: vec![(offset, at)],
                since_point: 0,
            });
        span.last = offset;
        span.since_point += record.bytes.len() as u64;
        let is_new_frame = span.points.last().is_some_and(|(_, last)| *last < at);
        if span.since_point >= STRIDE && is_new_frame {
            span.points.push((offset, at));
            span.since_point = 0;
        }
    }
}

impl Span {
    /// Returns the frame to scan from for `offset`.
    pub(super) fn scan_from(&self, offset: u64) -> u64 {
        let behind = self.points.partition_point(|(point, _)| *point <= offset);
        self.points
            .get(behind.saturating_sub(1))
            .map_or(0, |(_, at)| *at)
    }
}

impl Cache {
    fn shrink(&mut self, streams: &mut BTreeMap<StreamId, Stream>) {
        while self.bytes > self.limit
            && let Some(id) = self.order.pop_front()
        {
            let oldest = streams
                .get_mut(&id)
                .and_then(|stream| stream.cached.pop_front());
            self.bytes -= oldest.map_or(0, |entry| entry.bytes.len() + CACHED_OVERHEAD);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(offset: u64, size: usize) -> Record {
        Record {
            topic: Topic::Marks,
            partition: Partition(0),
            offset: Offset(offset),
            key: Some([u8::try_from(offset % 2).unwrap(); 16]),
            bytes: Bytes::from(vec![0; size]),
        }
    }

    fn span_of(sizes: &[usize]) -> Span {
        struct NoFile;
        impl LogFile for NoFile {
            fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
                Ok(())
            }
            fn read_at(&self, _: &mut [u8], _: u64) -> std::io::Result<usize> {
                Ok(0)
            }
            fn sync(&self) -> std::io::Result<()> {
                Ok(())
            }
            fn size(&self) -> std::io::Result<u64> {
                Ok(0)
            }
        }
        let mut segment = Segment::new(Arc::new(NoFile), 0);
        for (offset, size) in (0..).zip(sizes) {
            segment.add(offset * 1000, &record(offset, *size));
        }
        segment.spans.into_values().next().unwrap()
    }

    #[test]
    fn a_scan_starts_at_the_last_point_at_or_before_the_offset() {
        let half = usize::try_from(STRIDE / 2).unwrap();
        let span = span_of(&[half; 7]);
        assert_eq!(span.points, [(0, 0), (1, 1000), (3, 3000), (5, 5000)]);
        let starts: Vec<_> = (0..8).map(|offset| span.scan_from(offset)).collect();
        assert_eq!(starts, [0, 1000, 1000, 3000, 3000, 5000, 5000, 5000]);
    }

    #[test]
    fn memory_holds_the_newest_entries_up_to_its_bound() {
        let mut state = State::new(1, 2 * (10 + CACHED_OVERHEAD));
        let records: Vec<_> = (0..5).map(|offset| record(offset, 10)).collect();
        state.add_frame(1, 0, 10, &records);
        state.keep(&records);
        let stream = &state.streams[&StreamId::of(&records[0])];
        assert_eq!(stream.bounds().end, Offset(5));
        assert!(stream.cached_from(2).is_none());
        let cached = stream.cached_from(3).unwrap().map(|entry| entry.offset.0);
        assert_eq!(cached.collect::<Vec<_>>(), [3, 4]);
        let newest: Vec<_> = stream.newest.values().map(|(offset, _)| *offset).collect();
        assert_eq!(newest, [4, 3]);
    }
}
