//! One batch from sealed bytes to the log, in a straight line.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use pulseward_base::{Digest, Incarnation, Kid, Reject, Seq, bytes::Reader};
use pulseward_batch::{Arrival, Contents, OpenedBatch, digest::Place};
use pulseward_crypto::{
    frame::{Answer, D8, Outcome, d8},
    session::{OpenedBatchFrame, OpenedFrame, ServerSession},
};
use pulseward_eventlog::LogError;
use pulseward_vitals::Limits;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    devices::Credential,
    marks::{Claim, Claimed},
    metrics::{End, Wait},
    shared::{Core, Fork},
};

/// What a digest that was not worked out reads as in an answer.
const NO_D8: D8 = [0; 8];
/// How long a device waits for a batch of its own that is on its way, in milliseconds.
const BUSY_MS: u32 = 50;

/// A device with a session, as its stream sees it.
pub(crate) struct Device {
    pub(crate) credential: Arc<Credential>,
    /// How far the device's clock is behind, in microseconds.
    clock_offset: i64,
    /// The batch that was told to come again: until it does, nothing else is taken.
    awaited: Option<(Incarnation, Seq)>,
    /// How many batches were rejected.
    pub(crate) faults: u32,
}

/// Why a batch did not get on its way to the log.
pub(crate) enum Refusal {
    /// It is answered, and the session goes on.
    Answer(Answer),
    /// It is another under a number that is taken.
    Fork(Fork),
    /// The session ends: the device's fault.
    Session(Reject),
    /// The session ends for another reason.
    End(End),
}

/// A batch on its way to the log.
pub(crate) type UnderWay = Pin<Box<dyn Future<Output = Landed> + Send>>;

/// What became of a batch that was on its way.
pub(crate) struct Landed {
    place: Place,
    digest: Digest,
    rows: usize,
    took: Duration,
    result: Result<(), LogError>,
}

impl Core {
    /// Takes one sealed frame: open, parse, window, verify, pseudonymise, append. What is returned
    /// resolves when the batch is durable; only then it is acknowledged.
    pub(crate) async fn accept_batch(
        &self,
        session: &mut ServerSession,
        device: &mut Device,
        sealed: &[u8],
    ) -> Result<UnderWay, Refusal> {
        let arrived = self.clock.monotonic();
        let frame = self.open(session, sealed)?;
        let opened = self.parse(device, &frame)?;
        let place = self.window(device, &opened, &frame)?;
        let credential = Arc::clone(&device.credential);
        let (key, facts) = (&credential.key, credential.facts());
        let verified = opened
            .verify(key, &facts.record, credential.device.scope)
            .map_err(|reject| self.refuse(device, &frame, place, reject))?;
        let (digest, rows) = (verified.digest(), verified.columns().rows());
        let (claim, permit) = self.claim(device, place, digest)?;
        let arrival = Arrival {
            received: self.now(),
            clock_offset: device.clock_offset,
        };
        let batch = verified
            .pseudonymise(&facts, arrival)
            .map_err(|reject| device.refused(self, place.seq, d8(&digest), reject))?;
        let appending = self
            .log
            .enqueue_batch(batch)
            .await
            .map_err(|error| device.unlogged(self, place, d8(&digest), &error))?;
        let clock = Arc::clone(&self.clock);
        Ok(Box::pin(async move {
            let result = appending.durable().await.map(|_position| claim.settle());
            drop(permit);
            Landed {
                place,
                digest,
                rows,
                took: clock.monotonic().saturating_sub(arrived),
                result,
            }
        }))
    }

    /// The session's seal: whatever does not open ends the session.
    fn open(
        &self,
        session: &mut ServerSession,
        sealed: &[u8],
    ) -> Result<OpenedBatchFrame, Refusal> {
        if sealed.len() > self.settings.max_frame_bytes {
            return Err(Refusal::Session(Reject::TooLarge));
        }
        match session.open(sealed).map_err(Refusal::Session)? {
            OpenedFrame::Batch(frame) => Ok(frame),
            OpenedFrame::Enrol(_) => Err(Refusal::Session(Reject::WrongSession)),
        }
    }

