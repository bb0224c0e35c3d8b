//! An enrolled device that does what none should.

use std::sync::Arc;

use pulseward_base::TicketId;
use pulseward_base::{Digest, Incarnation, Micros, Seq};
use pulseward_batch::{NewBatch, SignedBatch, digest::Place};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    client::ClientSession,
    frame::{AdmissionToken, DownFrame, Outcome, UpFrame},
    hello::{self, Resume},
    offer::ClientOffer,
    random,
    slips::{
        SealedHandle,
        ticket::{Riders, TicketSlip, TicketTerms},
    },
};
use pulseward_vitals::{Columns, Kind, Leaf, Row};
use tokio::task::JoinSet;

use super::{AttackReport, AttackSettings, forge};
use crate::{
    clock::DeviceClock,
    enrol::{EnrolError, Identity, enrol},
    flight::Fate,
    ledger::{Entry, Ledger},
    link::{Incoming, Link, LinkError, LinkSettings, connect},
    queue::new_incarnation,
};

/// How many batches an insider's ledger holds: it sends few in earnest.
const LEDGER: usize = 10_000;
/// A frame of the smallest size.
const FRAME: usize = 256;

/// An enrolled device of the attacker's.
#[derive(Debug)]
pub(super) struct Insider {
    identity: Identity,
    clock: DeviceClock,
    link: LinkSettings,
    ledger: Ledger,
}

/// A session that the insider is welcomed to, and the hello that opened it.
struct Inside {
    link: Link,
    session: ClientSession,
    hello: Vec<u8>,
}

