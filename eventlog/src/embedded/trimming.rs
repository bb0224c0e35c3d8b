//! Trimming: whole segments go when nobody needs them any more. What is compacted or kept, and
//! alerts that are still needed, move with their offsets to a table per topic first. Then one small file says, from one moment to the
//! next, with which segment the log starts and which tables count; what it does not name is removed
//! now or at the next open.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Shared,
    frame::{self, FrameKind, Head, Record, Start},
    names,
    scan::Frames,
    state::{FramePlace, State, StreamId, Table},
};
use crate::{LogError, Retention, Topic, TrimPoint};

/// About how large a frame of rows is.
const ROWS_BYTES: usize = 64 << 10;

/// A new table and where its rows lie.
struct NewTable {
    table: Table,
    places: Vec<(StreamId, u64, Option<crate::CompactionKey>, u64)>,
}

impl Shared {
    /// Remembers what is not needed any more and removes the segments that have nothing else.
    /// Blocks on the disk. Called by one at a time.
    pub(super) fn trim(&self, points: &[TrimPoint]) -> Result<(), LogError> {
        let going = {
            let mut state = self.state();
            if state.poisoned {
                return Err(LogError::Poisoned);
            }
            for point in points {
                let id = StreamId {
                    topic: point.topic,
                    partition: point.partition,
                };
                let stream = state
                    .streams
                    .get_mut(&id)
                    .ok_or(LogError::UnknownPartition(point.partition))?;
                stream.needed = stream.needed.max(point.below.0);
            }
            state.unneeded_segments()
        };
        if going.is_empty() {
            return Ok(());
        }
        let mut tables = Vec::new();
        for topic in Topic::ALL {
            if has_table(*topic)
                && let Some(table) = self.write_table(*topic, &going)?
            {
                tables.push((*topic, table));
            }
        }
        if let Err(error) = self.write_start(&going, &tables) {
            // Nobody knows whether the next open starts here or there; both are whole, but only
            // one may be written to.
            tracing::error!(%error, "the log is poisoned: its new start was not written");
            self.poison();
            return Err(LogError::Poisoned);
        }
        let replaced = self.switch(&going, tables);
        if let Err(error) = self.remove_files(&going, replaced) {
            tracing::warn!(%error, "trimmed files are removed at the next start");
        }
        self.plan_changed.notify_waiters();
        Ok(())
    }

    /// Moves the log's start behind what goes: from here on the tables count.
    fn write_start(&self, going: &BTreeSet<u64>, new: &[(Topic, NewTable)]) -> std::io::Result<()> {
        let mut tables: BTreeMap<Topic, u64> = {
            let state = self.state();
            let old = state.tables.iter();
            old.map(|(topic, table)| (*topic, table.number)).collect()
        };
        tables.extend(new.iter().map(|(topic, new)| (*topic, new.table.number)));
        let start = Start {
            log_id: self.identity.log_id,
            oldest: going.last().map_or(1, |last| last + 1),
            tables: tables.into_iter().collect(),
        };
        let temporary = names::temporary(names::START);
        let _there_was_none = self.fs.remove(&temporary);
        let file = self.fs.create(&temporary, 0)?;
        file.write_at(&start.encode(), 0)?;
        file.sync()?;
        self.fs.sync_names()?;
        self.fs.rename(&temporary, names::START)?;
        self.fs.sync_names()
    }

    fn remove_files(
        &self,
        going: &BTreeSet<u64>,
        replaced: Vec<(Topic, u64)>,
    ) -> std::io::Result<()> {
        for segment in going {
            self.fs.remove(&names::segment(*segment))?;
        }
        for (topic, number) in replaced {
            self.fs.remove(&names::table(topic, number))?;
        }
        self.fs.sync_names()
    }

    /// Writes what stays of a topic's table and of the segments that go. None when nothing changes.
    fn write_table(
        &self,
        topic: Topic,
        going: &BTreeSet<u64>,
    ) -> Result<Option<NewTable>, LogError> {
        let (old, files) = {
            let state = self.state();
            let files: Vec<_> = going
                .iter()
                .filter_map(|number| Some((*number, state.segments.get(number)?)))
                .filter(|(_, segment)| segment.spans.keys().any(|id| id.topic == topic))
                .map(|(number, segment)| (number, Arc::clone(&segment.file), segment.durable))
                .collect();
            (state.tables.get(&topic).cloned(), files)
        };
        if files.is_empty() {
            return Ok(None);
        }
        let mut stays = BTreeMap::<(StreamId, u64), Record>::new();
        let old_part = old.iter().map(|old| {
            let name = names::table(topic, old.number);
            Frames::new(Arc::clone(&old.file), name, 0, old.bytes)
        });
        let parts = files
            .into_iter()
            .map(|(number, file, end)| Frames::new(file, names::segment(number), 0, end));
        for mut frames in old_part.chain(parts) {
            while let Some((_, records)) = frames.next_records()? {
                let state = self.state();
                for record in records {
                    let id = StreamId::of(&record);
                    if id.topic == topic && state.still_counts(id, &record) {
                        // A copy of its own, so that the whole frame's memory is not held.
                        let bytes = bytes::Bytes::copy_from_slice(&record.bytes);
                        stays.insert((id, record.offset.0), Record { bytes, ..record });
                    }
                }
            }
        }
        let number = old.map_or(1, |old| old.number + 1);
        self.write_rows(topic, number, stays).map(Some)
    }

