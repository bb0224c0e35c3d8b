//! One batch of one device, followed from the sensor's numbers to an alert and a row in a file.
//!
//! This is to be read from top to bottom, beside `docs/LIFE_OF_A_BATCH.md`. It calls, one after the
//! other, what the stages call in their loops; keys, log and files are the real ones. Where a step
//! refuses somebody, it shows that as well.

use std::{fs, path::Path, sync::Arc, time::Duration};

use pulseward::{
    authority::{Signer, Signers},
    config::Config,
    foundation::Foundation,
    home::Home,
};
use pulseward_base::{AlertId, Micros, Offset, Partition, Reject, Seq, SlipId, TicketId};
use pulseward_batch::{
    Arrival, BindingFacts, NewBatch, OpenedBatch, PseudonymousBatch, digest::Place,
};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    client::ClientSession,
    frame::{AdmissionToken, Answer, Answers, DownFrame, Outcome, Status, UpFrame, d8},
    hello::Resume,
    offer::{ClientOffer, ServiceOffer},
    random,
    session::{OpenedFrame, ServerSession},
    slips::{
        SealedHandle, TicketSlip, TicketTerms, WayBack, WayBackTerms,
        record::{self, Record},
        ticket::Riders,
    },
};
use pulseward_custody::{Admission, AdmitRequest, KeySource as _, Passphrase};
use pulseward_detector::Detector;
use pulseward_device::queue::{FileQueue, Queue as _, QueueLimits, Waiting, new_incarnation};
use pulseward_eventlog::{
    Body, Content, Entry, Log, NewEntry, Position, ReadLimits, Topic,
    body::{Alert, Bind, Lane},
};
use pulseward_history::{Historian, HistorianTools, Store, rows::Rows, schema::FileKind, verify};
use pulseward_vitals::{Columns, Kind, Leaf, Limits, Row};
use tokio_util::sync::CancellationToken;

use crate::ward::PATIENCE;

/// A patient who is very ill: each of these alone scores three points in NEWS2.
const READINGS: [(Kind, i32); 3] = [
    (Kind::HeartRate, 1_380),     // 138.0 /min
    (Kind::SpO2, 880),            // 88.0 %
    (Kind::RespiratoryRate, 290), // 29.0 /min
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_batch_from_the_sensor_to_an_alert_and_a_row() {
    let directory = tempfile::tempdir().unwrap();
    let story = Story::begin(directory.path()).await;
    let (queue, signed) = story.on_the_device();
    let position = story.at_the_door(queue, &signed).await;
    story.to_the_alert(position).await;
    story.into_the_row().await;
}

/// What the chapters share: who there is, and the log in which the stages meet.
struct Story<'a> {
    directory: &'a Path,
    vault: Vault,
    foundation: Foundation,
    signers: Signers,
    log: Log,
    device: SigningKey,
    admission: Admission,
    now: Micros,
}

impl<'a> Story<'a> {
    /// Before the first batch: everybody is introduced.
    async fn begin(directory: &'a Path) -> Self {
        // The clinic's vault knows persons. Here it is a key and the root that certified it.
        let vault = Vault::new();
        // The pipeline: a custodian sealed by a passphrase, its root and the keys it certified, the
        // key registry, the log. It is told one thing of the vault: its root's name.
        let (foundation, signers) = open(directory, &vault);
        let log = foundation.log(&home(directory, &vault)).await.unwrap();
        let now = foundation.clock.now();

        // The vault gives the patient's device a ticket. In it the person is a handle that nobody
        // but the vault can open, and a commitment to it.
        let device = SigningKey::generate();
        let slip = vault.ticket(&foundation, now);
        let admission = admit(&foundation, &device, slip.clone(), now)
            .await
            .unwrap();
        // The device learns that it is enrolled, and nothing of the pseudonym; the log learns whose
        // device it is, and nothing of the person.
        Record::decode(&admission.record).unwrap();
        bind(&log, &admission).await;
        // A ticket is worth one key: another is refused.
        let thief = admit(&foundation, &SigningKey::generate(), slip, now).await;
        assert!(thief.is_err());
        Self {
            directory,
            vault,
            foundation,
            signers,
            log,
            device,
            admission,
            now,
        }
    }

