//! Reading: from memory where the newest entries are, else from the table and the segments.

use std::{collections::BTreeMap, sync::Arc};

use pulseward_base::Offset;

use super::{
    Shared,
    frame::Record,
    fs::LogFile,
    names,
    scan::Frames,
    state::{FramePlace, State, Stream, StreamId, Table},
};
use crate::{LogError, RawEntry, ReadLimits, Retention};

/// What a read found without touching the disk.
pub(super) enum Found {
    Entries(Vec<RawEntry>),
    OnDisk(Sources),
}

/// Where on the disk the entries lie. Files stay readable when they are trimmed meanwhile.
pub(super) struct Sources {
    id: StreamId,
    from: u64,
    limits: ReadLimits,
    /// Offsets of table rows and the frames they are in.
    rows: Vec<(u64, u64)>,
    table: Option<Table>,
    parts: Vec<Part>,
}

/// A stretch of a segment to be scanned.
struct Part {
    segment: u64,
    file: Arc<dyn LogFile>,
    from: u64,
    end: u64,
}

/// Collects entries up to the limits.
struct Collected {
    limits: ReadLimits,
    bytes: usize,
    entries: Vec<RawEntry>,
}

impl Collected {
    const fn new(limits: ReadLimits) -> Self {
        Self {
            limits,
            bytes: 0,
            entries: Vec::new(),
        }
    }

    /// Takes an entry. False: it is one too many.
    fn push(&mut self, entry: RawEntry) -> bool {
        let fits = self.entries.is_empty()
            || self.entries.len() < self.limits.entries
                && self.bytes + entry.bytes.len() <= self.limits.bytes;
        if fits {
            self.bytes += entry.bytes.len();
            self.entries.push(entry);
        }
        fits
    }
}

impl State {
    /// Finds the durable entries of a stream from `from` on.
    pub(super) fn find(
        &self,
        id: StreamId,
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Found, LogError> {
        let stream = self.stream(id)?;
        let bounds = stream.bounds();
        if from > bounds.end {
            let end = bounds.end;
            return Err(LogError::WentBack { from, end });
        }
        if from < bounds.start {
            let start = bounds.start;
            return Err(LogError::Trimmed { from, start });
        }
        if from == bounds.end {
            return Ok(Found::Entries(Vec::new()));
        }
        if let Some(cached) = stream.cached_from(from.0) {
            let mut collected = Collected::new(limits);
            for entry in cached {
                if !collected.push(entry.clone()) {
                    break;
                }
            }
            return Ok(Found::Entries(collected.entries));
        }
        Ok(Found::OnDisk(self.sources(id, stream, from.0, limits)))
    }

    /// Returns a stream, unless the partition is unknown.
    pub(super) fn stream(&self, id: StreamId) -> Result<&Stream, LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        self.streams
            .get(&id)
            .ok_or(LogError::UnknownPartition(id.partition))
    }

    fn sources(&self, id: StreamId, stream: &Stream, from: u64, limits: ReadLimits) -> Sources {
        let mut parts = Vec::new();
        for (number, segment) in &self.segments {
            if let Some(span) = segment.spans.get(&id)
                && span.last >= from
            {
                parts.push(Part {
                    segment: *number,
                    file: Arc::clone(&segment.file),
                    from: span.scan_from(from),
                    end: segment.durable,
                });
            }
        }
        let rows = stream.rows.range(from..).take(limits.entries.max(1));
        Sources {
            id,
            from,
            limits,
            rows: rows.map(|(offset, at)| (*offset, *at)).collect(),
            table: self.tables.get(&id.topic).cloned(),
            parts,
        }
    }
}

impl Sources {
    /// Reads the entries. Blocks on the disk.
    pub(super) fn read(self) -> Result<Vec<RawEntry>, LogError> {
        let mut collected = Collected::new(self.limits);
        let mut next = self.from;
        if let Some(table) = &self.table {
            let mut rows = FrameCache::default();
            for (offset, at) in &self.rows {
                let record = rows.record(table, self.id, *offset, *at)?;
                if !collected.push(record) {
                    return Ok(collected.entries);
                }
                next = offset + 1;
            }
            if self.rows.len() >= self.limits.entries.max(1) {
                return Ok(collected.entries);
            }
        }
        for part in self.parts {
            let name = names::segment(part.segment);
            let mut frames = Frames::new(part.file, name, part.from, part.end);
            while let Some((_, records)) = frames.next_records()? {
                for record in records {
                    if StreamId::of(&record) != self.id || record.offset.0 < next {
                        continue;
                    }
                    if !collected.push(raw(record)) {
                        return Ok(collected.entries);
                    }
                }
            }
        }
        Ok(collected.entries)
    }
}

/// The frame of a table that was read last: rows are read in order, and many share a frame.
#[derive(Default)]
struct FrameCache {
    at: Option<u64>,
    records: Vec<Record>,
}

impl FrameCache {
    fn record(
        &mut self,
        table: &Table,
        id: StreamId,
        offset: u64,
        at: u64,
    ) -> Result<RawEntry, LogError> {
        let name = names::table(id.topic, table.number);
        if self.at != Some(at) {
            let file = Arc::clone(&table.file);
            let mut frames = Frames::new(file, name.clone(), at, table.bytes);
            self.records = frames
                .next_records()?
                .map(|(_, records)| records)
                .unwrap_or_default();
            self.at = Some(at);
        }
        self.records
            .iter()
            .find(|record| StreamId::of(record) == id && record.offset.0 == offset)
            .map(|record| raw(record.clone()))
            .ok_or(LogError::Damaged {
                file: name,
                at,
                what: "a row is not where it was",
            })
    }
}

impl Shared {
    /// Returns the newest entry of each key. Blocks on the disk.
    pub(super) fn newest(&self, id: StreamId) -> Result<Vec<RawEntry>, LogError> {
        if id.topic.retention() != Retention::Compacted {
            return Ok(Vec::new());
        }
        let mut by_frame = BTreeMap::<FramePlace, Vec<u64>>::new();
        let (table, files) = {
            let state = self.state();
            for (offset, place) in state.stream(id)?.newest.values() {
                by_frame.entry(*place).or_default().push(*offset);
            }
            let files: BTreeMap<u64, _> = state
                .segments
                .iter()
                .map(|(number, segment)| (*number, (Arc::clone(&segment.file), segment.durable)))
                .collect();
            (state.tables.get(&id.topic).cloned(), files)
        };
        let mut entries = Vec::new();
        for (place, offsets) in by_frame {
            let mut frames = match (place, &table) {
                (FramePlace::Table { at }, Some(table)) => {
                    let name = names::table(id.topic, table.number);
                    Frames::new(Arc::clone(&table.file), name, at, table.bytes)
                }
                (FramePlace::Segment { segment, at }, _) => match files.get(&segment) {
                    Some((file, end)) => {
                        let name = names::segment(segment);
                        Frames::new(Arc::clone(file), name, at, *end)
                    }
                    None => continue,
                },
                (FramePlace::Table { .. }, None) => continue,
            };
            for record in frames.next_records()?.into_iter().flat_map(|(_, all)| all) {
                if StreamId::of(&record) == id && offsets.contains(&record.offset.0) {
                    entries.push(raw(record));
                }
            }
        }
        entries.sort_by_key(|entry| entry.offset);
        Ok(entries)
    }
}

fn raw(record: Record) -> RawEntry {
    RawEntry {
        offset: record.offset,
        key: record.key,
        bytes: record.bytes,
    }
}
