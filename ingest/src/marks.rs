//! What every device's batches have become, so that each is appended once.
//!
//! A batch is claimed before it is appended and settled when it is durable. A claim that is dropped
//! is given back: then the batch is new again. While it is under way nobody else gets the claim,
//! so a device that comes back on a new stream cannot have one batch appended twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pulseward_base::{Digest, Incarnation, Kid, Reject, Seq};
use pulseward_batch::digest::Place as BatchPlace;
use pulseward_crypto::frame::d8;
use pulseward_eventlog::body::{Mark, MarkIncarnation};

use crate::window::{Place, Short, WIDTH, Window};

/// How many queues of a device are known; batches of older ones are refused.
const QUEUES: usize = 2;

/// The marks of all devices.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    devices: Mutex<BTreeMap<Kid, Vec<Queue>>>,
}

/// What is known of one queue.
#[derive(Debug)]
struct Queue {
    incarnation: Incarnation,
    window: Window,
    under_way: BTreeSet<u64>,
    /// The last batch before which nothing is missing, where its whole digest is known.
    last_durable: Option<(Seq, Digest)>,
}

/// What a claim came to.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The batch is the caller's to append.
    Mine(Claim),
    /// It is in the log.
    Duplicate,
    /// Another batch of this number is, or is on its way.
    Forked,
    /// It is on its way to the log.
    Busy,
    /// It would tear one hole more than is remembered.
    Scattered,
}

/// The right to append one batch. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "a dropped claim makes the batch new again"]
pub(crate) struct Claim {
    marks: Arc<Marks>,
    device: Kid,
    place: BatchPlace,
    digest: Digest,
    is_settled: bool,
}

impl Claim {
    /// Says that the batch is durable.
    pub(crate) fn settle(mut self) {
        self.is_settled = true;
        let Self { device, digest, .. } = self;
        let (incarnation, seq) = (self.place.incarnation, self.place.seq);
        self.marks.with_queue(device, incarnation, |queue| {
            queue.under_way.remove(&seq.0);
            queue.note_durable(seq, digest);
        });
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let (incarnation, seq) = (self.place.incarnation, self.place.seq);
        self.marks.with_queue(self.device, incarnation, |queue| {
            queue.under_way.remove(&seq.0);
            queue.window.remove(seq.0);
        });
    }
}

impl Marks {
    /// Refuses, before any public-key work, what cannot be taken whatever it holds.
    pub(crate) fn check(&self, device: Kid, place: &BatchPlace) -> Result<(), Reject> {
        if place.seq.0 == u64::MAX {
            // The number that says "none".
            return Err(Reject::Malformed);
        }
        let devices = self.lock();
        let is_old = devices
            .get(&device)
            .is_some_and(|queues| is_too_old(queues, place.incarnation));
        if is_old {
            Err(Reject::OldIncarnation)
        } else {
            Ok(())
        }
    }

    /// Claims a verified batch.
    pub(crate) fn claim(
        self: &Arc<Self>,
        device: Kid,
        place: BatchPlace,
        digest: Digest,
    ) -> Result<Claimed, Reject> {
        let mut devices = self.lock();
        let queues = devices.entry(device).or_default();
        if is_too_old(queues, place.incarnation) {
            return Err(Reject::OldIncarnation);
        }
        let queue = queue_of(queues, place.incarnation);
        let (seq, short) = (place.seq.0, Short(d8(&digest)));
        Ok(match queue.window.place(seq, short) {
            Place::Forked => Claimed::Forked,
            Place::Known if queue.under_way.contains(&seq) => Claimed::Busy,
            Place::Known => Claimed::Duplicate,
            Place::New if queue.window.insert(seq, short).is_err() => Claimed::Scattered,
            Place::New => {
                queue.under_way.insert(seq);
                Claimed::Mine(Claim {
                    marks: Arc::clone(self),
                    device,
                    place,
                    digest,
                    is_settled: false,
                })
            }
        })
    }

    /// Takes in a batch that the log has.
    pub(crate) fn note(&self, device: Kid, place: &BatchPlace, digest: Digest) {
        let mut devices = self.lock();
        let queues = devices.entry(device).or_default();
        if is_too_old(queues, place.incarnation) {
            return;
        }
        let queue = queue_of(queues, place.incarnation);
        let short = Short(d8(&digest));
        let is_noted = match queue.window.place(place.seq.0, short) {
            Place::Known => true,
            // What does not fit is not known, so it would be appended once more: readers drop that.
            Place::New => queue.window.insert(place.seq.0, short).is_ok(),
            Place::Forked => false,
        };
        if is_noted {
            queue.note_durable(place.seq, digest);
        }
    }