    /// The layout. A batch that does not even have a number cannot be answered.
    fn parse(&self, device: &mut Device, frame: &OpenedBatchFrame) -> Result<OpenedBatch, Refusal> {
        OpenedBatch::parse(frame, self.limits()).map_err(|reject| match seq_of(frame.payload()) {
            Some(seq) => device.refused(self, seq, NO_D8, reject),
            None => Refusal::Session(reject),
        })
    }

    /// What needs no signature to be seen: whether the device may still send, whether it is this
    /// batch's turn, its age and its queue.
    fn window(
        &self,
        device: &mut Device,
        opened: &OpenedBatch,
        frame: &OpenedBatchFrame,
    ) -> Result<Place, Refusal> {
        if !self.view_is_fresh() {
            return Err(Refusal::End(End::Unavailable));
        }
        if !self.may_send(device.kid()) {
            return Err(Refusal::End(End::Withdrawn));
        }
        let place = opened.place();
        if !device.is_its_turn(place) {
            let short = self.digest_start(device, frame);
            return Err(Refusal::Answer(device.retry_behind(self, place, short)));
        }
        let now = self.now();
        let made = place.time.0.saturating_add(device.clock_offset);
        if made < now.minus(self.settings.max_backlog_age).0 {
            return Err(self.refuse(device, frame, place, Reject::TooOld));
        }
        if made > now.plus(self.settings.max_ahead).0 {
            self.metrics.ahead();
        }
        self.marks
            .check(device.kid(), &place)
            .map(|()| place)
            .map_err(|reject| self.refuse(device, frame, place, reject))
    }

    /// Refuses a batch whose digest nobody has worked out yet.
    fn refuse(
        &self,
        device: &mut Device,
        frame: &OpenedBatchFrame,
        place: Place,
        reject: Reject,
    ) -> Refusal {
        let short = self.digest_start(device, frame);
        device.refused(self, place.seq, short, reject)
    }

    /// Works out the part of a batch's digest that its answer carries. Only refusals need it apart
    /// from the verified batch, so only they pay for it.
    fn digest_start(&self, device: &Device, frame: &OpenedBatchFrame) -> D8 {
        let context = &device.credential.device.record;
        Contents::decode(frame.payload(), self.limits()).map_or(NO_D8, |contents| {
            d8(&contents.digest(&device.kid(), context))
        })
    }

    const fn limits(&self) -> Limits {
        Limits {
            leaves: self.settings.max_leaves,
            rows: self.settings.max_rows,
        }
    }

    fn may_send(&self, device: Kid) -> bool {
        let known = self.devices.find(device);
        known.is_some_and(|credential| credential.is_active())
    }

    /// The right to append it, and room among all that is under way.
    fn claim(
        &self,
        device: &mut Device,
        place: Place,
        digest: Digest,
    ) -> Result<(Claim, OwnedSemaphorePermit), Refusal> {
        let short = d8(&digest);
        let permit = Arc::clone(&self.in_flight).try_acquire_owned();
        let Ok(permit) = permit else {
            return Err(device.wait(self, place, short, Wait::InFlight));
        };
        match self.marks.claim(device.kid(), place, digest) {
            Ok(Claimed::Mine(claim)) => Ok((claim, permit)),
            Ok(Claimed::Duplicate) => {
                self.metrics.duplicate();
                Err(Refusal::Answer(Answer {
                    seq: place.seq,
                    d8: short,
                    outcome: Outcome::Duplicate,
                }))
            }
            Ok(Claimed::Forked) => Err(Refusal::Fork(Fork { place, digest })),
            Ok(Claimed::Busy) => Err(device.wait(self, place, short, Wait::Busy)),
            Ok(Claimed::Scattered) => Err(device.wait(self, place, short, Wait::Scattered)),
            Err(reject) => Err(device.refused(self, place.seq, short, reject)),
        }
    }
}

impl Device {
    pub(crate) const fn new(credential: Arc<Credential>, clock_offset: i64) -> Self {
        Self {
            credential,
            clock_offset,
            awaited: None,
            faults: 0,
        }
    }