impl Insider {
    pub(super) fn new(identity: Identity, clock: DeviceClock, link: LinkSettings) -> Self {
        Self {
            ledger: Ledger::new(identity.kid(), LEDGER),
            identity,
            clock,
            link,
        }
    }

    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) async fn forged_signature(&self, report: &mut AttackReport) {
        let other = SigningKey::generate();
        let batch = self.batch().sign(&other, &self.identity.context());
        report.note(&self.answer_to(batch.payload).await);
    }

    pub(super) async fn future_kind(&self, report: &mut AttackReport) {
        let now = self.clock.now().0;
        let leaf = forge::leaf(0x7fff, 0, &[(now, 1)]);
        report.note(&self.answer_to(self.forged(&[leaf])).await);
    }

    pub(super) async fn not_ascending(&self, report: &mut AttackReport) {
        let now = self.clock.now().0;
        let oxygen = || forge::leaf(Kind::SpO2.spec().number, 0, &[(now, 970)]);
        let heart = || forge::leaf(Kind::HeartRate.spec().number, 0, &[(now, 700)]);
        let same_times = forge::leaf(Kind::SpO2.spec().number, 0, &[(now, 970), (now, 969)]);
        let all = [
            vec![oxygen(), heart()],
            vec![heart(), heart()],
            vec![same_times],
        ];
        for leaves in all {
            report.note(&self.answer_to(self.forged(&leaves)).await);
        }
    }

    pub(super) async fn forged_ticket(&self, report: &mut AttackReport) {
        let (root, vault) = (SigningKey::generate(), SigningKey::generate());
        let now = self.clock.now();
        let until = Micros(now.0.saturating_add(3_600_000_000));
        let certificate = certificate::issue(&root, Use::Vault, &vault.point(), now, until);
        let terms = TicketTerms {
            id: TicketId(random::bytes()),
            root: self.identity.root,
            project: 1,
            expiry: until,
            scope: u64::MAX,
            consent_version: 1,
        };
        let riders = Riders {
            handle: random::bytes(),
            salt: random::bytes(),
            sealed_handle: SealedHandle(random::bytes()),
        };
        let slip = TicketSlip::issue(&certificate, &vault, &terms, &riders);
        let key = Arc::new(SigningKey::generate());
        let enrolled = enrol(&self.link, &self.clock, key, &slip, &[]).await;
        report.note(match &enrolled {
            Ok(_) => "accepted",
            Err(EnrolError::Rejected(reject)) => reject.code(),
            Err(EnrolError::Link(error)) => error.word().unwrap_or("lost"),
            Err(EnrolError::Slip(_) | EnrolError::Record(_)) => "lost",
        });
    }

    pub(super) async fn garbage(&self, report: &mut AttackReport) {
        for size in [0, 1, hello::SIZE - 1, hello::SIZE + 1, 100_000] {
            let noise = noise(size);
            report.note(
                &self
                    .ends_with(async |link| link.send_hello(noise).await)
                    .await,
            );
        }
        // Of the right size, for an offer that nobody made: offered anew until patience ends.
        let noise: Vec<_> = (0..32).map(|_| noise(hello::SIZE)).collect();
        let many = async |link: &mut Link| {
            for hello in noise {
                link.send_hello(hello).await?;
            }
            Ok(())
        };
        report.note(&self.ends_with(many).await);
    }

    pub(super) async fn out_of_turn(&self, report: &mut AttackReport) {
        let early = async |link: &mut Link| link.send_frame(noise(FRAME)).await;
        report.note(&self.ends_with(early).await);
    }

    pub(super) async fn oversized(&self, report: &mut AttackReport, size: usize) {
        let large = async |link: &mut Link| link.send_hello(vec![0; size]).await;
        report.note(&self.ends_with(large).await);
        if let Some(mut inside) = self.enter().await {
            let sent = inside.link.send_frame(vec![0; size]).await;
            report.note(&end_of(sent, &mut inside.link).await);
        }
    }

    pub(super) async fn unknown(&self, report: &mut AttackReport) {
        let stranger = SigningKey::generate();
        let entered = self.enter_as(&stranger).await;
        report.note(match &entered {
            Ok(_) => "accepted",
            Err(error) => error.word().unwrap_or("lost"),
        });
    }

    pub(super) async fn wrong_session_key(&self, report: &mut AttackReport) {
        let Some(mut inside) = self.enter().await else {
            return;
        };
        let sent = inside.link.send_frame(noise(FRAME)).await;
        report.note(&end_of(sent, &mut inside.link).await);
    }

    /// Sends a batch in earnest in one session, then the same frame in another.
    pub(super) async fn replayed_frame(&mut self, report: &mut AttackReport) {
        let Some((frame, _)) = self.send_in_earnest().await else {
            return;
        };
        if let Some(mut inside) = self.enter().await {
            let sent = inside.link.send_frame(frame).await;
            report.note(&end_of(sent, &mut inside.link).await);
        }
    }

    /// Sends a batch in earnest, then hello and frame once more, as somebody on the way would.
    pub(super) async fn replayed_hello(&mut self, report: &mut AttackReport) {
        let Some((frame, hello)) = self.send_in_earnest().await else {
            return;
        };
        let replay = async |link: &mut Link| {
            link.send_hello(hello).await?;
            match link.next_soon().await? {
                Incoming::Welcome(_) => link.send_frame(frame).await,
                Incoming::Offer(_) | Incoming::Frame(_) => Err(LinkError::OutOfTurn),
            }
        };
        report.note(&self.ends_with(replay).await);
    }

    pub(super) async fn flood(&self, report: &mut AttackReport, settings: &AttackSettings) {
        let streams = u32::try_from(settings.flood_streams.max(1)).unwrap_or(1);
        let mut left = settings.flood;
        while left > 0 {
            let mut wave = JoinSet::new();
            for _ in 0..left.min(streams) {
                left -= 1;
                let link = self.link.clone();
                wave.spawn(async move { one_of_a_flood(&link).await });
            }
            while let Some(word) = wave.join_next().await {
                report.note(word.as_deref().unwrap_or("lost"));
            }
        }
    }

    async fn enter(&self) -> Option<Inside> {
        self.enter_as(&self.identity.key).await.ok()
    }

    async fn enter_as(&self, key: &SigningKey) -> Result<Inside, LinkError> {
        let mut link = Link::open(connect(&self.link).await?, &self.link).await?;
        let mut said = Vec::new();
        let resume = Resume {
            incarnation: new_incarnation(self.clock.now()),
            last_acknowledged: None,
        };
        let hello = |offer: &ClientOffer| {
            let (context, now) = (self.identity.context(), self.clock.now());
            let (message, pending) =
                offer.hello_stream(key, &context, now, resume, AdmissionToken::NONE)?;
            said.clone_from(&message);
            Ok((message, pending))
        };
        let root = &self.identity.root;
        let (session, _) = link.be_welcomed(root, &self.clock, None, hello).await?;
        Ok(Inside {
            link,
            session,
            hello: said,
        })
    }

    /// Opens a stream, takes the offer, does `harm` and returns the word that the stream ends with.
    async fn ends_with(
        &self,
        harm: impl AsyncFnOnce(&mut Link) -> Result<(), LinkError>,
    ) -> String {
        let opened = async {
            let mut link = Link::open(connect(&self.link).await?, &self.link).await?;
            link.offer().await?;
            Ok::<_, LinkError>(link)
        };
        let mut link = match opened.await {
            Ok(link) => link,
            Err(error) => return word_of(&error),
        };
        let done = harm(&mut link).await;
        end_of(done, &mut link).await
    }

    /// Sends a payload as a batch in a good session and returns the word it is answered with.
    async fn answer_to(&self, payload: Vec<u8>) -> String {
        let Some(mut inside) = self.enter().await else {
            return "lost".into();
        };
        match inside.send(payload).await {
            Ok((_, outcome)) => word_of_outcome(outcome).into(),
            Err(error) => word_of(&error),
        }
    }

    /// Returns the frame and the hello of a batch that the service took.
    async fn send_in_earnest(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let columns = self.columns();
        let batch = self.signed(&columns);
        let mut inside = self.enter().await?;
        let (frame, outcome) = inside.send(batch.payload.clone()).await.ok()?;
        self.enter_in_ledger(&batch, &columns, outcome);
        Some((frame, inside.hello))
    }

    fn enter_in_ledger(&mut self, batch: &SignedBatch, columns: &Columns, outcome: Outcome) {
        let place = batch.place;
        self.ledger.made(Entry {
            incarnation: place.incarnation,
            seq: place.seq,
            digest: batch.digest,
            rows: columns.rows(),
            made: place.time,
            fate: None,
            answered: None,
            took: None,
        });
        let fate = match outcome {
            Outcome::Durable | Outcome::Proven => Fate::Durable,
            Outcome::Duplicate => Fate::Duplicate,
            Outcome::Rejected(reject) => Fate::Rejected(reject),
            Outcome::RetryAfter { .. } => return,
        };
        let key = (place.incarnation, place.seq);
        self.ledger.settled(key, fate, self.clock.now(), None);
    }

    fn columns(&self) -> Columns {
        columns(self.clock.now())
    }

    fn signed(&self, columns: &Columns) -> SignedBatch {
        NewBatch::new(self.place(), columns).sign(&self.identity.key, &self.identity.context())
    }

    fn batch(&self) -> OwnedBatch {
        OwnedBatch {
            place: self.place(),
            columns: self.columns(),
        }
    }

    fn forged(&self, leaves: &[Vec<u8>]) -> Vec<u8> {
        let context: Digest = self.identity.context();
        forge::batch(&self.identity.key, &context, &self.place(), leaves)
    }

    /// Returns the first place of a new queue.
    fn place(&self) -> Place {
        let now = self.clock.now();
        let incarnation: Incarnation = new_incarnation(now);
        Place {
            incarnation,
            seq: Seq(0),
            time: now,
        }
    }
}