    /// Takes in what the log says of a device, where nothing newer is known.
    pub(crate) fn restore(&self, mark: &Mark) {
        let mut devices = self.lock();
        let queues = devices.entry(mark.device).or_default();
        for known in &mark.incarnations {
            let Some(window) = window_of(known) else {
                continue;
            };
            if !is_too_old(queues, known.incarnation) {
                queue_of(queues, known.incarnation).window = window;
            }
        }
    }

    /// Returns the last batch of a queue before which nothing is missing: a lower bound.
    pub(crate) fn last_durable(
        &self,
        device: Kid,
        incarnation: Incarnation,
    ) -> Option<(Seq, Digest)> {
        let devices = self.lock();
        let queue = devices
            .get(&device)?
            .iter()
            .find(|queue| queue.incarnation == incarnation)?;
        queue.last_durable
    }

    fn with_queue(&self, device: Kid, incarnation: Incarnation, change: impl FnOnce(&mut Queue)) {
        let mut devices = self.lock();
        let queues = devices.get_mut(&device);
        let queue = queues.and_then(|queues| {
            queues
                .iter_mut()
                .find(|queue| queue.incarnation == incarnation)
        });
        if let Some(queue) = queue {
            change(queue);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kid, Vec<Queue>>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn note_durable(&mut self, seq: Seq, digest: Digest) {
        let is_newer = self.last_durable.is_none_or(|(last, _)| last < seq);
        let under_way = self.under_way.first().is_some_and(|first| *first <= seq.0);
        if is_newer && !under_way && self.window.is_complete_to(seq.0) {
            self.last_durable = Some((seq, digest));
        }
    }
}

/// Orders queues by their start: its bytes are the number's lowest first.
fn age(incarnation: Incarnation) -> (i64, Incarnation) {
    let [a, b, c, d, e, f, g, h, ..] = incarnation.0;
    (i64::from_le_bytes([a, b, c, d, e, f, g, h]), incarnation)
}

fn is_too_old(queues: &[Queue], incarnation: Incarnation) -> bool {
    let is_known = queues.iter().any(|queue| queue.incarnation == incarnation);
    let newer = |queue: &&Queue| age(queue.incarnation) > age(incarnation);
    !is_known && queues.iter().filter(newer).count() >= QUEUES
}

/// Returns the queue of this name, which is not too old; the oldest makes room for it.
fn queue_of(queues: &mut Vec<Queue>, incarnation: Incarnation) -> &mut Queue {
    if !queues.iter().any(|queue| queue.incarnation == incarnation) {
        queues.push(Queue {
            incarnation,
            window: Window::default(),
            under_way: BTreeSet::new(),
            last_durable: None,
        });
        queues.sort_by_key(|queue| age(queue.incarnation));
        let excess = queues.len().saturating_sub(QUEUES);
        queues.drain(..excess);
    }
    let at = queues
        .iter()
        .position(|queue| queue.incarnation == incarnation)
        .unwrap_or(0);
    #[expect(
        clippy::indexing_slicing,
        reason = "it was found or put there just now"
    )]
    &mut queues[at]
}

fn window_of(known: &MarkIncarnation) -> Option<Window> {
    let mut digests = [Short::default(); WIDTH as usize];
    for (to, from) in digests.iter_mut().zip(known.digests) {
        *to = Short(from);
    }
    let missing: Vec<_> = known
        .missing
        .iter()
        .map(|range| (range.first.0, range.last.0))
        .collect();
    Window::from_parts(known.highest.0, known.window, digests, &missing)
}

#[cfg(test)]
mod tests {
    use pulseward_base::Micros;

    use super::*;

    const DEVICE: Kid = Kid([1; 32]);

    fn queue_started(at: i64) -> Incarnation {
        let mut name = [7; 16];
        name[..8].copy_from_slice(&at.to_le_bytes());
        Incarnation(name)
    }