    fn write_rows(
        &self,
        topic: Topic,
        number: u64,
        rows: BTreeMap<(StreamId, u64), Record>,
    ) -> Result<NewTable, LogError> {
        let name = names::table(topic, number);
        let temporary = names::temporary(&name);
        let head = Head {
            log_id: self.identity.log_id,
            topic,
            table: number,
        };
        // An earlier try may have failed half-way.
        let _there_was_none = self.fs.remove(&temporary);
        let file = self.fs.create(&temporary, 0)?;
        let mut at = 0;
        let mut put = |bytes: &[u8]| -> Result<u64, LogError> {
            file.write_at(bytes, at)?;
            let here = at;
            at += bytes.len() as u64;
            Ok(here)
        };
        put(&head.encode())?;
        let total = rows.len() as u64;
        let mut places = Vec::with_capacity(rows.len());
        let mut rows = rows.into_values().peekable();
        let mut frame_number = 0;
        while rows.peek().is_some() {
            let mut part = Vec::new();
            let mut bytes = 0;
            while bytes < ROWS_BYTES
                && let Some(record) = rows.next()
            {
                bytes += Record::size(record.bytes.len());
                part.push(record);
            }
            let here = put(&frame::encode_records(FrameKind::Rows, frame_number, &part))?;
            frame_number += 1;
            for record in part {
                places.push((StreamId::of(&record), record.offset.0, record.key, here));
            }
        }
        put(&frame::encode_foot(total))?;
        file.sync()?;
        self.fs.rename(&temporary, &name)?;
        let table = Table {
            number,
            file,
            bytes: at,
        };
        Ok(NewTable { table, places })
    }

    /// Lets readers see the new tables and forget the segments. Returns the tables replaced.
    fn switch(&self, going: &BTreeSet<u64>, tables: Vec<(Topic, NewTable)>) -> Vec<(Topic, u64)> {
        let mut replaced = Vec::new();
        let mut state = self.state();
        for (topic, new) in tables {
            if let Some(old) = state.tables.insert(topic, new.table) {
                replaced.push((topic, old.number));
            }
            state.place_rows(topic, new.places);
        }
        for number in going {
            let Some(segment) = state.segments.remove(number) else {
                continue;
            };
            for (id, span) in segment.spans {
                if id.topic.retention() == Retention::Trimmed
                    && let Some(stream) = state.streams.get_mut(&id)
                {
                    stream.start = stream.first_row().unwrap_or(span.last + 1);
                }
            }
        }
        let table_bytes = state.tables.values().map(|table| table.bytes).sum();
        drop(state);
        let mut plan = self.plan();
        plan.trimmed(going.len() as u64, table_bytes);
        self.show_used(&plan);
        replaced
    }
}

/// Returns whether what stays of a topic is moved, so that it holds no segment.
const fn has_table(topic: Topic) -> bool {
    topic.moves() || !matches!(topic.retention(), Retention::Trimmed)
}

impl State {
    /// Returns the oldest segments that have nothing but what is not needed or can move.
    fn unneeded_segments(&self) -> BTreeSet<u64> {
        let writing = self.segments.keys().next_back().copied();
        self.segments
            .iter()
            .take_while(|(number, segment)| {
                Some(**number) != writing
                    && segment.spans.iter().all(|(id, span)| {
                        let stream = self.streams.get(id);
                        has_table(id.topic)
                            || stream.is_some_and(|stream| span.last < stream.needed)
                    })
            })
            .map(|(number, _)| *number)
            .collect()
    }

    /// Returns whether a record must be kept: all of a kept topic, the newest of a compacted one,
    /// what is needed of a trimmed one.
    fn still_counts(&self, id: StreamId, record: &Record) -> bool {
        let stream = self.streams.get(&id);
        match id.topic.retention() {
            Retention::Kept => return true,
            Retention::Trimmed => {
                return stream.is_some_and(|stream| record.offset.0 >= stream.needed);
            }
            Retention::Compacted => {}
        }
        let newest = stream.map(|stream| &stream.newest);
        record.key.is_some_and(|key| {
            newest
                .and_then(|newest| newest.get(&key))
                .is_some_and(|(offset, _)| *offset == record.offset.0)
        })
    }

    fn place_rows(
        &mut self,
        topic: Topic,
        places: Vec<(StreamId, u64, Option<crate::CompactionKey>, u64)>,
    ) {
        for (id, stream) in &mut self.streams {
            if id.topic == topic {
                let moved = stream.rows.last_key_value();
                if topic.retention() == Retention::Trimmed
                    && let Some((last, _)) = moved
                {
                    stream.start = last + 1;
                }
                stream.rows.clear();
            }
        }
        for (id, offset, key, at) in places {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            stream.rows.insert(offset, at);
            if topic.retention() == Retention::Trimmed {
                stream.start = stream.start.min(offset);
            }
            if let Some(key) = key
                && let Some(newest) = stream.newest.get_mut(&key)
                && newest.0 == offset
            {
                newest.1 = FramePlace::Table { at };
            }
        }
    }
}