    /// Steps 1 to 3.
    fn on_the_device(&self) -> (FileQueue, Waiting) {
        // All that the device signs is signed *in* its enrolment.
        let ctx = record::digest(&self.admission.record);
        // Three readings of one moment, as columns in the one order that there is.
        let columns = columns(self.now);
        let place = Place {
            incarnation: new_incarnation(self.now),
            seq: Seq(0),
            time: self.now,
        };
        // Signed once, when it is made. D binds device, enrolment, place and every row; a fresh
        // seed salts each leaf, so that nobody guesses a dropped row from a digest that was kept.
        let signed = NewBatch::new(place, &columns).sign(&self.device, &ctx);
        let digest = signed.digest;
        let again = NewBatch::new(place, &columns).sign(&self.device, &ctx);
        assert_ne!(again.digest, digest);
        // Kept on the device before it is sent; only an answer to this very D lets it go.
        let (at, limits) = (self.directory.join("device"), QueueLimits::default());
        let mut queue = FileQueue::create(&at, place.incarnation, limits).unwrap();
        queue.push(signed).unwrap();
        let waiting = queue.waiting(1, &|_| false).remove(0);
        assert_eq!((waiting.seq, waiting.digest), (Seq(0), digest));
        (queue, waiting)
    }

    /// Steps 4 to 14: where the batch comes to stand in the log.
    async fn at_the_door(&self, mut queue: FileQueue, waiting: &Waiting) -> Position {
        // A session inside TLS, with keys that both sides contributed to. Who ends the TLS sees
        // sizes and times only, and sizes are powers of two.
        let (mut device, mut service) = self.session();
        let frame = UpFrame::Batch(waiting.payload.clone());
        let frame = device.seal(&frame).unwrap();
        assert!(frame.len().is_power_of_two());
        // Another session opens nothing of it, not even one of the same device.
        let (_, mut other) = self.session();
        assert_eq!(other.open(&frame).unwrap_err(), Reject::BadSeal);
        // This one does.
        let OpenedFrame::Batch(opened) = service.open(&frame).unwrap() else {
            panic!("a batch was sent");
        };
        // Its form first, within bounds, before any public-key work.
        let opened = OpenedBatch::parse(&opened, Limits::default()).unwrap();
        // Then the signature, and whether the patient agreed to every kind in it.
        let batch = self.verified(opened);
        assert_eq!(batch.digest(), waiting.digest);
        // Sealed under the patient's own key, bound to its place, one sync for all who wait.
        let position = self.log.append_batch(batch).await.unwrap();
        // Only now, with the batch on the disk, the answer; it carries the start of D.
        let answer = Answer {
            seq: waiting.seq,
            d8: d8(&waiting.digest),
            outcome: Outcome::Durable,
        };
        let answers = Answers {
            time: self.now,
            answers: vec![answer],
        };
        let sealed = service.seal(&DownFrame::Answers(answers)).unwrap();
        let DownFrame::Answers(heard) = device.open(&sealed).unwrap() else {
            panic!("answers were sent");
        };
        let heard = heard.answers[0];
        assert_eq!((heard.outcome, heard.d8), (Outcome::Durable, waiting.d8()));
        queue.settle(heard.seq).unwrap();
        assert!(queue.is_empty());
        position.expect("the embedded log knows where")
    }

    /// Steps 15 to 24.
    async fn to_the_alert(&self, position: Position) {
        // Whoever follows the feed sees a batch under a pseudonym, and where it stands.
        let feed = self.read(Topic::Feed).await;
        let entry = feed.iter().find(|entry| entry.position == position);
        let Content::Batch(stored) = &entry.unwrap().content else {
            panic!("the batch stands there");
        };
        assert_eq!(stored.pseudonym, self.admission.pseudonym);
        assert_eq!(stored.contents.columns, columns(self.now));
        // The detector is a pure function of the feed; what it says names what caused it.
        self.detect().await;
        let scores = self.read(Topic::Scores).await;
        let score = scores.iter().find_map(|entry| match &entry.content {
            Content::Body(Body::Score(score)) => Some((entry.outputs.unwrap(), score)),
            _ => None,
        });
        let (outputs, score) = score.expect("a score");
        assert_eq!(outputs.cause.position, position);
        // Three vitals of seven: the score is an interval, and what is missing is never a zero.
        assert_eq!((score.lane, score.low), (Lane::Rules, 9));
        assert!(score.high > score.low);
        let mut alerts = self.read(Topic::Alerts).await.into_iter();
        let alert = alerts.find_map(|entry| match entry.content {
            Content::Body(Body::Alert(alert)) => Some(alert),
            _ => None,
        });
        let alert = alert.expect("an alert");
        assert_eq!(alert.pseudonym, self.admission.pseudonym);
        // From an alert a clinician gets a slip. It says which alert, and to the vault alone who;
        // a vault believes the root of its own pipeline and no other.
        let slip = way_back(&self.signers.delivery, &alert, self.now);
        let slip = WayBack::decode(&slip).unwrap();
        let asked = slip.verify(&self.foundation.root, self.now).unwrap();
        assert_eq!(
            (asked.alert, asked.sealed_handle),
            (alert.id, self.vault.handle)
        );
        let elsewhere = SigningKey::generate().kid();
        assert!(slip.verify(&elsewhere, self.now).is_err());
    }