    fn place(start: i64, seq: u64) -> BatchPlace {
        BatchPlace {
            incarnation: queue_started(start),
            seq: Seq(seq),
            time: Micros(0),
        }
    }

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    fn claim(marks: &Arc<Marks>, start: i64, seq: u64, byte: u8) -> Claimed {
        marks
            .claim(DEVICE, place(start, seq), digest(byte))
            .unwrap()
    }

    fn mine(claimed: Claimed) -> Claim {
        match claimed {
            Claimed::Mine(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_is_claimed_once_and_is_known_when_it_is_settled() {
        let marks = Arc::new(Marks::default());
        let first = mine(claim(&marks, 1, 0, 1));
        assert!(matches!(claim(&marks, 1, 0, 1), Claimed::Busy));
        first.settle();
        assert!(matches!(claim(&marks, 1, 0, 1), Claimed::Duplicate));
        assert!(matches!(claim(&marks, 1, 0, 2), Claimed::Forked));
        let last = marks.last_durable(DEVICE, queue_started(1));
        assert_eq!(last, Some((Seq(0), digest(1))));
    }

    #[test]
    fn a_claim_that_is_dropped_makes_the_batch_new_again() {
        let marks = Arc::new(Marks::default());
        drop(mine(claim(&marks, 1, 0, 1)));
        assert_eq!(marks.last_durable(DEVICE, queue_started(1)), None);
        mine(claim(&marks, 1, 0, 2)).settle();
        assert!(matches!(claim(&marks, 1, 0, 2), Claimed::Duplicate));
    }

    #[test]
    fn what_is_told_as_durable_never_lies_past_something_that_is_not() {
        let marks = Arc::new(Marks::default());
        let claims: Vec<_> = (0..3).map(|seq| mine(claim(&marks, 1, seq, 9))).collect();
        let mut claims = claims.into_iter();
        let (zero, one, two) = (claims.next(), claims.next(), claims.next());
        two.unwrap().settle();
        assert_eq!(marks.last_durable(DEVICE, queue_started(1)), None);
        zero.unwrap().settle();
        let last = || marks.last_durable(DEVICE, queue_started(1)).unwrap().0;
        assert_eq!(last(), Seq(0));
        drop(one.unwrap());
        assert_eq!(last(), Seq(0));
    }

    #[test]
    fn a15_the_two_newest_queues_are_known_and_older_ones_refused() {
        let marks = Arc::new(Marks::default());
        for start in [1, 2, 3] {
            mine(claim(&marks, start, 0, 1)).settle();
        }
        assert!(matches!(claim(&marks, 3, 0, 1), Claimed::Duplicate));
        assert!(matches!(claim(&marks, 2, 0, 1), Claimed::Duplicate));
        let old = marks.claim(DEVICE, place(1, 1), digest(1));
        assert_eq!(old.unwrap_err(), Reject::OldIncarnation);
        assert_eq!(
            marks.check(DEVICE, &place(1, 1)),
            Err(Reject::OldIncarnation)
        );
        // A start far ahead of all clocks does not shut out the queues after it.
        mine(claim(&marks, i64::MAX, 0, 1)).settle();
        mine(claim(&marks, 4, 0, 1)).settle();
        mine(claim(&marks, 5, 0, 1)).settle();
    }

    #[test]
    fn a16_the_number_that_says_none_is_malformed_and_moves_nothing() {
        let marks = Arc::new(Marks::default());
        assert_eq!(
            marks.check(DEVICE, &place(1, u64::MAX)),
            Err(Reject::Malformed)
        );
        mine(claim(&marks, 1, 0, 1)).settle();
        assert_eq!(
            marks.last_durable(DEVICE, queue_started(1)).unwrap().0,
            Seq(0)
        );
    }

    #[test]
    fn what_the_log_has_is_known() {
        let marks = Arc::new(Marks::default());
        let known = MarkIncarnation {
            incarnation: queue_started(1),
            highest: Seq(2),
            window: 0b101,
            digests: [[4; 8]; 64],
            missing: Vec::new(),
        };
        marks.restore(&Mark {
            device: DEVICE,
            incarnations: vec![known],
        });
        marks.note(DEVICE, &place(1, 3), digest(5));
        assert!(matches!(claim(&marks, 1, 2, 4), Claimed::Duplicate));
        assert!(matches!(claim(&marks, 1, 3, 5), Claimed::Duplicate));
        assert!(matches!(claim(&marks, 1, 0, 6), Claimed::Forked));
        mine(claim(&marks, 1, 1, 4)).settle();
    }
}