    pub(crate) fn kid(&self) -> Kid {
        self.credential.device.device
    }

    /// Returns the answer to a batch that was on its way.
    pub(crate) fn landed(&mut self, core: &Core, landed: Landed) -> Option<Answer> {
        let (place, short) = (landed.place, d8(&landed.digest));
        match landed.result {
            Ok(()) => {
                core.log_took();
                core.metrics.durable(landed.rows, landed.took);
                Some(Answer {
                    seq: place.seq,
                    d8: short,
                    outcome: Outcome::Durable,
                })
            }
            Err(error) => match self.unlogged(core, place, short, &error) {
                Refusal::Answer(answer) => Some(answer),
                Refusal::Fork(_) | Refusal::Session(_) | Refusal::End(_) => None,
            },
        }
    }

    /// Counts a rejection for good and returns its answer.
    pub(crate) fn rejected(&mut self, core: &Core, seq: Seq, d8: D8, reject: Reject) -> Answer {
        core.metrics.reject(reject);
        self.faults = self.faults.saturating_add(1);
        Answer {
            seq,
            d8,
            outcome: Outcome::Rejected(reject),
        }
    }

    fn refused(&mut self, core: &Core, seq: Seq, d8: D8, reject: Reject) -> Refusal {
        Refusal::Answer(self.rejected(core, seq, d8, reject))
    }

    /// Tells a batch to come again; what follows it waits for it.
    pub(crate) fn retry(&mut self, core: &Core, place: Place, d8: D8, why: Wait) -> Answer {
        let turn = (place.incarnation, place.seq);
        // An earlier batch that is awaited stays the one that is awaited.
        let is_earlier = self
            .awaited
            .is_none_or(|awaited| awaited.0 != turn.0 || turn.1 < awaited.1);
        if is_earlier {
            self.awaited = Some(turn);
        }
        core.metrics.retry(why);
        let ms = match why {
            Wait::Busy => BUSY_MS,
            _ => u32::try_from(core.settings.retry_after.as_millis()).unwrap_or(u32::MAX),
        };
        let limit = match why {
            Wait::InFlight | Wait::LogFull | Wait::Scattered => Some(Reject::OverLimit),
            Wait::Behind | Wait::Busy | Wait::Log => None,
        };
        Answer {
            seq: place.seq,
            d8,
            outcome: Outcome::RetryAfter { ms, limit },
        }
    }

    fn wait(&mut self, core: &Core, place: Place, d8: D8, why: Wait) -> Refusal {
        Refusal::Answer(self.retry(core, place, d8, why))
    }

    fn retry_behind(&self, core: &Core, place: Place, d8: D8) -> Answer {
        core.metrics.retry(Wait::Behind);
        Answer {
            seq: place.seq,
            d8,
            // The batch that is awaited was told how long.
            outcome: Outcome::RetryAfter { ms: 0, limit: None },
        }
    }

    /// Returns whether a batch may be taken now. The one that is awaited ends the wait for it.
    fn is_its_turn(&mut self, place: Place) -> bool {
        match self.awaited {
            None => true,
            Some(awaited) if awaited == (place.incarnation, place.seq) => {
                self.awaited = None;
                true
            }
            Some(_) => false,
        }
    }

    /// Says what an error of the log means for a batch.
    fn unlogged(&mut self, core: &Core, place: Place, d8: D8, error: &LogError) -> Refusal {
        match error {
            LogError::Full => self.wait(core, place, d8, Wait::LogFull),
            // The patient is erased: nothing of theirs is taken any more.
            LogError::KeyErased => self.refused(core, place.seq, d8, Reject::NotAdmitted),
            LogError::TooLarge { .. } => self.refused(core, place.seq, d8, Reject::TooLarge),
            error => {
                core.log_failed(error);
                self.wait(core, place, d8, Wait::Log)
            }
        }
    }
}

/// Returns the number of a batch that may be anything else but has that.
fn seq_of(payload: &[u8]) -> Option<Seq> {
    let mut reader = Reader::new(payload);
    reader.take(Incarnation::SIZE).ok()?;
    reader.u64().ok().map(Seq)
}