    /// Steps 25 to 29.
    async fn into_the_row(self) {
        // Files and the positions behind them are committed in one step, under a signed manifest.
        let history = self.directory.join("history");
        store(&self.foundation, self.signers.history, &self.log, &history).await;
        let (keys, root) = (Arc::new(self.foundation.registry), self.foundation.root);
        let store = Store::open(&history, Arc::clone(&keys) as _, root)
            .await
            .unwrap();
        let mut rows = Vec::new();
        let show = |_, file| {
            if let Rows::Readings(readings) = file {
                rows.extend(
                    readings
                        .into_iter()
                        .map(|row| (row.kind, row.raw, row.pseudonym)),
                );
            }
        };
        store.rows(FileKind::Readings, show).await.unwrap();
        rows.sort();
        assert_eq!(
            rows,
            READINGS.map(|(kind, raw)| (kind, raw, self.admission.pseudonym))
        );
        // Years later, from the files and the root's name alone: each row is what the device signed.
        let report = verify(&history, keys, root).await.unwrap();
        assert!(report.holds());
        assert_eq!((report.verified, report.unproven, report.rows), (1, 0, 3));
        // And who has the disk alone has no reading: neither from the log nor from the files.
        for leaf in columns(self.now).leaves() {
            let row = leaf.rows[0];
            let plain = [&row.time.0.to_le_bytes()[..], &row.value.to_le_bytes()].concat();
            assert!(!holds(self.directory, &plain));
        }
    }

    /// Offer, hello, welcome.
    fn session(&self) -> (ClientSession, ServerSession) {
        let (ctx, now) = (record::digest(&self.admission.record), self.now);
        let (root, device) = (self.foundation.root, &self.device);
        let Signer { key, certificate } = &self.signers.service;
        let until = Micros(now.0 + 1_800_000_000);
        let offer = ServiceOffer::new(&root, certificate, key, now, until);
        // The device pins the root that its ticket named: an offer under another is none.
        let other = SigningKey::generate().kid();
        assert!(ClientOffer::check(offer.message(), &other, now).is_err());
        let checked = ClientOffer::check(offer.message(), &root, now).unwrap();
        let resume = Resume {
            incarnation: new_incarnation(now),
            last_acknowledged: None,
        };
        let hello = checked.hello_stream(device, &ctx, now, resume, AdmissionToken::NONE);
        let (hello, pending) = hello.unwrap();
        let opened = offer.open_hello(&hello).unwrap();
        let verified = opened.verify(&device.verifying_key(), &ctx).unwrap();
        let status = Status {
            time: now,
            last_durable: None,
            max_in_flight: 32,
            max_batch_bytes: 65_536,
            max_backlog_age_seconds: 3_600,
            tokens: vec![],
        };
        // A fresh number of the service in every session: a replayed hello opens nothing.
        let (welcome, service) = verified.welcome(random::bytes(), &status).unwrap();
        (pending.welcome(&welcome).unwrap().0, service)
    }

    /// What was opened, as what may go into the log: there is no other way to one.
    fn verified(&self, opened: OpenedBatch) -> PseudonymousBatch {
        let admission = &self.admission;
        let ctx = record::digest(&admission.record);
        let key = self.device.verifying_key();
        let verified = opened.verify(&key, &ctx, admission.scope).unwrap();
        let facts = BindingFacts {
            device: self.device.kid(),
            record: ctx,
            pseudonym: admission.pseudonym,
            key: admission.key,
            slot: admission.slot,
        };
        let arrival = Arrival {
            received: self.now,
            clock_offset: 0,
        };
        verified.pseudonymise(&facts, arrival).unwrap()
    }

    async fn read(&self, topic: Topic) -> Vec<Entry> {
        let (partition, limits) = (Partition(0), ReadLimits::default());
        let entries = self.log.read(topic, partition, Offset(0), limits).await;
        entries.unwrap()
    }

