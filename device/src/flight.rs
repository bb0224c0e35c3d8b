//! What one session has under way: which batches to send next, and what an answer does.
//!
//! Pure: no I/O and no clock; times are handed in. Invariants: batches are sent in ascending order;
//! at most `max` wait for their answers; after RETRY_AFTER nothing is sent until its time has come
//! and all that was under way is answered, so that the refused batch goes first again; only an answer that names a batch under way, by number
//! and digest, settles it.

use std::{collections::BTreeMap, time::Duration};

use pulseward_base::{Digest, Reject, Seq};
use pulseward_crypto::frame::{Answer, D8, Outcome};

use crate::queue::{Queue, QueueError, Waiting};

/// What became of a batch for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the log, and the service took it now.
    Durable,
    /// It was in the log already.
    Duplicate,
    /// It is refused for good.
    Rejected(Reject),
}

/// A batch under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    d8: D8,
    at: Duration,
}

/// A batch that an answer settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The batch.
    pub batch: Waiting,
    /// What became of it.
    pub fate: Fate,
    /// How long its answer took.
    pub took: Duration,
}

/// What one session has under way.
#[derive(Debug)]
pub struct Flight {
    max: usize,
    sent: BTreeMap<Seq, Sent>,
    hold: Option<Duration>,
}

impl Flight {
    /// Returns an empty flight that holds at most `max`.
    #[must_use]
    pub const fn new(max: u16) -> Self {
        Self {
            max: max as usize,
            sent: BTreeMap::new(),
            hold: None,
        }
    }

    /// Returns the batches to send at `now`, in order, and counts them as under way.
    pub fn take_off(&mut self, queue: &dyn Queue, now: Duration) -> Vec<Waiting> {
        if let Some(until) = self.hold {
            // What followed the refused batch is being refused too: sent now, the next would
            // overtake it.
            if now < until || !self.sent.is_empty() {
                return Vec::new();
            }
            self.hold = None;
        }
        let room = self.max.saturating_sub(self.sent.len());
        let batches = queue.waiting(room, &|seq| self.sent.contains_key(&seq));
        for batch in &batches {
            let sent = Sent {
                d8: batch.d8(),
                at: now,
            };
            self.sent.insert(batch.seq, sent);
        }
        batches
    }

    /// Returns when sending may go on, if an answer said to wait and nothing else is waited for.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        self.hold.filter(|_| self.sent.is_empty())
    }

    /// Returns when the oldest batch under way was sent.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.sent.values().map(|sent| sent.at).min()
    }

    /// Takes an answer. What it settles leaves the queue.
    pub fn answered(
        &mut self,
        answer: &Answer,
        queue: &mut dyn Queue,
        now: Duration,
    ) -> Result<Option<Settled>, QueueError> {
        let Some(sent) = self.sent.get(&answer.seq).copied() else {
            return Ok(None);
        };
        let is_final = !matches!(
            answer.outcome,
            Outcome::Rejected(_) | Outcome::RetryAfter { .. }
        );
        // A batch that the service could not parse has no D there; it is never acknowledged so.
        let names_it = answer.d8 == sent.d8 || (!is_final && answer.d8 == [0; 8]);
        if !names_it {
            return Ok(None);
        }
        self.sent.remove(&answer.seq);
        let fate = match answer.outcome {
            Outcome::Durable | Outcome::Proven => Fate::Durable,
            Outcome::Duplicate => Fate::Duplicate,
            Outcome::Rejected(reject) => Fate::Rejected(reject),
            Outcome::RetryAfter { ms, .. } => {
                let until = now.saturating_add(Duration::from_millis(u64::from(ms)));
                self.hold = Some(self.hold.map_or(until, |hold| hold.max(until)));
                return Ok(None);
            }
        };
        let Some(batch) = queue.find(answer.seq) else {
            return Ok(None);
        };
        queue.settle(answer.seq)?;
        Ok(Some(Settled {
            batch,
            fate,
            took: now.saturating_sub(sent.at),
        }))
    }
}

