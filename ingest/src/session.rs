//! Leads one stream: offer, hello, welcome, then frames until an end. What a device may do at each
//! point is what the point's function reads; everything else ends the stream.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use pulseward_base::{Digest, Reject, Seq};
use pulseward_crypto::{
    frame::{Answer, Answers, DownFrame, Outcome, Status as SessionStatus},
    hello::{Envelope, Purpose, VerifiedHello},
    offer::ServiceOffer,
    random,
    session::{OpenedFrame, ServerSession},
};
use pulseward_proto_pipeline::v1::{
    Down, Up, down::Message as DownMessage, up::Message as UpMessage,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tonic::{Code, Status, Streaming};

use crate::{
    accept::{Device, Landed, Refusal, UnderWay},
    devices::Credential,
    error::status_of,
    live::Presence,
    metrics::{End, Wait},
    shared::{Core, Fork},
};

/// Why a stream goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The peer did something that ends a stream. Counted when it was found.
    Refused(Reject),
    /// Anything else.
    Because(End),
}

impl Ending {
    const fn why(self) -> End {
        match self {
            Self::Refused(_) => End::Refused,
            Self::Because(end) => end,
        }
    }

    /// Returns the status that tells the peer; none is a good end.
    fn status(self) -> Option<Status> {
        match self {
            Self::Refused(reject) => Some(status_of(reject)),
            Self::Because(end) => match end {
                End::Closed | End::Drained | End::Expired => None,
                End::Displaced => Some(Status::aborted(end.word())),
                End::Silent => Some(Status::deadline_exceeded(end.word())),
                End::Unavailable => Some(Status::unavailable(end.word())),
                End::Refused => Some(status_of(Reject::OverLimit)),
                // The same word as for a device that was never known.
                End::Withdrawn => Some(status_of(Reject::NotAdmitted)),
            },
        }
    }
}

/// One stream.
pub(crate) struct Stream {
    pub(crate) core: Arc<Core>,
    inbound: Streaming<Up>,
    outbound: mpsc::Sender<Result<Down, Status>>,
}

/// A device that is welcomed.
struct Welcomed {
    session: ServerSession,
    device: Device,
    until: Instant,
}

impl Stream {
    pub(crate) const fn new(
        core: Arc<Core>,
        inbound: Streaming<Up>,
        outbound: mpsc::Sender<Result<Down, Status>>,
    ) -> Self {
        Self {
            core,
            inbound,
            outbound,
        }
    }

    /// Leads the stream to its end.
    pub(crate) async fn lead(mut self) {
        let ending = match self.sessions().await {
            Ok(never) => match never {},
            Err(ending) => ending,
        };
        self.core.metrics.ended(ending.why());
        if let Some(status) = ending.status() {
            let told = timeout(self.core.settings.write, self.outbound.send(Err(status)));
            // A peer that does not read its status does not learn it.
            let _unheard = told.await;
        }
    }

    /// One session after the other, each under a fresh offer.
    async fn sessions(&mut self) -> Result<std::convert::Infallible, Ending> {
        let mut is_first = true;
        loop {
            let (hello, credential) = self.hello(is_first).await?;
            is_first = false;
            match credential {
                Some(credential) => {
                    let welcomed = self.welcome(hello, credential).await?;
                    self.batches(welcomed).await?;
                }
                None => {
                    self.enrol(hello).await?;
                    return Err(Ending::Because(End::Closed));
                }
            }
        }
    }

    /// Offers and listens until a hello holds. The device's credential comes with one that is to
    /// send; one that is to enrol has none yet.
    async fn hello(
        &mut self,
        is_first: bool,
    ) -> Result<(VerifiedHello, Option<Arc<Credential>>), Ending> {
        let deadline = Instant::now() + self.core.settings.first_frame;
        // What was under way when the session before expired.
        let mut stale = if is_first {
            0
        } else {
            2 * u32::from(self.core.settings.session_in_flight)
        };
        let mut offers = 0;
        self.offer().await?;
        loop {
            let message = match self.next(deadline).await? {
                UpMessage::Hello(message) => message,
                UpMessage::Frame(_) if stale > 0 => {
                    stale -= 1;
                    continue;
                }
                UpMessage::Frame(_) => return Err(self.refuse(Reject::WrongSession)),
            };
            let envelope = Envelope::decode(&message).map_err(|reject| self.refuse(reject))?;
            if let Some(offer) = self.core.offer_of(&envelope) {
                return self.open_hello(offer, message).await;
            }
            offers += 1;
            if offers > self.core.settings.offers_per_stream {
                return Err(self.refuse(Reject::WrongSession));
            }
            self.offer().await?;
        }
    }

