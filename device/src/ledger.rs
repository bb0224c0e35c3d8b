//! What a device knows of its own batches, to be held against what the pipeline stored.

use std::{collections::BTreeMap, time::Duration};

use pulseward_base::{Digest, Incarnation, Kid, Micros, Seq};

use crate::flight::Fate;

/// One batch in a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The queue.
    pub incarnation: Incarnation,
    /// The batch's number in it.
    pub seq: Seq,
    /// Its D.
    pub digest: Digest,
    /// How many readings it has.
    pub rows: usize,
    /// When it was made, by the device's clock.
    pub made: Micros,
    /// What became of it, once that is known.
    pub fate: Option<Fate>,
    /// When that was, by the device's clock.
    pub answered: Option<Micros>,
    /// From being sent to its answer.
    pub took: Option<Duration>,
}

/// The batches of one device, by queue and number.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The device.
    pub device: Kid,
    entries: BTreeMap<(Incarnation, Seq), Entry>,
    limit: usize,
}

impl Ledger {
    /// Returns an empty ledger that holds at most `limit` batches: the oldest settled one goes.
    #[must_use]
    pub const fn new(device: Kid, limit: usize) -> Self {
        Self {
            device,
            entries: BTreeMap::new(),
            limit,
        }
    }

    /// Returns its entries, by queue and number.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Returns the entries that were acknowledged: the pipeline must have them.
    pub fn acknowledged(&self) -> impl Iterator<Item = &Entry> {
        let is_kept = |entry: &&Entry| matches!(entry.fate, Some(Fate::Durable | Fate::Duplicate));
        self.entries().filter(is_kept)
    }

    pub(crate) fn made(&mut self, entry: Entry) {
        if self.entries.len() >= self.limit {
            let settled = self.entries.iter().find(|(_, entry)| entry.fate.is_some());
            if let Some(key) = settled.map(|(key, _)| *key) {
                self.entries.remove(&key);
            }
        }
        self.entries.insert((entry.incarnation, entry.seq), entry);
    }

    pub(crate) fn settled(
        &mut self,
        place: (Incarnation, Seq),
        fate: Fate,
        answered: Micros,
        took: Option<Duration>,
    ) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.fate = Some(fate);
            entry.answered = Some(answered);
            entry.took = took;
        }
    }
}
