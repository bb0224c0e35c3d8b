//! Batches that wait for a durable answer. The queue is the authority: what is in it is sent until
//! the service says, sealed, what became of it.
//!
//! A queue is bounded. When it is full, collecting fails and takes no number, so that a queue has
//! no gaps; the caller counts what it could not keep.

mod file;

use std::collections::BTreeMap;

use pulseward_base::{Digest, Incarnation, Micros, Seq};
use pulseward_batch::SignedBatch;
use pulseward_crypto::{
    frame::{D8, d8},
    random,
};

pub use file::FileQueue;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most batches.
    pub batches: usize,
    /// The most bytes of payload.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            batches: 100_000,
            bytes: 64 << 20,
        }
    }
}

/// Why a queue did not take or settle a batch.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It is full.
    #[error("the queue is full")]
    Full,
    /// The batch is not the next of this queue.
    #[error("a batch of another queue or number")]
    OutOfOrder,
    /// Its file could not be written or read.
    #[error("the queue's file cannot be used")]
    Io(#[from] std::io::Error),
    /// Its file is not a queue's, or not one of this version.
    #[error("the file is not a queue of this version")]
    NotAQueue,
}

/// A batch that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub seq: Seq,
    /// Its D.
    pub digest: Digest,
    /// What goes into the frame.
    pub payload: Vec<u8>,
}

impl Waiting {
    /// Returns the part of its D that answers carry.
    #[must_use]
    pub const fn d8(&self) -> D8 {
        d8(&self.digest)
    }
}

/// One queue of one device.
pub trait Queue: Send + 'static {
    /// Returns the queue's name.
    fn incarnation(&self) -> Incarnation;

    /// Returns the number of the next batch.
    fn next(&self) -> Seq;

    /// Takes the next batch; it is kept, however this queue keeps things, when this returns.
    fn push(&mut self, batch: SignedBatch) -> Result<(), QueueError>;

    /// Returns the oldest batches that wait and are not among those that `skip` names.
    fn waiting(&self, count: usize, skip: &dyn Fn(Seq) -> bool) -> Vec<Waiting>;

    /// Returns a batch that waits.
    fn find(&self, seq: Seq) -> Option<Waiting>;

    /// Lets go of a batch that the service answered for good.
    fn settle(&mut self, seq: Seq) -> Result<(), QueueError>;

    /// Returns the last batch before which nothing waits, if it was settled in this life.
    fn settled(&self) -> Option<(Seq, Digest)>;

    /// Returns how many batches wait.
    fn len(&self) -> usize;

    /// Returns whether nothing waits.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the queue for good, when nothing waits in it and nothing will be added.
    fn remove(&mut self) -> Result<(), QueueError> {
        Ok(())
    }
}

/// Names a new queue: its start, then eight random bytes.
#[must_use]
pub fn new_incarnation(now: Micros) -> Incarnation {
    let random = random::bytes::<8>();
    let mut name = [0; 16];
    for (to, from) in name
        .iter_mut()
        .zip(now.0.to_le_bytes().iter().chain(&random))
    {
        *to = *from;
    }
    Incarnation(name)
}

/// A queue that ends with the process.
#[derive(Debug)]
pub struct MemoryQueue {
    incarnation: Incarnation,
    limits: QueueLimits,
    next: u64,
    bytes: usize,
    waiting: BTreeMap<Seq, Waiting>,
    settled: Option<(Seq, Digest)>,
}

impl MemoryQueue {
    /// Returns an empty queue.
    #[must_use]
    pub const fn new(incarnation: Incarnation, limits: QueueLimits) -> Self {
        Self {
            incarnation,
            limits,
            next: 0,
            bytes: 0,
            waiting: BTreeMap::new(),
            settled: None,
        }
    }

    fn check(&self, batch: &SignedBatch) -> Result<(), QueueError> {
        let place = batch.place;
        if place.incarnation != self.incarnation || place.seq.0 != self.next {
            return Err(QueueError::OutOfOrder);
        }
        let is_full = self.waiting.len() >= self.limits.batches
            || self.bytes.saturating_add(batch.payload.len()) > self.limits.bytes;
        if is_full {
            Err(QueueError::Full)
        } else {
            Ok(())
        }
    }

