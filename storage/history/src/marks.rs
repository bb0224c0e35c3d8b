//! Which batches of which device's queues have been counted: each takes effect once, however often
//! the log delivers it.
//!
//! For each of a device's two newest queues: the highest number seen, a window of the 64 below it,
//! and the ranges that were missing when the window left them behind. A number that is older than
//! the window and in no missing range has been counted.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{
    Incarnation, Kid, Seq,
    bytes::{Malformed, Reader, Writer},
};

/// How many numbers at and below the highest the window holds.
const WINDOW: u64 = 64;

/// How many missing ranges a queue keeps; beyond, the oldest counts as given up.
const RANGES: usize = 16;

/// How many of a device's queues are kept.
const QUEUES: usize = 2;

/// What a batch is to what has been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It counts now.
    New,
    /// It has counted before.
    Before,
    /// Its queue is older than the two that are kept.
    OldQueue,
    /// Its device was revoked before it.
    Revoked,
}

/// The marks of all devices of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    devices: BTreeMap<Kid, DeviceMark>,
    changed: BTreeSet<Kid>,
}

/// The marks of one device: its newest queues, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceMark {
    revoked: bool,
    queues: Vec<QueueMark>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct QueueMark {
    incarnation: Incarnation,
    highest: u64,
    /// Bit k: `highest - k` has been counted.
    window: u64,
    /// First and last of each range, ascending, all below the window.
    missing: Vec<(u64, u64)>,
}

impl Marks {
    /// Counts a batch, once.
    pub fn count(&mut self, kid: Kid, incarnation: Incarnation, seq: Seq) -> Seen {
        let seen = self
            .devices
            .entry(kid)
            .or_default()
            .count(incarnation, seq.0);
        if seen == Seen::New {
            self.changed.insert(kid);
        }
        seen
    }

    /// Makes everything that the device sends from here on void.
    pub fn revoke(&mut self, kid: Kid) {
        self.devices.entry(kid).or_default().revoked = true;
        self.changed.insert(kid);
    }

    /// Returns how many devices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Returns whether a device has marks.
    #[must_use]
    pub fn knows(&self, kid: &Kid) -> bool {
        self.devices.contains_key(kid)
    }

    /// Puts a device's marks in the place of those it had.
    pub(crate) fn set(&mut self, kid: Kid, mark: DeviceMark) {
        self.devices.insert(kid, mark);
    }

    /// Returns every device's marks.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Kid, &DeviceMark)> {
        self.devices.iter()
    }

    /// Returns the marks that changed since [`Marks::settle`].
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&Kid, &DeviceMark)> {
        self.changed
            .iter()
            .filter_map(|kid| self.devices.get_key_value(kid))
    }

    /// Forgets what changed: a manifest holds it now.
    pub(crate) fn settle(&mut self) {
        self.changed.clear();
    }
}

impl DeviceMark {
    fn count(&mut self, incarnation: Incarnation, seq: u64) -> Seen {
        if self.revoked {
            return Seen::Revoked;
        }
        if let Some(queue) = self
            .queues
            .iter_mut()
            .find(|queue| queue.incarnation == incarnation)
        {
            return queue.count(seq);
        }
        let place = self
            .queues
            .iter()
            .position(|queue| age(&queue.incarnation) < age(&incarnation))
            .unwrap_or(self.queues.len());
        if place >= QUEUES {
            return Seen::OldQueue;
        }
        let missing = match seq.checked_sub(WINDOW) {
            Some(last) => vec![(0, last)],
            None => Vec::new(),
        };
        self.queues.insert(
            place,
            QueueMark {
                incarnation,
                highest: seq,
                window: 1,
                missing,
            },
        );
        self.queues.truncate(QUEUES);
        Seen::New
    }

    /// Writes the layout of `docs/formats/history.md`.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u8(u8::from(self.revoked));
        writer.u8(u8::try_from(self.queues.len()).unwrap_or(u8::MAX));
        for queue in &self.queues {
            writer
                .put(&queue.incarnation.0)
                .u64(queue.highest)
                .u64(queue.window);
            writer.u8(u8::try_from(queue.missing.len()).unwrap_or(u8::MAX));
            for (first, last) in &queue.missing {
                writer.u64(*first).u64(*last);
            }
        }
    }

    /// Reads what [`DeviceMark::encode`] wrote.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let revoked = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let count = usize::from(reader.u8()?);
        if count > QUEUES {
            return Err(Malformed);
        }
        let queues = (0..count)
            .map(|_| QueueMark::decode(reader))
            .collect::<Result<_, _>>()?;
        Ok(Self { revoked, queues })
    }
}

/// A queue's age: its start, then the rest to break ties the same way everywhere.
fn age(incarnation: &Incarnation) -> (i64, [u8; 8]) {
    let (mut start, mut rest) = ([0; 8], [0; 8]);
    for (to, from) in start.iter_mut().chain(&mut rest).zip(incarnation.0) {
        *to = from;
    }
    (i64::from_le_bytes(start), rest)
}