    /// Does a hello's public-key work, where there is room for it.
    async fn open_hello(
        &self,
        offer: Arc<ServiceOffer>,
        message: Vec<u8>,
    ) -> Result<(VerifiedHello, Option<Arc<Credential>>), Ending> {
        if !self.core.view_is_fresh() {
            return Err(Ending::Because(End::Unavailable));
        }
        let entered = self.core.gate.enter(self.core.clock.monotonic()).await;
        let entrance = entered.map_err(|reject| self.refuse(reject))?;
        let core = Arc::clone(&self.core);
        let judged = tokio::task::spawn_blocking(move || {
            let _until_done = entrance;
            core.judge(&offer, &message)
        });
        match judged.await {
            Ok(Ok(verified)) => {
                self.core.metrics.hello();
                Ok(verified)
            }
            Ok(Err(reject)) => Err(self.refuse(reject)),
            Err(_panicked_or_stopping) => Err(Ending::Because(End::Unavailable)),
        }
    }

    async fn offer(&self) -> Result<(), Ending> {
        let offer = self.core.offers.current();
        let offer = offer.ok_or(Ending::Because(End::Unavailable))?;
        self.send(DownMessage::Offer(offer.message().to_vec()))
            .await
    }

    async fn welcome(
        &self,
        hello: VerifiedHello,
        credential: Arc<Credential>,
    ) -> Result<Welcomed, Ending> {
        let core = &self.core;
        let now = core.now();
        let resume = hello.resume();
        let device = Device::new(credential, now.0.saturating_sub(hello.time().0));
        let last = core.marks.last_durable(device.kid(), resume.incarnation);
        let status = core.status(last);
        let welcomed = hello.welcome(random::bytes(), &status);
        let (message, session) = welcomed.map_err(|reject| self.refuse(reject))?;
        self.send(DownMessage::Welcome(message)).await?;
        Ok(Welcomed {
            session,
            device,
            until: Instant::now() + core.settings.session_life,
        })
    }

    /// Takes batches until the session is as old as it may be; any other end is an error.
    async fn batches(&mut self, mut welcomed: Welcomed) -> Result<(), Ending> {
        let mut under_way = FuturesUnordered::new();
        let ended = self.take_batches(&mut welcomed, &mut under_way).await;
        // Whatever the end: what is on its way to the log is settled, and told if it can be.
        let mut last = Vec::new();
        while let Some(landed) = under_way.next().await {
            last.extend(self.landed(&mut welcomed.device, landed));
        }
        let can_be_told = !matches!(ended, Err(Ending::Because(End::Closed | End::Silent)));
        if can_be_told && let Err(unheard) = self.answer(&mut welcomed.session, last).await {
            tracing::debug!(?unheard, "the last answers were not heard");
        }
        ended
    }

    async fn take_batches(
        &mut self,
        welcomed: &mut Welcomed,
        under_way: &mut FuturesUnordered<UnderWay>,
    ) -> Result<(), Ending> {
        let most = usize::from(self.core.settings.session_in_flight);
        let draining = self.core.draining.clone();
        let mut presence: Option<Presence> = None;
        let mut quiet_until = Instant::now() + self.core.settings.first_frame;
        loop {
            let mut answers = Vec::new();
            tokio::select! {
                biased;
                () = draining.cancelled() => return Err(Ending::Because(End::Drained)),
                why = withdrawn(&mut presence) => return Err(Ending::Because(why)),
                Some(landed) = under_way.next(), if !under_way.is_empty() => {
                    answers.extend(self.landed(&mut welcomed.device, landed));
                    while let Some(Some(landed)) = under_way.next().now_or_never() {
                        answers.extend(self.landed(&mut welcomed.device, landed));
                    }
                }
                message = self.next(quiet_until), if under_way.len() < most => {
                    let UpMessage::Frame(sealed) = message? else {
                        return Err(self.refuse(Reject::WrongSession));
                    };
                    let Welcomed { session, device, .. } = &mut *welcomed;
                    let taken = self.core.accept_batch(session, device, &sealed).await;
                    // Only an opened frame is a sign of life, and only it displaces a session.
                    let is_opened = !matches!(taken, Err(Refusal::Session(_) | Refusal::End(_)));
                    if is_opened && presence.is_none() {
                        presence = Some(self.core.live.enter(welcomed.device.kid()));
                    }
                    quiet_until = Instant::now() + self.core.settings.idle;
                    match taken {
                        Ok(pending) => under_way.push(pending),
                        Err(Refusal::Session(reject)) => return Err(self.refuse(reject)),
                        Err(Refusal::End(end)) => return Err(Ending::Because(end)),
                        Err(Refusal::Answer(answer)) => answers.push(answer),
                        Err(Refusal::Fork(fork)) => {
                            let answer = self.quarantine(&mut welcomed.device, &fork).await;
                            answers.push(answer);
                        }
                    }
                }
                () = sleep_until(welcomed.until) => return Ok(()),
            }
            self.answer(&mut welcomed.session, answers).await?;
            if welcomed.device.faults > self.core.settings.faults {
                return Err(Ending::Because(End::Refused));
            }
        }
    }

    /// Puts a fork on record; until that is durable the device is to come again.
    async fn quarantine(&self, device: &mut Device, fork: &Fork) -> Answer {
        match self.core.quarantine(&device.credential, fork).await {
            Ok(()) => device.rejected(&self.core, fork.place.seq, fork.d8(), Reject::Forked),
            Err(error) => {
                self.core.log_failed(&error);
                device.retry(&self.core, fork.place, fork.d8(), Wait::Log)
            }
        }
    }