    /// Puts back what a file kept, whatever its number.
    fn restore(&mut self, batch: Waiting) {
        self.next = self.next.max(batch.seq.0.saturating_add(1));
        self.bytes += batch.payload.len();
        self.waiting.insert(batch.seq, batch);
    }
}

impl Queue for MemoryQueue {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn next(&self) -> Seq {
        Seq(self.next)
    }

    fn push(&mut self, batch: SignedBatch) -> Result<(), QueueError> {
        self.check(&batch)?;
        self.restore(Waiting {
            seq: batch.place.seq,
            digest: batch.digest,
            payload: batch.payload,
        });
        Ok(())
    }

    fn waiting(&self, count: usize, skip: &dyn Fn(Seq) -> bool) -> Vec<Waiting> {
        let wanted = self.waiting.values().filter(|batch| !skip(batch.seq));
        wanted.take(count).cloned().collect()
    }

    fn find(&self, seq: Seq) -> Option<Waiting> {
        self.waiting.get(&seq).cloned()
    }

    fn settle(&mut self, seq: Seq) -> Result<(), QueueError> {
        let Some(batch) = self.waiting.remove(&seq) else {
            return Ok(());
        };
        self.bytes -= batch.payload.len();
        let is_oldest = self
            .waiting
            .first_key_value()
            .is_none_or(|(oldest, _)| seq < *oldest);
        let is_newer = self.settled.is_none_or(|(settled, _)| settled < seq);
        if is_oldest && is_newer {
            self.settled = Some((seq, batch.digest));
        }
        Ok(())
    }

    fn settled(&self) -> Option<(Seq, Digest)> {
        self.settled
    }

    fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use pulseward_batch::digest::Place;

    use super::*;

    pub(crate) fn batch(incarnation: Incarnation, seq: u64) -> SignedBatch {
        SignedBatch {
            payload: vec![u8::try_from(seq % 251).unwrap(); 100],
            digest: Digest([u8::try_from(seq % 251 + 1).unwrap(); 32]),
            place: Place {
                incarnation,
                seq: Seq(seq),
                time: Micros(0),
            },
        }
    }

    fn numbers(queue: &dyn Queue) -> Vec<u64> {
        let waiting = queue.waiting(usize::MAX, &|_| false);
        waiting.iter().map(|batch| batch.seq.0).collect()
    }

    #[test]
    fn what_is_not_settled_waits_in_order() {
        let name = new_incarnation(Micros(1));
        let mut queue = MemoryQueue::new(name, QueueLimits::default());
        for seq in 0..5 {
            assert_eq!(queue.next(), Seq(seq));
            queue.push(batch(name, seq)).unwrap();
        }
        queue.settle(Seq(1)).unwrap();
        assert_eq!(numbers(&queue), [0, 2, 3, 4]);
        assert_eq!(queue.settled(), None, "0 still waits");
        queue.settle(Seq(0)).unwrap();
        queue.settle(Seq(2)).unwrap();
        assert_eq!(queue.settled().unwrap().0, Seq(2));
        let skipped = queue.waiting(1, &|seq| seq == Seq(3));
        assert_eq!(skipped[0].seq, Seq(4));
    }

    #[test]
    fn a_full_queue_takes_no_number() {
        let name = new_incarnation(Micros(1));
        let limits = QueueLimits {
            batches: 100,
            bytes: 250,
        };
        let mut queue = MemoryQueue::new(name, limits);
        queue.push(batch(name, 0)).unwrap();
        queue.push(batch(name, 1)).unwrap();
        assert!(matches!(queue.push(batch(name, 2)), Err(QueueError::Full)));
        assert_eq!(queue.next(), Seq(2));
        queue.settle(Seq(0)).unwrap();
        queue.push(batch(name, 2)).unwrap();
    }

    #[test]
    fn a_batch_of_another_queue_or_number_is_refused() {
        let (name, other) = (new_incarnation(Micros(1)), new_incarnation(Micros(1)));
        assert_ne!(name, other);
        let mut queue = MemoryQueue::new(name, QueueLimits::default());
        for wrong in [batch(other, 0), batch(name, 1)] {
            assert!(matches!(queue.push(wrong), Err(QueueError::OutOfOrder)));
        }
    }
}
