//! A pipeline in small: real keys, real sessions, the real log, a history in a directory.

use std::{path::Path, sync::Arc, time::Duration};

use pulseward_base::{
    Clock, Incarnation, Kid, Micros, Partition, Seq, TicketId, clock::ManualClock,
};
use pulseward_batch::{
    Arrival, BindingFacts, NewBatch, OpenedBatch, PseudonymousBatch, digest::Place,
};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, CertificateBytes, Use},
    client::ClientSession,
    frame::{AdmissionToken, Status, UpFrame},
    hello::Resume,
    offer::{ClientOffer, ServiceOffer},
    random,
    session::{OpenedFrame, ServerSession},
    slips::{SealedHandle, TicketSlip, TicketTerms, record, ticket::Riders},
};
use pulseward_custody::{Admission, AdmitRequest, FileKeys, KeySource, memory::MemoryKeys};
use pulseward_eventlog::{Body, Log, NewEntry, body::Bind, embedded::memory::MemoryFs, testing};
use pulseward_history::{
    Historian, HistorianTools, HistoryError, Metrics, Progress, Report, Settings, Signer, Store,
    verify,
};
use pulseward_vitals::{Columns, Kind, Leaf, Limits, Row};
use tokio_util::sync::CancellationToken;

pub(crate) const NOW: Micros = Micros(1_800_000_000_000_000);
pub(crate) const PARTITIONS: u32 = 2;

/// Everything that outlives a history.
pub(crate) struct World {
    vault: SigningKey,
    vault_certificate: CertificateBytes,
    pub(crate) keys: Arc<MemoryKeys>,
    /// Where files get their keys, if not from `keys`.
    pub(crate) registry: Option<Arc<dyn FileKeys>>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) log: Log,
    /// The log's disk.
    pub(crate) fs: MemoryFs,
    pub(crate) home: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (vault_root, vault) = (SigningKey::generate(), SigningKey::generate());
        let keys = Arc::new(MemoryKeys::new(vault_root.kid()));
        let (until, fs) = (Micros(i64::MAX), MemoryFs::new());
        Self {
            vault_certificate: certificate::issue(
                &vault_root,
                Use::Vault,
                &vault.point(),
                Micros(0),
                until,
            ),
            vault,
            log: log_on(&fs, &keys).await,
            fs,
            keys,
            registry: None,
            clock: Arc::new(ManualClock::new(NOW)),
            home: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn root(&self) -> Kid {
        self.keys.root().kid()
    }

    pub(crate) fn file_keys(&self) -> Arc<dyn FileKeys> {
        let own = || Arc::clone(&self.keys) as Arc<dyn FileKeys>;
        self.registry.clone().unwrap_or_else(own)
    }

    pub(crate) fn signer(&self) -> Signer {
        signer(self.keys.root())
    }

    /// Enrols a device for a person and says so in the log.
    pub(crate) async fn enrol(&self, person: u8) -> Device {
        let terms = TicketTerms {
            id: TicketId(random::bytes()),
            root: self.root(),
            project: 1,
            expiry: Micros(i64::MAX),
            scope: u64::MAX,
            consent_version: 1,
        };
        let riders = Riders {
            handle: [person; 16],
            salt: random::bytes(),
            sealed_handle: SealedHandle([person; 44]),
        };
        let key = SigningKey::generate();
        let request = AdmitRequest {
            ticket_slip: TicketSlip::issue(&self.vault_certificate, &self.vault, &terms, &riders),
            device: key.point(),
            attestation: Vec::new(),
            now: NOW,
        };
        let admission = self.keys.admit(&request).await.unwrap();
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
        self.log.append(entry).await.unwrap();
        Device {
            key,
            admission,
            incarnation: Incarnation([1; 16]),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            commit_age: Duration::from_millis(20),
            retry_after: Duration::from_millis(5),
            // The world's clock is not the file system's: to it, every file is old.
            garbage_grace: Duration::from_secs(400 * 365 * 24 * 3600),
            ..Settings::new(self.home.path())
        }
    }

    pub(crate) fn historian(&self, settings: Settings) -> Historian {
        let tools = HistorianTools {
            log: self.log.clone(),
            keys: self.file_keys(),
            signer: self.signer(),
            root: self.root(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
        };
        Historian::new(settings, tools)
    }

    /// Lets a history store what is in the log by now.
    pub(crate) async fn store_all(&self, settings: Settings) -> Result<Progress, HistoryError> {
        let historian = self.historian(settings);
        let progress = historian.progress();
        let stop = CancellationToken::new();
        let running = tokio::spawn(historian.run(partitions(), stop.clone()));
        let claimed = async {
            while progress.all().len() < partitions().len() && !running.is_finished() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), claimed)
            .await
            .expect("chains are claimed");
        stop.cancel();
        running.await.unwrap()?;
        Ok(progress)
    }

    pub(crate) async fn verify(&self) -> Report {
        verify(self.home.path(), self.file_keys(), self.root())
            .await
            .unwrap()
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(self.home.path(), self.file_keys(), self.root())
            .await
            .unwrap()
    }
}

