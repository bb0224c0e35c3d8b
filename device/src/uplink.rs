//! Carries a device's queues to the service, for as long as the device lives.
//!
//! One session carries one queue: those of earlier lives first, the oldest first, then the one that
//! is being filled. Streams come and go; a batch leaves its queue only by a sealed answer.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pulseward_base::{Micros, Reject, Seq};
use pulseward_batch::{NewBatch, digest::Place};
use pulseward_crypto::{
    client::ClientSession,
    frame::{AdmissionToken, Answers, DownFrame, Outcome, UpFrame},
    hello::Resume,
    offer::ClientOffer,
};
use pulseward_vitals::Columns;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    backoff::Backoff,
    clock::DeviceClock,
    enrol::Identity,
    flight::{Fate, Flight, Settled, resume},
    ledger::{Entry, Ledger},
    link::{Incoming, Link, LinkError, LinkSettings, connect},
    queue::{Queue, QueueError},
};

/// How long an answer may be missing before the stream is given up.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How many answers' times are kept for a table.
const LATEST: usize = 256;

/// What a device has sent and heard so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that were made.
    pub made: u64,
    /// Readings in them.
    pub readings: u64,
    /// Batches that could not be made: the queue was full.
    pub refused_by_queue: u64,
    /// Batches answered DURABLE.
    pub durable: u64,
    /// Batches answered DUPLICATE.
    pub duplicate: u64,
    /// Batches answered REJECTED.
    pub rejected: u64,
    /// Times the device was told to wait.
    pub retries: u64,
    /// Sessions that were opened.
    pub sessions: u64,
    /// Streams that were lost.
    pub losses: u64,
}

impl Counts {
    /// Adds another's.
    pub const fn add(&mut self, other: &Self) {
        self.made += other.made;
        self.readings += other.readings;
        self.refused_by_queue += other.refused_by_queue;
        self.durable += other.durable;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.retries += other.retries;
        self.sessions += other.sessions;
        self.losses += other.losses;
    }
}

/// What the one who collects and the one who sends share.
struct Shared {
    older: VecDeque<Box<dyn Queue>>,
    current: Box<dyn Queue>,
    ledger: Ledger,
    counts: Counts,
    last_answer: Option<(Micros, Duration)>,
    /// How long the latest answers took.
    latest: VecDeque<Duration>,
    last_reject: Option<Reject>,
}

impl Shared {
    /// Returns the queue that is to be sent: the oldest in which something waits.
    fn sending(&mut self) -> &mut Box<dyn Queue> {
        self.older.front_mut().unwrap_or(&mut self.current)
    }

    /// Forgets the oldest queue when it is drained. Returns whether another is now to be sent.
    fn move_on(&mut self) -> Result<bool, QueueError> {
        let is_drained = self.older.front().is_some_and(|queue| queue.is_empty());
        if is_drained && let Some(mut queue) = self.older.pop_front() {
            queue.remove()?;
        }
        Ok(is_drained)
    }

    fn waiting(&self) -> usize {
        let older: usize = self.older.iter().map(|queue| queue.len()).sum();
        older + self.current.len()
    }

    fn settled(&mut self, settled: &Settled, now: Micros) {
        let incarnation = self.sending().incarnation();
        let place = (incarnation, settled.batch.seq);
        self.ledger
            .settled(place, settled.fate, now, Some(settled.took));
        self.last_answer = Some((now, settled.took));
        if self.latest.len() >= LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(settled.took);
        match settled.fate {
            Fate::Durable => self.counts.durable += 1,
            Fate::Duplicate => self.counts.duplicate += 1,
            Fate::Rejected(reject) => {
                self.counts.rejected += 1;
                self.last_reject = Some(reject);
            }
        }
    }
}

/// Why readings did not become a batch.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// They are not in the order that every batch has, or are none.
    #[error("the readings are refused: {0}")]
    Readings(Reject),
    /// The queue did not take the batch.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// A device that is enrolled. Clones are the same device.
#[derive(Clone)]
pub struct Device {
    identity: Identity,
    clock: DeviceClock,
    shared: Arc<Mutex<Shared>>,
    news: Arc<Notify>,
}