/// Lets go of what the service's welcome says is durable: all up to a batch whose digest is the
/// same there and here. Returns what was let go.
pub fn resume(
    queue: &mut dyn Queue,
    last_durable: Option<(Seq, Digest)>,
) -> Result<Vec<Waiting>, QueueError> {
    let Some((last, digest)) = last_durable else {
        return Ok(Vec::new());
    };
    if queue.find(last).is_none_or(|batch| batch.digest != digest) {
        return Ok(Vec::new());
    }
    let known = queue.waiting(usize::MAX, &|seq| seq > last);
    for batch in &known {
        queue.settle(batch.seq)?;
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use pulseward_base::{Incarnation, Micros};

    use super::*;
    use crate::queue::{MemoryQueue, QueueLimits, new_incarnation, tests::batch};

    const NOW: Duration = Duration::from_secs(10);

    fn queue(count: u64) -> MemoryQueue {
        let name: Incarnation = new_incarnation(Micros(1));
        let mut queue = MemoryQueue::new(name, QueueLimits::default());
        for seq in 0..count {
            queue.push(batch(name, seq)).unwrap();
        }
        queue
    }

    fn answer(seq: u64, outcome: Outcome) -> Answer {
        Answer {
            seq: Seq(seq),
            d8: [u8::try_from(seq + 1).unwrap(); 8],
            outcome,
        }
    }

    fn numbers(batches: &[Waiting]) -> Vec<u64> {
        batches.iter().map(|batch| batch.seq.0).collect()
    }

    #[test]
    fn no_more_than_the_limit_waits_and_each_answer_makes_room() {
        let mut queue = queue(10);
        let mut flight = Flight::new(4);
        assert_eq!(numbers(&flight.take_off(&queue, NOW)), [0, 1, 2, 3]);
        assert!(flight.take_off(&queue, NOW).is_empty());
        let settled = flight.answered(&answer(2, Outcome::Durable), &mut queue, NOW);
        assert_eq!(settled.unwrap().unwrap().fate, Fate::Durable);
        assert_eq!(numbers(&flight.take_off(&queue, NOW)), [4]);
        assert_eq!(queue.len(), 9);
    }

    #[test]
    fn b2_after_retry_on_one_all_that_were_refused_are_sent_again_in_order() {
        let mut queue = queue(9);
        let mut flight = Flight::new(32);
        flight.take_off(&queue, NOW);
        let retry = Outcome::RetryAfter {
            ms: 500,
            limit: None,
        };
        for seq in 0..9 {
            let settled = flight.answered(&answer(seq, retry), &mut queue, NOW);
            assert_eq!(settled.unwrap(), None);
        }
        assert_eq!(flight.hold(), Some(NOW + Duration::from_millis(500)));
        let early = NOW + Duration::from_millis(499);
        assert!(flight.take_off(&queue, early).is_empty());
        let due = NOW + Duration::from_millis(500);
        assert_eq!(
            numbers(&flight.take_off(&queue, due)),
            [0, 1, 2, 3, 4, 5, 6, 7, 8]
        );
        for seq in 0..9 {
            flight
                .answered(&answer(seq, Outcome::Durable), &mut queue, due)
                .unwrap();
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn b2_nothing_overtakes_a_refused_batch() {
        let mut queue = queue(4);
        let mut flight = Flight::new(3);
        assert_eq!(numbers(&flight.take_off(&queue, NOW)), [0, 1, 2]);
        let retry = Outcome::RetryAfter { ms: 0, limit: None };
        for seq in [0, 1] {
            assert_eq!(
                flight
                    .answered(&answer(seq, retry), &mut queue, NOW)
                    .unwrap(),
                None
            );
            assert!(
                flight.take_off(&queue, NOW).is_empty(),
                "2 is not answered yet"
            );
        }
        flight.answered(&answer(2, retry), &mut queue, NOW).unwrap();
        assert_eq!(numbers(&flight.take_off(&queue, NOW)), [0, 1, 2]);
    }

    #[test]
    fn a22_an_answer_that_does_not_name_a_batch_under_way_settles_nothing() {
        let mut queue = queue(3);
        let mut flight = Flight::new(2);
        flight.take_off(&queue, NOW);
        let mut forged = answer(0, Outcome::Durable);
        forged.d8 = [9; 8];
        let mut blank = answer(0, Outcome::Duplicate);
        blank.d8 = [0; 8];
        for answer in [forged, blank, answer(2, Outcome::Durable)] {
            let settled = flight.answered(&answer, &mut queue, NOW);
            assert_eq!(settled.unwrap(), None, "{answer:?}");
        }
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn a_welcome_lets_go_only_of_what_is_the_same_there_and_here() {
        let mut queue = queue(5);
        for other in [
            None,
            Some((Seq(2), Digest([9; 32]))),
            Some((Seq(9), Digest([9; 32]))),
        ] {
            assert!(resume(&mut queue, other).unwrap().is_empty());
        }
        let known = resume(&mut queue, Some((Seq(2), Digest([3; 32])))).unwrap();
        assert_eq!(numbers(&known), [0, 1, 2]);
        assert_eq!(queue.len(), 2);
    }
}
