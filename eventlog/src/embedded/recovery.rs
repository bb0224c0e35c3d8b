//! Opening a directory: finding out what is durable, and making it so.
//!
//! A crash leaves at most one frame torn, the last one, because a frame is synced before the next
//! is written. So a bad frame with nothing whole behind it is cut off, and a bad frame with a
//! whole one behind it is damage: the log refuses to open rather than lose what was acknowledged.
//!
//! What is read at open may lie in the page cache only, from writes whose sync failed. So the last
//! segment is copied to a new file and synced before anybody reads it.

use std::{collections::BTreeMap, io, sync::Arc};

use pulseward_base::{Generation, Partition};
use pulseward_crypto::random;

use super::{
    Settings,
    frame::{self, FrameKind, Head, Identity, Opening, Start},
    fs::{LogFile, LogFs},
    names::{self, Name},
    scan::{Frames, Next},
    state::{Segment, State, StreamId, Table},
};
use crate::{LogError, Topic};

/// A directory's content, ready to be read and appended to.
pub(super) struct Recovered {
    pub(super) identity: Identity,
    pub(super) state: State,
    pub(super) tail: Tail,
}

/// Where the next frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) segment: u64,
    pub(super) at: u64,
    pub(super) number: u64,
}

/// Reads what the directory holds, cuts a torn tail off, makes the rest durable.
pub(super) fn recover(fs: &dyn LogFs, settings: &Settings) -> Result<Recovered, LogError> {
    let mut names = Vec::new();
    for text in fs.list()? {
        match names::parse(&text) {
            Some(Name::Temporary) => fs.remove(&text)?,
            Some(name) => names.push(name),
            None => {}
        }
    }
    let identity = match read_identity(fs, &names)? {
        Some(identity) => identity,
        None => found(fs, settings, &names)?,
    };
    check_identity(&identity, settings)?;
    let mut recovery = Recovery {
        fs,
        identity,
        state: State::new(identity.partitions, settings.cache_bytes),
        number: None,
    };
    let start = recovery.start(&names)?;
    let segments = recovery.segments(&names, start.oldest)?;
    recovery.load_tables(&names, &start)?;
    let tail = recovery.load_segments(segments, settings)?;
    Ok(Recovered {
        identity,
        state: recovery.state,
        tail,
    })
}

struct Recovery<'a> {
    fs: &'a dyn LogFs,
    identity: Identity,
    state: State,
    /// The number of the next frame, once one was seen.
    number: Option<u64>,
}