impl QueueMark {
    fn count(&mut self, seq: u64) -> Seen {
        if seq > self.highest {
            self.advance(seq);
            return Seen::New;
        }
        let below = self.highest - seq;
        if below < WINDOW {
            let bit = 1 << below;
            let seen = if self.window & bit == 0 {
                Seen::New
            } else {
                Seen::Before
            };
            self.window |= bit;
            return seen;
        }
        self.fill(seq)
    }

    /// Moves the window up to `seq`; what it leaves behind uncounted is missing.
    fn advance(&mut self, seq: u64) {
        let by = seq - self.highest;
        let lowest = self.highest.saturating_sub(WINDOW - 1);
        // The new window's lowest; everything from the old one's lowest up to it is left behind.
        let below = seq.saturating_sub(WINDOW - 1);
        for left in lowest..below.min(self.highest.saturating_add(1)) {
            if self.window & (1 << (self.highest - left)) == 0 {
                self.miss(left, left);
            }
        }
        if below > self.highest.saturating_add(1) {
            self.miss(self.highest + 1, below - 1);
        }
        let shifted = u32::try_from(by)
            .ok()
            .and_then(|by| self.window.checked_shl(by));
        self.window = shifted.unwrap_or(0) | 1;
        self.highest = seq;
    }

    fn miss(&mut self, first: u64, last: u64) {
        match self.missing.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            _ => self.missing.push((first, last)),
        }
        if self.missing.len() > RANGES {
            self.missing.remove(0);
        }
    }

    fn fill(&mut self, seq: u64) -> Seen {
        let Some(at) = self
            .missing
            .iter()
            .position(|(first, last)| (*first..=*last).contains(&seq))
        else {
            return Seen::Before;
        };
        let (first, last) = self.missing.remove(at);
        if seq < last {
            self.missing.insert(at, (seq + 1, last));
        }
        if first < seq {
            self.missing.insert(at, (first, seq - 1));
        }
        if self.missing.len() > RANGES {
            self.missing.remove(0);
        }
        Seen::New
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let incarnation = Incarnation(reader.array()?);
        let (highest, window) = (reader.u64()?, reader.u64()?);
        let count = usize::from(reader.u8()?);
        if count > RANGES || window & 1 == 0 {
            return Err(Malformed);
        }
        let mut missing = Vec::with_capacity(count);
        for _ in 0..count {
            missing.push((reader.u64()?, reader.u64()?));
        }
        Ok(Self {
            incarnation,
            highest,
            window,
            missing,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn queue(start: i64) -> Incarnation {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&start.to_le_bytes());
        Incarnation(bytes)
    }

    #[test]
    fn the_two_newest_queues_are_kept_and_older_ones_refused() {
        let mut marks = Marks::default();
        let mut count = |start, seq| marks.count(Kid::ZERO, queue(start), Seq(seq));
        assert_eq!(count(-5, 0), Seen::New);
        assert_eq!(count(7, 0), Seen::New);
        assert_eq!(count(-5, 0), Seen::Before);
        assert_eq!(count(9, 0), Seen::New);
        assert_eq!(count(-5, 1), Seen::OldQueue);
        assert_eq!(count(8, 0), Seen::New, "newer than 7, which makes room");
        assert_eq!(count(7, 1), Seen::OldQueue);
        assert_eq!(count(9, 0), Seen::Before);
    }

    #[test]
    fn what_arrives_far_behind_its_window_counts_once_if_it_was_missing() {
        let mut marks = Marks::default();
        let mut count = |seq| marks.count(Kid::ZERO, queue(1), Seq(seq));
        assert_eq!(count(1_000), Seen::New);
        assert_eq!(count(500), Seen::New);
        assert_eq!(count(500), Seen::Before);
        assert_eq!(count(u64::MAX), Seen::New);
        assert_eq!(count(1_000), Seen::Before);
        assert_eq!(count(999), Seen::New);
    }

    proptest! {
        #[test]
        fn every_number_counts_once_in_any_order(
            seqs in prop::collection::vec(0_u64..400, 1..400),
        ) {
            let mut marks = Marks::default();
            let mut counted = BTreeSet::new();
            for seq in seqs {
                let expect = if counted.insert(seq) { Seen::New } else { Seen::Before };
                let seen = marks.count(Kid::ZERO, queue(1), Seq(seq));
                let mark = marks.all().next().unwrap().1;
                // Ranges that were given up make a new number look counted, never the reverse.
                if mark.queues[0].missing.len() < RANGES {
                    prop_assert_eq!(seen, expect);
                } else {
                    prop_assert!(seen == expect || seen == Seen::Before);
                    return Ok(());
                }
            }
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(seqs in prop::collection::vec(any::<u64>(), 1..50)) {
            let mut marks = Marks::default();
            for seq in seqs {
                marks.count(Kid::ZERO, queue(1), Seq(seq));
            }
            let mark = marks.all().next().unwrap().1;
            let mut writer = Writer::new();
            mark.encode(&mut writer);
            let mut reader = Reader::new(writer.as_slice());
            prop_assert_eq!(&DeviceMark::decode(&mut reader).unwrap(), mark);
            prop_assert!(reader.end().is_ok());
        }
    }
}
