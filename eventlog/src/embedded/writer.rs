//! The one thread that writes: it takes what is queued, writes it as one frame, syncs, and only
//! then lets readers see it and callers know.
//!
//! After a write or sync that failed nobody knows what the disk holds, and asking again would get a
//! wrong answer: the log is poisoned, everybody is told, and the process must end.

use std::{io, sync::Arc, time::Duration};

use pulseward_base::Offset;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    Shared,
    frame::{self, FrameKind, GROUP_OVERHEAD, Record},
    fs::LogFile,
    names,
    recovery::{Tail, open_segment},
    state::{Segment, StreamId},
};
use crate::{LogError, RawAppend};

/// What the thread is asked to do.
pub(super) enum Command {
    Append(Job),
    /// Try again to prepare a segment.
    Grow,
}

/// Entries that become durable together.
pub(super) struct Job {
    pub(super) segment: u64,
    pub(super) size: u64,
    pub(super) entries: Vec<RawAppend>,
    pub(super) reply: oneshot::Sender<Result<Vec<Option<Offset>>, LogError>>,
    /// The room in the queue that the job takes until it is answered.
    pub(super) permit: OwnedSemaphorePermit,
}

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    file: Arc<dyn LogFile>,
    tail: Tail,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        file: Arc<dyn LogFile>,
        tail: Tail,
    ) -> Self {
        Self {
            shared,
            commands,
            file,
            tail,
        }
    }

    /// Runs until the log is closed.
    pub(super) fn run(mut self) {
        self.prepare_segment();
        let mut held = None;
        while let Some(command) = held.take().or_else(|| self.commands.blocking_recv()) {
            let Command::Append(first) = command else {
                self.prepare_segment();
                continue;
            };
            let mut group = vec![first];
            held = self.gather(&mut group);
            if let Err(error) = self.commit(group) {
                tracing::error!(%error, "the log is poisoned: a write or sync failed");
                self.refuse_rest(held);
                return;
            }
            self.prepare_segment();
        }
    }

    /// Adds to the group what is queued and fits into one frame. Returns what does not.
    fn gather(&mut self, group: &mut Vec<Job>) -> Option<Command> {
        let segment = group.first()?.segment;
        let mut size: u64 = group.iter().map(|job| job.size).sum();
        let mut held = None;
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Append(job)
                    if job.segment == segment
                        && size + job.size <= self.shared.settings.group_bytes =>
                {
                    size += job.size;
                    group.push(job);
                }
                command => {
                    held = Some(command);
                    break;
                }
            }
        }
        held
    }

    /// Makes a group durable. When that fails the log is poisoned before anybody is answered.
    fn commit(&mut self, group: Vec<Job>) -> io::Result<()> {
        let segment = group.first().map_or(self.tail.segment, |job| job.segment);
        if segment != self.tail.segment {
            self.turn_to(segment)
                .inspect_err(|_| self.shared.poison())?;
        }
        let started = self.shared.clock.monotonic();
        let (records, replies) = self.number(group);
        let bytes = frame::encode_records(FrameKind::Group, self.tail.number, &records);
        let written = self
            .file
            .write_at(&bytes, self.tail.at)
            .and_then(|()| self.file.sync());
        if let Err(error) = written {
            self.shared.poison();
            // Their room in the queue is given back with them.
            for (reply, ..) in replies {
                let _caller_left = reply.send(Err(LogError::Poisoned));
            }
            return Err(error);
        }
        let at = self.tail.at;
        self.tail.at += bytes.len() as u64;
        self.tail.number += 1;
        {
            let mut state = self.shared.state();
            state.add_frame(segment, at, self.tail.at, &records);
            state.keep(&records);
        }
        self.observe(started, records.len());
        for (reply, offsets, permit) in replies {
            let _caller_left = reply.send(Ok(offsets));
            drop(permit);
        }
        Ok(())
    }

    /// Gives every entry its offset.
    #[expect(clippy::type_complexity, reason = "taken apart by its one caller")]
    fn number(
        &self,
        group: Vec<Job>,
    ) -> (
        Vec<Record>,
        Vec<(
            oneshot::Sender<Result<Vec<Option<Offset>>, LogError>>,
            Vec<Option<Offset>>,
            OwnedSemaphorePermit,
        )>,
    ) {
        let state = self.shared.state();
        let mut ends = std::collections::BTreeMap::new();
        let mut records = Vec::new();
        let mut replies = Vec::with_capacity(group.len());
        for job in group {
            let mut offsets = Vec::with_capacity(job.entries.len());
            for entry in job.entries {
                let mut record = Record {
                    topic: entry.topic,
                    partition: entry.partition,
                    offset: Offset(0),
                    key: entry.key,
                    bytes: entry.bytes,
                };
                let id = StreamId::of(&record);
                let end = ends
                    .entry(id)
                    .or_insert_with(|| state.streams.get(&id).map_or(0, |stream| stream.end()));
                record.offset = Offset(*end);
                *end += 1;
                offsets.push(Some(record.offset));
                records.push(record);
            }
            replies.push((job.reply, offsets, job.permit));
        }
        (records, replies)
    }

    /// Goes on in a segment that was prepared. Everything before it is durable.
    fn turn_to(&mut self, segment: u64) -> io::Result<()> {
        let file = self.shared.fs.open(&names::segment(segment))?;
        let ends = self.shared.state().ends();
        let identity = &self.shared.identity;
        let at = open_segment(&*file, identity, segment, self.tail.number, ends)?;
        self.shared
            .state()
            .segments
            .insert(segment, Segment::new(Arc::clone(&file), at));
        self.file = file;
        self.tail.segment = segment;
        self.tail.at = at;
        Ok(())
    }

    /// Prepares the next segment when there is none. That it fails is no damage: appends are
    /// refused while there is no room, and every refusal asks for another try.
    fn prepare_segment(&self) {
        let shared = &self.shared;
        let wanted = shared.plan().wanted();
        let Some(segment) = wanted else { return };
        let created = shared
            .fs
            .create(&names::segment(segment), shared.settings.segment_bytes)
            .and_then(|_| shared.fs.sync_names());
        {
            let mut plan = shared.plan();
            match &created {
                Ok(()) => plan.grew(),
                Err(_) => plan.stuck(),
            }
            shared.show_used(&plan);
        }
        if let Err(error) = created {
            tracing::warn!(%error, "no room for the log's next segment");
        }
        shared.plan_changed.notify_waiters();
    }

    fn refuse_rest(mut self, held: Option<Command>) {
        let mut next = held;
        while let Some(command) = next.take().or_else(|| self.commands.blocking_recv()) {
            if let Command::Append(job) = command {
                let _caller_left = job.reply.send(Err(LogError::Poisoned));
            }
        }
    }

    fn observe(&self, started: Duration, entries: usize) {
        let took = self.shared.clock.monotonic().saturating_sub(started);
        let metrics = &self.shared.metrics;
        metrics.commits.observe(took.as_secs_f64());
        metrics.commit_entries.observe(entries as f64);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Who waits for entries would otherwise wait for ever.
            self.shared.poison();
        }
    }
}

/// Returns how much room a job of `entries` needs at most.
pub(super) fn size_of(entries: &[RawAppend]) -> u64 {
    let records = entries
        .iter()
        .map(|entry| Record::size(entry.bytes.len()))
        .sum::<usize>();
    (GROUP_OVERHEAD + records) as u64
}