/// Opens the log on a disk, as after a restart.
pub(crate) async fn log_on(fs: &MemoryFs, keys: &Arc<MemoryKeys>) -> Log {
    let backend = testing::embedded(fs, testing::settings(PARTITIONS)).unwrap();
    testing::log_on(Arc::new(backend), Arc::clone(keys) as Arc<dyn KeySource>).await
}

pub(crate) fn partitions() -> Vec<Partition> {
    (0..PARTITIONS).map(Partition).collect()
}

pub(crate) fn signer(root: &SigningKey) -> Signer {
    let key = SigningKey::generate();
    let until = Micros(i64::MAX);
    let certificate = certificate::issue(root, Use::History, &key.point(), Micros(0), until);
    Signer { certificate, key }
}

/// A device with its enrolment.
pub(crate) struct Device {
    pub(crate) key: SigningKey,
    pub(crate) admission: Admission,
    pub(crate) incarnation: Incarnation,
}

impl Device {
    /// Signs a batch, sends it through a session and returns what may go into the log.
    pub(crate) fn batch(&self, seq: u64, columns: &Columns) -> PseudonymousBatch {
        let ctx = record::digest(&self.admission.record);
        let place = Place {
            incarnation: self.incarnation,
            seq: Seq(seq),
            time: NOW,
        };
        let signed = NewBatch::new(place, columns).sign(&self.key, &ctx);
        let (mut client, mut server) = self.session();
        let sealed = client.seal(&UpFrame::Batch(signed.payload)).unwrap();
        let OpenedFrame::Batch(frame) = server.open(&sealed).unwrap() else {
            panic!("a batch was sent")
        };
        let opened = OpenedBatch::parse(&frame, Limits::default()).unwrap();
        let verified = opened
            .verify(&self.key.verifying_key(), &ctx, u64::MAX)
            .unwrap();
        let facts = BindingFacts {
            device: self.key.kid(),
            record: ctx,
            pseudonym: self.admission.pseudonym,
            key: self.admission.key,
            slot: self.admission.slot,
        };
        let arrival = Arrival {
            received: Micros(NOW.0 + 9),
            clock_offset: -3,
        };
        verified.pseudonymise(&facts, arrival).unwrap()
    }

    fn session(&self) -> (ClientSession, ServerSession) {
        let ctx = record::digest(&self.admission.record);
        let (root, service) = (SigningKey::generate(), SigningKey::generate());
        let until = Micros(NOW.0 + 1);
        let certificate = certificate::issue(&root, Use::Service, &service.point(), NOW, until);
        let offer = ServiceOffer::new(&root.kid(), &certificate, &service, NOW, until);
        let checked = ClientOffer::check(offer.message(), &root.kid(), NOW).unwrap();
        let resume = Resume {
            incarnation: self.incarnation,
            last_acknowledged: None,
        };
        let (hello, pending) = checked
            .hello_stream(&self.key, &ctx, NOW, resume, AdmissionToken::NONE)
            .unwrap();
        let opened = offer.open_hello(&hello).unwrap();
        let verified = opened.verify(&self.key.verifying_key(), &ctx).unwrap();
        let status = Status {
            time: NOW,
            last_durable: None,
            max_in_flight: 32,
            max_batch_bytes: 65_536,
            max_backlog_age_seconds: 60,
            tokens: vec![],
        };
        let (welcome, server) = verified.welcome(random::bytes(), &status).unwrap();
        (pending.welcome(&welcome).unwrap().0, server)
    }
}

pub(crate) fn leaf(kind: Kind, channel: u8, rows: &[(i64, i32)]) -> Leaf {
    let row = |&(time, value): &(i64, i32)| Row {
        time: Micros(NOW.0 + time),
        value,
        quality: 0,
    };
    Leaf {
        kind,
        channel,
        rows: rows.iter().map(row).collect(),
    }
}

/// Seven readings in three series, at the ends of what a reading can be.
pub(crate) fn columns(seq: u64) -> Columns {
    let at = i64::try_from(seq).unwrap() * 1_000_000;
    Columns::new(vec![
        leaf(
            Kind::HeartRate,
            0,
            &[(at, 720), (at + 1, 730), (at + 2, -1)],
        ),
        leaf(Kind::SpO2, 0, &[(at, 970)]),
        leaf(
            Kind::Temperature,
            1,
            &[(at, i32::MIN), (at + 1, i32::MAX), (at + 2, 0)],
        ),
    ])
    .unwrap()
}

/// How many readings [`columns`] has.
pub(crate) const ROWS: u64 = 7;

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