    /// Runs the detector until it has told of an alert. One vote is enough: there is one batch.
    async fn detect(&self) {
        let metrics = pulseward_detector::Metrics::new(&self.foundation.metrics).unwrap();
        let mut settings = pulseward_detector::Settings::default();
        settings.judgement.rules.m = 1;
        let clock = Arc::clone(&self.foundation.clock);
        let detector = Detector::new(self.log.clone(), settings, metrics, clock);
        let stop = CancellationToken::new();
        let running = tokio::spawn(detector.run([Partition(0)], stop.clone()));
        let alerted = async {
            while self.read(Topic::Alerts).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let alerted = tokio::time::timeout(PATIENCE, alerted).await;
        alerted.expect("an alert");
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}

// ── What the story stands on ────────────────────────────────────────────────────────────────────

/// The clinic's side, as far as the pipeline meets it.
struct Vault {
    root: SigningKey,
    key: SigningKey,
    /// A person, as only the vault can read it.
    handle: SealedHandle,
}

impl Vault {
    fn new() -> Self {
        Self {
            root: SigningKey::generate(),
            key: SigningKey::generate(),
            handle: SealedHandle(random::bytes()),
        }
    }

    fn ticket(&self, foundation: &Foundation, now: Micros) -> Vec<u8> {
        let until = Micros(now.0 + 3_600_000_000);
        let certificate = certificate::issue(&self.root, Use::Vault, &self.key.point(), now, until);
        let terms = TicketTerms {
            id: TicketId(random::bytes()),
            root: foundation.root,
            project: 1,
            expiry: until,
            scope: u64::MAX,
            consent_version: 1,
        };
        let riders = Riders {
            handle: random::bytes(),
            salt: random::bytes(),
            sealed_handle: self.handle,
        };
        TicketSlip::issue(&certificate, &self.key, &terms, &riders)
    }
}

fn home(directory: &Path, vault: &Vault) -> Home {
    let mut config = Config::read(directory, None).unwrap();
    config.top.vault_root = Some(vault.root.kid());
    // Small enough to be read whole at the end.
    config.log.partitions = 1;
    config.log.segment.0 = 1 << 20;
    config.log.max_size.0 = 16 << 20;
    Home {
        directory: directory.join("pipeline"),
        config,
    }
}

fn open(directory: &Path, vault: &Vault) -> (Foundation, Signers) {
    let passphrase = Passphrase::new(pulseward_base::bytes::hex(&random::bytes::<16>()));
    Foundation::open_with(&home(directory, vault), &passphrase).unwrap()
}

async fn admit(
    foundation: &Foundation,
    device: &SigningKey,
    ticket_slip: Vec<u8>,
    now: Micros,
) -> Result<Admission, pulseward_custody::KeyError> {
    let request = AdmitRequest {
        ticket_slip,
        device: device.point(),
        attestation: Vec::new(),
        now,
    };
    foundation.registry.admit(&request).await
}

async fn bind(log: &Log, admission: &Admission) {
    let bind = Bind {
        certificate: admission.certificate,
        record: admission.record,
        binding: admission.binding,
        sealed_handle: admission.sealed_handle.0,
        group: admission.group,
        consent_version: admission.consent_version,
    };
    let body = Body::Bind(Box::new(bind));
    let entry = NewEntry::for_patient(admission.slot, admission.key, body);
    log.append(entry).await.unwrap();
}

fn columns(now: Micros) -> Columns {
    let leaf = |(kind, value)| Leaf {
        kind,
        channel: 0,
        rows: vec![Row {
            time: now,
            value,
            quality: 0,
        }],
    };
    Columns::new(READINGS.map(leaf).to_vec()).unwrap()
}

fn way_back(delivery: &Signer, alert: &Alert, now: Micros) -> Vec<u8> {
    let terms = WayBackTerms {
        id: SlipId(random::bytes()),
        alert: AlertId(alert.id.0),
        sealed_handle: SealedHandle(alert.sealed_handle),
        expiry: Micros(now.0 + 600_000_000),
    };
    WayBack::issue(&delivery.certificate, &delivery.key, &terms)
}

/// Runs the history until it has stored the batch.
async fn store(foundation: &Foundation, signer: Signer, log: &Log, history: &Path) {
    let Signer { certificate, key } = signer;
    let tools = HistorianTools {
        log: log.clone(),
        keys: Arc::new(foundation.registry.clone()),
        signer: pulseward_history::Signer { certificate, key },
        root: foundation.root,
        clock: Arc::clone(&foundation.clock),
        metrics: pulseward_history::Metrics::new(&foundation.metrics).unwrap(),
    };
    let mut settings = pulseward_history::Settings::new(history);
    settings.commit_age = Duration::from_millis(10);
    let historian = Historian::new(settings, tools);
    let progress = historian.progress();
    let stop = CancellationToken::new();
    let running = tokio::spawn(historian.run(vec![Partition(0)], stop.clone()));
    let stored = async {
        while progress
            .of(Partition(0))
            .is_none_or(|committed| committed.rows < 3)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stored)
        .await
        .expect("a commit");
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// Returns whether a file under the pipeline's or the history's directory holds these bytes.
fn holds(directory: &Path, needle: &[u8]) -> bool {
    let mut left = vec![directory.join("pipeline"), directory.join("history")];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if memchr::memmem::find(&fs::read(&path).unwrap(), needle).is_some() {
                return true;
            }
        }
    }
    false
}