impl Device {
    /// Puts a device together: who it is, what earlier lives left behind (the oldest first), and
    /// the queue that this life fills.
    #[must_use]
    pub fn new(
        identity: Identity,
        clock: DeviceClock,
        older: Vec<Box<dyn Queue>>,
        current: Box<dyn Queue>,
        ledger_limit: usize,
    ) -> Self {
        let ledger = Ledger::new(identity.kid(), ledger_limit);
        Self {
            identity,
            clock,
            shared: Arc::new(Mutex::new(Shared {
                older: older.into(),
                current,
                ledger,
                counts: Counts::default(),
                last_answer: None,
                latest: VecDeque::new(),
                last_reject: None,
            })),
            news: Arc::new(Notify::new()),
        }
    }

    /// Returns who it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Signs readings into the next batch of the queue.
    pub fn collect(&self, columns: &Columns) -> Result<Seq, CollectError> {
        let made = self.clock.now();
        let mut shared = self.lock();
        let place = Place {
            incarnation: shared.current.incarnation(),
            seq: shared.current.next(),
            time: made,
        };
        let context = self.identity.context();
        let batch = NewBatch::new(place, columns).sign(&self.identity.key, &context);
        let entry = Entry {
            incarnation: place.incarnation,
            seq: place.seq,
            digest: batch.digest,
            rows: columns.rows(),
            made,
            fate: None,
            answered: None,
            took: None,
        };
        if let Err(error) = shared.current.push(batch) {
            shared.counts.refused_by_queue += 1;
            return Err(error.into());
        }
        shared.ledger.made(entry);
        shared.counts.made += 1;
        shared.counts.readings += u64::try_from(entry.rows).unwrap_or(u64::MAX);
        drop(shared);
        self.news.notify_one();
        Ok(place.seq)
    }

    /// Returns how many batches wait for a durable answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// Returns what it has sent and heard.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Returns when the last answer came and how long it took.
    #[must_use]
    pub fn last_answer(&self) -> Option<(Micros, Duration)> {
        self.lock().last_answer
    }

    /// Returns how long its latest answers took.
    #[must_use]
    pub fn latest(&self) -> Vec<Duration> {
        self.lock().latest.iter().copied().collect()
    }

    /// Returns the last code that a batch was refused with.
    #[must_use]
    pub fn last_reject(&self) -> Option<Reject> {
        self.lock().last_reject
    }