/// A batch that is not signed yet.
struct OwnedBatch {
    place: Place,
    columns: Columns,
}

impl OwnedBatch {
    fn sign(&self, key: &SigningKey, ctx: &Digest) -> SignedBatch {
        NewBatch::new(self.place, &self.columns).sign(key, ctx)
    }
}

impl Inside {
    /// Sends a payload as a batch. Returns the frame as it went and the first answer.
    async fn send(&mut self, payload: Vec<u8>) -> Result<(Vec<u8>, Outcome), LinkError> {
        let frame = self.session.seal(&UpFrame::Batch(payload))?;
        self.link.send_frame(frame.clone()).await?;
        match self.link.frame_soon(&mut self.session).await? {
            DownFrame::Answers(answers) => {
                let first = answers.answers.first().ok_or(LinkError::OutOfTurn)?;
                Ok((frame, first.outcome))
            }
            DownFrame::Status(_) | DownFrame::Record { .. } => Err(LinkError::OutOfTurn),
        }
    }
}

/// Makes the service do public-key work: the offer is real, the seal is noise.
async fn one_of_a_flood(settings: &LinkSettings) -> String {
    let tried = async {
        let mut link = Link::open(connect(settings).await?, settings).await?;
        let offer = link.offer().await?;
        let id = offer_id(&offer);
        let mut hello = noise(hello::SIZE);
        // offer id | suite 1 | no token | enc: a real point, so that the work is done | noise
        let point = pulseward_crypto::seal::KeyPair::generate();
        let head = id.iter().chain(&[1]).chain(&[0; 16]).chain(point.public());
        for (to, from) in hello.iter_mut().zip(head) {
            *to = *from;
        }
        link.send_hello(hello).await?;
        Ok::<_, LinkError>(link)
    };
    match tried.await {
        Ok(mut link) => end_of(Ok(()), &mut link).await,
        Err(error) => word_of(&error),
    }
}

fn offer_id(message: &[u8]) -> Vec<u8> {
    let offer = message.get(certificate::SIZE..).unwrap_or_default();
    let digest = pulseward_crypto::hash::sha256(&[offer]);
    digest.0.iter().take(16).copied().collect()
}

/// Waits for the end of the stream and returns its word; what comes before it is passed over.
async fn end_of(done: Result<(), LinkError>, link: &mut Link) -> String {
    if let Err(error) = &done
        && !matches!(error, LinkError::Ended(_))
    {
        return word_of(error);
    }
    loop {
        match link.next_soon().await {
            Ok(Incoming::Frame(_)) => return "accepted".into(),
            Ok(Incoming::Offer(_) | Incoming::Welcome(_)) => {}
            Err(error) => return word_of(&error),
        }
    }
}

fn word_of(error: &LinkError) -> String {
    error.word().unwrap_or("lost").to_owned()
}

const fn word_of_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Durable | Outcome::Proven => "accepted",
        Outcome::Duplicate => "duplicate",
        Outcome::Rejected(reject) => reject.code(),
        Outcome::RetryAfter { .. } => "retry_after",
    }
}

fn columns(now: Micros) -> Columns {
    let leaf = Leaf {
        kind: Kind::HeartRate,
        channel: 0,
        rows: vec![Row {
            time: now,
            value: 720,
            quality: 0,
        }],
    };
    // One leaf with one row is in order whatever it says.
    #[expect(clippy::expect_used, reason = "one leaf with one row is in order")]
    Columns::new(vec![leaf]).expect("one leaf with one row is in order")
}

fn noise(size: usize) -> Vec<u8> {
    let mut noise = Vec::with_capacity(size);
    while noise.len() < size {
        noise.extend(random::bytes::<64>());
    }
    noise.truncate(size);
    noise
}