impl Recovery<'_> {
    /// Returns where the log starts.
    fn start(&self, names: &[Name]) -> Result<Start, LogError> {
        if !names.contains(&Name::Start) {
            return Ok(Start {
                log_id: self.identity.log_id,
                oldest: 1,
                tables: Vec::new(),
            });
        }
        let bytes = read_small(self.fs, names::START)?;
        let start = match frame::decode(&bytes) {
            Some((FrameKind::Start, payload, _)) => Start::decode(payload).ok(),
            _ => None,
        };
        start
            .filter(|start| start.log_id == self.identity.log_id)
            .ok_or_else(|| damaged(names::START, 0, "it does not say where the log starts"))
    }

    /// Returns the numbers of all segments from `oldest` on, in order and without a hole, and
    /// removes those before it.
    fn segments(&self, names: &[Name], oldest: u64) -> Result<Vec<u64>, LogError> {
        let mut segments = Vec::new();
        // A new log's first segment was made after the names were read.
        if names.is_empty() {
            segments.push(1);
        }
        for name in names {
            match name {
                Name::Segment(segment) if *segment < oldest => {
                    self.fs.remove(&names::segment(*segment))?;
                }
                Name::Segment(segment) => segments.push(*segment),
                _ => {}
            }
        }
        segments.sort_unstable();
        segments.dedup();
        let last = segments.last().copied().unwrap_or(oldest);
        let mut found = segments.iter().copied();
        for expected in oldest..=last {
            if found.next() != Some(expected) {
                let name = names::segment(expected);
                return Err(damaged(&name, 0, "the segment is missing"));
            }
        }
        Ok(segments)
    }

    fn load_segments(&mut self, segments: Vec<u64>, settings: &Settings) -> Result<Tail, LogError> {
        let mut last = None;
        let mut segments = segments.into_iter().peekable();
        while let Some(segment) = segments.peek().copied() {
            let file = self.fs.open(&names::segment(segment))?;
            let size = file.size()?;
            let mut frames = self.frames(&file, segment, size);
            let Some(opening) = self.opening(&mut frames, segment)? else {
                break;
            };
            segments.next();
            if let Some((segment, end)) = last {
                self.check_joint(segment, end, &opening)?;
            } else {
                self.state.start_at(&opening);
                self.number = Some(opening.next_number);
            }
            let entry = Segment::new(Arc::clone(&file), frames.at());
            self.state.segments.insert(segment, entry);
            let end = self.load_groups(&mut frames, segment)?;
            last = Some((segment, end));
        }
        let Some((segment, end)) = last else {
            let first = segments.peek().copied().unwrap_or_default();
            return Err(damaged(
                &names::segment(first),
                0,
                "no segment has an opening",
            ));
        };
        // Segments beyond the last were prepared and not used: nothing whole may stand in them.
        for spare in segments {
            let name = names::segment(spare);
            let file = self.fs.open(&name)?;
            let size = file.size()?;
            refuse_frame_behind(&*file, &name, 0, size)?;
            self.fs.remove(&name)?;
        }
        let at = self.renew(segment, end, settings)?;
        let number = self.number.unwrap_or_default();
        Ok(Tail {
            segment,
            at,
            number,
        })
    }

    /// Returns a segment's opening; none when it has none.
    fn opening(&self, frames: &mut Frames, segment: u64) -> Result<Option<Opening>, LogError> {
        let Next::Frame {
            kind: FrameKind::Opening,
            payload,
            at,
        } = frames.next()?
        else {
            return Ok(None);
        };
        let malformed = |_| frames.damaged(at, "the opening is malformed");
        let opening = Opening::decode(&payload).map_err(malformed)?;
        if opening.log_id != self.identity.log_id {
            return Err(frames.damaged(at, "the segment belongs to another log"));
        }
        if opening.segment != segment {
            return Err(frames.damaged(at, "the segment has another's name"));
        }
        Ok(Some(opening))
    }

    /// Takes up all groups of a segment. Returns where they end.
    fn load_groups(&mut self, frames: &mut Frames, segment: u64) -> Result<u64, LogError> {
        loop {
            match frames.next()? {
                Next::End => return Ok(frames.at()),
                Next::Bad { at } => return Ok(at),
                Next::Frame {
                    kind: FrameKind::Group,
                    at,
                    payload,
                } => {
                    let (number, records) = frame::decode_records(&payload)
                        .map_err(|_| frames.damaged(at, "a group is malformed"))?;
                    if self.number != Some(number) {
                        return Err(frames.damaged(at, "a group is missing or repeated"));
                    }
                    self.number = number.checked_add(1);
                    self.check_offsets(&records)
                        .map_err(|what| frames.damaged(at, what))?;
                    self.state.add_frame(segment, at, frames.at(), &records);
                }
                Next::Frame { at, .. } => {
                    return Err(frames.damaged(at, "a frame does not belong there"));
                }
            }
        }
    }

    fn check_offsets(&self, records: &[frame::Record]) -> Result<(), &'static str> {
        let mut next = BTreeMap::new();
        for record in records {
            let id = StreamId::of(record);
            let stream = self
                .state
                .streams
                .get(&id)
                .ok_or("an entry's partition is unknown")?;
            let next = next.entry(id).or_insert_with(|| stream.end());
            if record.offset.0 != *next {
                return Err("an entry's offset is not the next");
            }
            *next = next.checked_add(1).ok_or("an offset is too large")?;
        }
        Ok(())
    }

    /// Checks that a segment goes on where the one before it ended, and that nothing was lost there.
    fn check_joint(&self, before: u64, end: u64, opening: &Opening) -> Result<(), LogError> {
        let goes_on = self.number == Some(opening.next_number) && opening.ends == self.state.ends();
        if goes_on {
            Ok(())
        } else {
            Err(damaged(
                &names::segment(before),
                end,
                "groups are missing here",
            ))
        }
    }

    /// Copies the last segment to a new file, synced, without what a crash left behind its end.
    fn renew(&mut self, segment: u64, end: u64, settings: &Settings) -> Result<u64, LogError> {
        let name = names::segment(segment);
        let Some(known) = self.state.segments.get_mut(&segment) else {
            return Err(damaged(&name, 0, "the segment is missing"));
        };
        let old = Arc::clone(&known.file);
        refuse_frame_behind(&*old, &name, end, old.size()?)?;
        let temporary = names::temporary(&name);
        let new = self
            .fs
            .create(&temporary, settings.segment_bytes.max(end))?;
        copy(&*old, &*new, end)?;
        new.sync()?;
        self.fs.rename(&temporary, &name)?;
        self.fs.sync_names()?;
        known.file = new;
        known.durable = end;
        Ok(end)
    }

    /// Takes up the tables that count and removes others.
    fn load_tables(&mut self, names: &[Name], start: &Start) -> Result<(), LogError> {
        for name in names {
            if let Name::Table(topic, table) = name
                && !start.tables.contains(&(*topic, *table))
            {
                self.fs.remove(&names::table(*topic, *table))?;
            }
        }
        for (topic, number) in &start.tables {
            if !names.contains(&Name::Table(*topic, *number)) {
                let name = names::table(*topic, *number);
                return Err(damaged(&name, 0, "the table is missing"));
            }
            self.load_table(*topic, *number)?;
        }
        Ok(())
    }

    fn load_table(&mut self, topic: Topic, number: u64) -> Result<(), LogError> {
        let name = names::table(topic, number);
        let file = self.fs.open(&name)?;
        let bytes = file.size()?;
        let mut frames = Frames::new(Arc::clone(&file), name, 0, bytes);
        let expected = Head {
            log_id: self.identity.log_id,
            topic,
            table: number,
        };
        let mut rows = 0;
        let mut headed = false;
        loop {
            match frames.next()? {
                Next::Frame { at, kind, payload } => match kind {
                    FrameKind::Head if Head::decode(&payload) == Ok(expected) => headed = true,
                    FrameKind::Rows if headed => {
                        let (_, records) = frame::decode_records(&payload)
                            .map_err(|_| frames.damaged(at, "rows are malformed"))?;
                        rows += records.len() as u64;
                        for record in &records {
                            self.state.add_row(at, record);
                        }
                    }
                    FrameKind::Foot if frame::decode_foot(&payload) == Ok(rows) => break,
                    _ => return Err(frames.damaged(at, "the table is not as it was written")),
                },
                Next::Bad { at } => return Err(frames.damaged(at, "a frame does not hold")),
                Next::End => return Err(frames.damaged(bytes, "the table is cut")),
            }
        }
        let table = Table {
            number,
            file,
            bytes,
        };
        self.state.tables.insert(topic, table);
        Ok(())
    }

    fn frames(&self, file: &Arc<dyn LogFile>, segment: u64, size: u64) -> Frames {
        Frames::new(Arc::clone(file), names::segment(segment), 0, size)
    }
}