    /// Returns a copy of its ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.lock().ledger.clone()
    }

    /// Sends until `shutdown`, through every loss of the stream. An error is the device's own: a
    /// queue that cannot be kept.
    pub async fn run(
        &self,
        link: &LinkSettings,
        mut backoff: Backoff,
        shutdown: CancellationToken,
    ) -> Result<(), QueueError> {
        loop {
            let session = self.session(link, &mut backoff);
            let ended = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                ended = session => ended,
            };
            match ended {
                // The next queue goes at once.
                Ok(()) => continue,
                Err(SessionError::Queue(error)) => return Err(error),
                Err(SessionError::Link(error)) => {
                    tracing::debug!(%error, "a stream was lost");
                    self.lock().counts.losses += 1;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
    }

    /// Waits until nothing waits.
    pub async fn drained(&self) {
        while self.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn session(
        &self,
        settings: &LinkSettings,
        backoff: &mut Backoff,
    ) -> Result<(), SessionError> {
        let channel: Channel = connect(settings).await?;
        let mut link = Link::open(channel, settings).await?;
        let mut offer = None;
        loop {
            match self.carry(&mut link, offer.take(), backoff).await? {
                Carried::Drained => return Ok(()),
                Carried::Renewed(fresh) => offer = Some(fresh),
            }
        }
    }

    /// Carries one queue through one session.
    async fn carry(
        &self,
        link: &mut Link,
        offer: Option<Vec<u8>>,
        backoff: &mut Backoff,
    ) -> Result<Carried, SessionError> {
        let identity = &self.identity;
        let hello = |offer: &ClientOffer| {
            let (context, now) = (identity.context(), self.clock.now());
            let resume = self.resume_point();
            offer.hello_stream(&identity.key, &context, now, resume, AdmissionToken::NONE)
        };
        let (session, status) = link
            .be_welcomed(&identity.root, &self.clock, offer, hello)
            .await?;
        self.lock().counts.sessions += 1;
        let mut carriage = Carriage {
            device: self,
            session,
            flight: Flight::new(status.max_in_flight),
        };
        carriage.resume(status.last_durable)?;
        loop {
            if self.lock().move_on()? {
                return Ok(Carried::Drained);
            }
            carriage.send(link).await?;
            tokio::select! {
                incoming = link.next() => match incoming? {
                    Incoming::Frame(frame) => {
                        carriage.hear(&frame)?;
                        backoff.reset();
                    }
                    Incoming::Offer(fresh) => return Ok(Carried::Renewed(fresh)),
                    Incoming::Welcome(_) => return Err(LinkError::OutOfTurn.into()),
                },
                () = self.news.notified() => {}
                () = carriage.due() => {}
                () = carriage.overdue() => return Err(LinkError::Late.into()),
            }
        }
    }

    fn resume_point(&self) -> Resume {
        let mut shared = self.lock();
        let queue = shared.sending();
        Resume {
            incarnation: queue.incarnation(),
            last_acknowledged: queue.settled(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic while it was held is a bug that ends its task; what it holds stays whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({:?})", self.identity.kid())
    }
}

/// How a session ended without an error.
enum Carried {
    /// Its queue is drained and another is to be sent.
    Drained,
    /// It is as old as a session may be: the service offers the next.
    Renewed(Vec<u8>),
}

enum SessionError {
    Link(LinkError),
    Queue(QueueError),
}

impl From<LinkError> for SessionError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<QueueError> for SessionError {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

/// One queue under way in one session.
struct Carriage<'a> {
    device: &'a Device,
    session: ClientSession,
    flight: Flight,
}

impl Carriage<'_> {
    /// Lets go of what the service has already.
    fn resume(
        &self,
        last_durable: Option<(Seq, pulseward_base::Digest)>,
    ) -> Result<(), QueueError> {
        let now = self.device.clock.now();
        let mut shared = self.device.lock();
        let known = resume(shared.sending().as_mut(), last_durable)?;
        let incarnation = shared.sending().incarnation();
        for batch in known {
            let place = (incarnation, batch.seq);
            shared.ledger.settled(place, Fate::Duplicate, now, None);
            shared.counts.duplicate += 1;
        }
        Ok(())
    }

    async fn send(&mut self, link: &Link) -> Result<(), LinkError> {
        let batches = {
            let now = self.device.clock.monotonic();
            let mut shared = self.device.lock();
            let queue = shared.sending();
            self.flight.take_off(queue.as_ref(), now)
        };
        for batch in batches {
            let frame = UpFrame::Batch(batch.payload);
            link.send_sealed(&mut self.session, &frame).await?;
        }
        Ok(())
    }

    fn hear(&mut self, frame: &[u8]) -> Result<(), SessionError> {
        match self.session.open(frame).map_err(LinkError::from)? {
            DownFrame::Answers(answers) => self.answers(&answers)?,
            DownFrame::Status(status) => self.device.clock.welcomed(status.time),
            DownFrame::Record { .. } => return Err(LinkError::OutOfTurn.into()),
        }
        Ok(())
    }

    fn answers(&mut self, answers: &Answers) -> Result<(), QueueError> {
        let clock = &self.device.clock;
        clock.welcomed(answers.time);
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let mut shared = self.device.lock();
        for answer in &answers.answers {
            if matches!(answer.outcome, Outcome::RetryAfter { .. }) {
                shared.counts.retries += 1;
            }
            let queue = shared.sending();
            if let Some(settled) = self.flight.answered(answer, queue.as_mut(), monotonic)? {
                shared.settled(&settled, now);
            }
        }
        Ok(())
    }

    /// Waits until sending may go on; for ever when nothing holds it up.
    async fn due(&self) {
        self.wait_until(self.flight.hold()).await;
    }

    /// Waits until an answer is overdue; for ever when nothing is under way.
    async fn overdue(&self) {
        let oldest = self.flight.oldest();
        self.wait_until(oldest.map(|at| at.saturating_add(ANSWER_PATIENCE)))
            .await;
    }

    async fn wait_until(&self, at: Option<Duration>) {
        match at {
            Some(at) => {
                let left = at.saturating_sub(self.device.clock.monotonic());
                tokio::time::sleep(left).await;
            }
            None => std::future::pending().await,
        }
    }
}