    fn landed(&self, device: &mut Device, landed: Landed) -> Option<Answer> {
        device.landed(&self.core, landed)
    }

    async fn answer(
        &self,
        session: &mut ServerSession,
        answers: Vec<Answer>,
    ) -> Result<(), Ending> {
        if answers.is_empty() {
            return Ok(());
        }
        let time = self.core.now();
        self.send_sealed(session, &DownFrame::Answers(Answers { time, answers }))
            .await
    }

    /// Enrols the device that said `hello`: one frame, one answer.
    async fn enrol(&mut self, hello: VerifiedHello) -> Result<(), Ending> {
        let status = self.core.status(None);
        let welcomed = hello.welcome(random::bytes(), &status);
        let (message, mut session) = welcomed.map_err(|reject| self.refuse(reject))?;
        self.send(DownMessage::Welcome(message)).await?;
        let deadline = Instant::now() + self.core.settings.first_frame;
        let UpMessage::Frame(sealed) = self.next(deadline).await? else {
            return Err(self.refuse(Reject::WrongSession));
        };
        let opened = session
            .open(&sealed)
            .map_err(|reject| self.refuse(reject))?;
        let OpenedFrame::Enrol(wish) = opened else {
            return Err(self.refuse(Reject::WrongSession));
        };
        let answer = match self.core.enrol(*wish).await {
            Ok(record) => record,
            Err(outcome) => {
                if let Outcome::Rejected(reject) = outcome {
                    self.core.metrics.reject(reject);
                }
                let answer = Answer {
                    seq: Seq(0),
                    d8: [0; 8],
                    outcome,
                };
                DownFrame::Answers(Answers {
                    time: self.core.now(),
                    answers: vec![answer],
                })
            }
        };
        self.send_sealed(&mut session, &answer).await
    }

    /// Waits for the peer's next message. It may be dropped and called again without losing one.
    async fn next(&mut self, deadline: Instant) -> Result<UpMessage, Ending> {
        let message = tokio::select! {
            () = self.core.draining.cancelled() => return Err(Ending::Because(End::Drained)),
            message = timeout_at(deadline, self.inbound.message()) => message,
        };
        match message {
            Err(_late) => Err(Ending::Because(End::Silent)),
            Ok(Ok(None)) => Err(Ending::Because(End::Closed)),
            Ok(Ok(Some(up))) => up.message.ok_or_else(|| self.refuse(Reject::Malformed)),
            Ok(Err(status)) => Err(match status.code() {
                Code::OutOfRange => self.refuse(Reject::TooLarge),
                Code::Internal | Code::Unimplemented => self.refuse(Reject::Malformed),
                _ => Ending::Because(End::Closed),
            }),
        }
    }

    async fn send_sealed(
        &self,
        session: &mut ServerSession,
        frame: &DownFrame,
    ) -> Result<(), Ending> {
        let sealed = session.seal(frame).map_err(|reject| self.refuse(reject))?;
        self.send(DownMessage::Frame(sealed)).await
    }

    async fn send(&self, message: DownMessage) -> Result<(), Ending> {
        let message = Ok(Down {
            message: Some(message),
        });
        match timeout(self.core.settings.write, self.outbound.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(Ending::Because(End::Closed)),
            Err(_late) => Err(Ending::Because(End::Silent)),
        }
    }

    /// Counts a rejection that ends the stream.
    fn refuse(&self, reject: Reject) -> Ending {
        self.core.metrics.reject(reject);
        Ending::Refused(reject)
    }
}

impl Core {
    /// Opens and verifies a hello. Who is unknown, revoked or forged gets one answer at one cost.
    fn judge(
        &self,
        offer: &ServiceOffer,
        message: &[u8],
    ) -> Result<(VerifiedHello, Option<Arc<Credential>>), Reject> {
        let opened = offer.open_hello(message)?;
        if opened.purpose() == Purpose::Enrol {
            return Ok((opened.verify_enrolling()?, None));
        }
        let known = self.devices.find(opened.kid());
        let Some(credential) = known.filter(|credential| credential.is_active()) else {
            return Err(opened.refuse());
        };
        let verified = opened.verify(&credential.key, &credential.device.record)?;
        Ok((verified, Some(credential)))
    }

    /// Returns what a device is told when it is welcomed.
    fn status(&self, last_durable: Option<(Seq, Digest)>) -> SessionStatus {
        let settings = &self.settings;
        SessionStatus {
            time: self.now(),
            last_durable,
            max_in_flight: settings.session_in_flight,
            max_batch_bytes: settings.max_batch_bytes(),
            max_backlog_age_seconds: seconds(settings.max_backlog_age),
            tokens: Vec::new(),
        }
    }
}

/// Waits until the session is ended from outside; for ever before it is live.
async fn withdrawn(presence: &mut Option<Presence>) -> End {
    match presence {
        Some(presence) => presence.ended().await,
        None => std::future::pending().await,
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