/// Writes the opening of a new segment and makes it durable.
pub(super) fn open_segment(
    file: &dyn LogFile,
    identity: &Identity,
    segment: u64,
    next_number: u64,
    ends: Vec<(Topic, Partition, pulseward_base::Offset)>,
) -> io::Result<u64> {
    let opening = Opening {
        log_id: identity.log_id,
        segment,
        next_number,
        ends,
    };
    let frame = opening.encode();
    file.write_at(&frame, 0)?;
    file.sync()?;
    Ok(frame.len() as u64)
}

fn read_identity(fs: &dyn LogFs, names: &[Name]) -> Result<Option<Identity>, LogError> {
    if !names.contains(&Name::Identity) {
        return Ok(None);
    }
    let bytes = read_small(fs, names::IDENTITY)?;
    let identity = match frame::decode(&bytes) {
        Some((FrameKind::Identity, payload, _)) => Identity::decode(payload).ok(),
        _ => None,
    };
    identity
        .map(Some)
        .ok_or_else(|| damaged(names::IDENTITY, 0, "it does not say which log this is"))
}

/// Returns the first bytes of a file: all of a small one.
fn read_small(fs: &dyn LogFs, name: &str) -> io::Result<Vec<u8>> {
    let file = fs.open(name)?;
    let mut bytes = vec![0; 1024];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Makes a new log: its first segment, then the file that says which log it is. Until that file
/// is there nothing was appended, so what a crash left of an earlier try is removed.
fn found(fs: &dyn LogFs, settings: &Settings, names: &[Name]) -> Result<Identity, LogError> {
    for name in names {
        match name {
            Name::Segment(1) => {
                let text = names::segment(1);
                let file = fs.open(&text)?;
                let opening = frame::HEADER_SIZE as u64;
                refuse_frame_behind(&*file, &text, opening, file.size()?)?;
                fs.remove(&text)?;
            }
            _ => return Err(damaged(names::IDENTITY, 0, "the file is missing")),
        }
    }
    let identity = Identity {
        log_id: random::bytes(),
        generation: settings.generation,
        partitions: settings.partitions,
    };
    let segment = fs.create(&names::segment(1), settings.segment_bytes)?;
    open_segment(&*segment, &identity, 1, 0, Vec::new())?;
    let temporary = names::temporary(names::IDENTITY);
    let file = fs.create(&temporary, 0)?;
    file.write_at(&identity.encode(), 0)?;
    file.sync()?;
    fs.sync_names()?;
    fs.rename(&temporary, names::IDENTITY)?;
    fs.sync_names()?;
    Ok(identity)
}

fn check_identity(identity: &Identity, settings: &Settings) -> Result<(), LogError> {
    let check = |ours: u32, theirs: u32, what: &str| {
        if ours == theirs {
            return Ok(());
        }
        let text = format!("the log has {what} {theirs}, the settings say {ours}");
        Err(LogError::Settings(text))
    };
    let Generation(generation) = settings.generation;
    check(generation, identity.generation.0, "generation")?;
    check(settings.partitions, identity.partitions, "partitions:")
}

/// Fails when a whole frame stands behind `from`: what lies before it was lost after it had been
/// durable.
fn refuse_frame_behind(
    file: &dyn LogFile,
    name: &str,
    from: u64,
    size: u64,
) -> Result<(), LogError> {
    let Some(last) = last_non_zero(file, from, size)? else {
        return Ok(());
    };
    let length = usize::try_from(last - from).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    let count = file.read_at(&mut bytes, from)?;
    bytes.truncate(count);
    match frame::find(&bytes) {
        Some(at) => {
            let what = "a whole frame follows bytes that are none";
            Err(damaged(name, from + at as u64, what))
        }
        None => Ok(()),
    }
}

/// Returns the end of the last chunk with anything but zeros, none when all are zeros.
fn last_non_zero(file: &dyn LogFile, from: u64, size: u64) -> io::Result<Option<u64>> {
    const CHUNK: usize = 64 << 10;
    let zeros = vec![0; CHUNK];
    let mut chunk = vec![0; CHUNK];
    let mut at = from;
    let mut last = None;
    while at < size {
        let count = file.read_at(&mut chunk, at)?;
        if count == 0 {
            break;
        }
        at += count as u64;
        if chunk.get(..count) != zeros.get(..count) {
            last = Some(at);
        }
    }
    Ok(last)
}

fn copy(from: &dyn LogFile, to: &dyn LogFile, end: u64) -> io::Result<()> {
    let mut chunk = vec![0; 1 << 20];
    let mut at = 0;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX);
        let count = want.min(chunk.len());
        let (part, _) = chunk.split_at_mut(count);
        if from.read_at(part, at)? < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(part, at)?;
        at += count as u64;
    }
    Ok(())
}

fn damaged(file: &str, at: u64, what: &'static str) -> LogError {
    LogError::Damaged {
        file: file.to_owned(),
        at,
        what,
    }
}
