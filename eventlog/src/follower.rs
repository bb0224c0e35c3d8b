//! A reader that waits, and that notices what a broker moved, repeated or removed.

use std::collections::BTreeMap;

use pulseward_base::{Offset, Partition, WriterId};

use crate::{
    Content, Entry, Log, LogError, Position, ReadLimits, Retention, Topic, Unreadable, metrics,
};

/// Reads one partition of one topic from a position on, for ever.
///
/// An entry whose number its writer had used before is dropped and counted. An entry whose number
/// jumps is returned with how many are missing before it; on a compacted topic that is how it must
/// be, so there it is not told.
pub struct Follower {
    log: Log,
    topic: Topic,
    partition: Partition,
    next: Offset,
    limits: ReadLimits,
    sequences: Sequences,
}

impl Follower {
    pub(crate) fn new(log: Log, topic: Topic, partition: Partition, from: Offset) -> Self {
        Self {
            log,
            topic,
            partition,
            next: from,
            limits: ReadLimits::default(),
            sequences: Sequences::new(from == Offset(0)),
        }
    }

    /// Changes how much [`Follower::next`] returns at most.
    #[must_use]
    pub const fn with_limits(mut self, limits: ReadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns where the next entry is read from.
    #[must_use]
    pub fn position(&self) -> Position {
        self.log.position(self.next)
    }

    /// Waits for entries and returns them; at least one. May be dropped and called again without
    /// losing any.
    pub async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        loop {
            self.log.wait(self.topic, self.partition, self.next).await?;
            let entries = self.ready().await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }

    /// Returns the entries that are durable already, without waiting; empty at the end.
    pub async fn ready(&mut self) -> Result<Vec<Entry>, LogError> {
        loop {
            let entries = self
                .log
                .read(self.topic, self.partition, self.next, self.limits)
                .await?;
            let Some(last) = entries.last() else {
                return Ok(Vec::new());
            };
            self.next = last.position.next().offset;
            let entries = self.in_sequence(entries);
            // Nothing but repeats is not the end.
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }

    fn in_sequence(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let metrics = self.log.metrics();
        let gaps_count = self.topic.retention() != Retention::Compacted;
        let mut kept = Vec::with_capacity(entries.len());
        for mut entry in entries {
            if has_no_writer(&entry) {
                kept.push(entry);
                continue;
            }
            match self
                .sequences
                .take(entry.writer, entry.writer_seq, entry.position.offset)
            {
                Taken::Next => {}
                Taken::Repeat => {
                    metrics::add(&metrics.repeated, self.topic, 1);
                    continue;
                }
                Taken::After(missing) if gaps_count => {
                    entry.missing = missing;
                    let count = usize::try_from(missing).unwrap_or(usize::MAX);
                    metrics::add(&metrics.missing, self.topic, count);
                    tracing::error!(
                        topic = self.topic.name(),
                        partition = self.partition.0,
                        offset = entry.position.offset.0,
                        missing,
                        "entries are missing from the log",
                    );
                }
                Taken::After(_) => {}
            }
            kept.push(entry);
        }
        kept
    }
}

const fn has_no_writer(entry: &Entry) -> bool {
    matches!(
        entry.content,
        Content::Unreadable(Unreadable::Forged | Unreadable::Malformed)
    )
}

/// The next number of each writer of one topic and partition.
#[derive(Debug)]
struct Sequences {
    from_start: bool,
    writers: BTreeMap<WriterId, Writer>,
}

#[derive(Debug)]
struct Writer {
    next: u64,
    last_seen: Offset,
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Next,
    Repeat,
    After(u64),
}

/// How many writers are remembered: many more than run at once.
const WRITERS: usize = 256;

impl Sequences {
    const fn new(from_start: bool) -> Self {
        Self {
            from_start,
            writers: BTreeMap::new(),
        }
    }

    fn take(&mut self, writer: WriterId, seq: u64, offset: Offset) -> Taken {
        let expected = match self.writers.get(&writer) {
            Some(known) => known.next,
            // A reader that saw the first entry of all saw every writer's first.
            None if self.from_start => 0,
            None => seq,
        };
        if seq < expected {
            return Taken::Repeat;
        }
        self.writers.insert(
            writer,
            Writer {
                next: seq.saturating_add(1),
                last_seen: offset,
            },
        );
        self.forget_quiet_ones();
        match seq - expected {
            0 => Taken::Next,
            missing => Taken::After(missing),
        }
    }

    fn forget_quiet_ones(&mut self) {
        while self.writers.len() > WRITERS {
            let quietest = self
                .writers
                .iter()
                .min_by_key(|(_, writer)| writer.last_seen)
                .map(|(id, _)| *id);
            if let Some(id) = quietest {
                self.writers.remove(&id);
                // From now on an unknown writer may be one that was forgotten.
                self.from_start = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(sequences: &mut Sequences, writer: u8, seq: u64, offset: u64) -> Taken {
        sequences.take(WriterId([writer; 16]), seq, Offset(offset))
    }

    #[test]
    fn a24_a_repeat_and_a_gap_are_told_from_the_next() {
        let mut sequences = Sequences::new(true);
        assert_eq!(take(&mut sequences, 1, 0, 0), Taken::Next);
        assert_eq!(take(&mut sequences, 1, 1, 1), Taken::Next);
        assert_eq!(take(&mut sequences, 1, 1, 2), Taken::Repeat);
        assert_eq!(take(&mut sequences, 1, 0, 3), Taken::Repeat);
        assert_eq!(take(&mut sequences, 1, 4, 4), Taken::After(2));
        assert_eq!(take(&mut sequences, 2, 3, 5), Taken::After(3));
    }

    #[test]
    fn a_reader_that_came_later_takes_a_writer_as_it_finds_it() {
        let mut sequences = Sequences::new(false);
        assert_eq!(take(&mut sequences, 1, 7, 0), Taken::Next);
        assert_eq!(take(&mut sequences, 1, 9, 1), Taken::After(1));
    }

    #[test]
    fn writers_are_bounded_and_the_quietest_goes_first() {
        let mut sequences = Sequences::new(true);
        for writer in 0..=255 {
            assert_eq!(
                take(&mut sequences, writer, 0, u64::from(writer)),
                Taken::Next
            );
        }
        assert_eq!(
            sequences.take(WriterId([0; 16]), 1, Offset(256)),
            Taken::Next
        );
        let newcomer = WriterId::from([1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(sequences.take(newcomer, 0, Offset(257)), Taken::Next);
        assert_eq!(sequences.writers.len(), WRITERS);
        assert!(!sequences.writers.contains_key(&WriterId([1; 16])));
        assert!(sequences.writers.contains_key(&WriterId([0; 16])));
    }
}
