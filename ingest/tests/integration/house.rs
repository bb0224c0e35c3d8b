//! A pipeline's front, whole: roots, a vault's tickets, the registry, the log, and any number of
//! ingest instances on it, each on a runtime of its own so that one can be killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use prometheus::Registry as Prometheus;
use pulseward_base::{Clock, Kid, Micros, Offset, Partition, TicketId};
use pulseward_batch::StoredBatch;
use pulseward_crypto::{
    SigningKey,
    certificate::{self, CertificateBytes, Use},
    offer::ServiceOffer,
    random,
    slips::{SealedHandle, TicketSlip, TicketTerms, ticket::Riders},
};
use pulseward_custody::{Custodian, KeySource};
use pulseward_device::{
    Backoff, Device, DeviceClock, Identity, LinkSettings,
    dice::Dice,
    enrol,
    queue::{MemoryQueue, QueueLimits, new_incarnation},
};
use pulseward_eventlog::{
    Backend, Body, Content, Entry, Log, Topic,
    embedded::{EmbeddedLog, memory::MemoryFs},
    testing,
};
use pulseward_ingest::{Ingest, IngestError, Metrics, ServiceIdentity, Settings, Tools};
use pulseward_keys::{
    AuditSink, Event, NotRecorded, Registry, RegistryIdentity, RegistrySettings, RegistryTools,
};
use pulseward_vitals::{Columns, Kind, Leaf, Row};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity as TlsIdentity, Server, ServerTlsConfig};

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The system's clocks, the wall clock turned by a test.
pub struct TestClock {
    start: Instant,
    turned: AtomicI64,
}

impl TestClock {
    pub fn turn(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap();
        self.turned.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let micros = i64::try_from(since.as_micros()).unwrap();
        Micros(micros + self.turned.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

struct NoAudit;

#[async_trait]
impl AuditSink for NoAudit {
    async fn record(&self, _event: Event) -> Result<(), NotRecorded> {
        Ok(())
    }
}

/// Everything but the instances.
pub struct House {
    pub clock: Arc<TestClock>,
    pub backend: Arc<dyn Backend>,
    pub keys: Arc<dyn KeySource>,
    pub root: SigningKey,
    vault: SigningKey,
    vault_certificate: CertificateBytes,
    pub tls: Tls,
    _dir: tempfile::TempDir,
}

/// What a server needs and its clients pin.
#[derive(Clone)]
pub struct Tls {
    certificate: String,
    key: String,
    pub authority: String,
}

impl Tls {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            authority: certificate.pem(),
        }
    }

    pub fn server(&self) -> ServerTlsConfig {
        let identity = TlsIdentity::from_pem(&self.certificate, &self.key);
        ServerTlsConfig::new().identity(identity)
    }
}

/// One ingest.
pub struct Instance {
    pub metrics: Metrics,
    pub link: LinkSettings,
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
    ran: JoinHandle<Result<(), IngestError>>,
}

impl House {
    pub fn new() -> Self {
        Self::with_log(testing::settings(4))
    }

    pub fn with_log(log: pulseward_eventlog::embedded::Settings) -> Self {
        let clock = Arc::new(TestClock {
            start: Instant::now(),
            turned: AtomicI64::new(0),
        });
        let dir = tempfile::tempdir().unwrap();
        let (root, vault_root) = (SigningKey::generate(), SigningKey::generate());
        let vault = SigningKey::generate();
        let backend = EmbeddedLog::open_on(
            Arc::new(MemoryFs::new()),
            log,
            Arc::clone(&clock) as Arc<dyn Clock>,
            testing::metrics(),
        );
        let registry = Registry::open(
            dir.path(),
            &Custodian::in_memory(),
            RegistrySettings::new(vault_root.kid()),
            registry_tools(&root, &clock),
        );
        Self {
            keys: Arc::new(registry.unwrap()),
            backend: Arc::new(backend.unwrap()),
            vault_certificate: certified(&vault_root, Use::Vault, &vault),
            vault,
            root,
            clock,
            tls: Tls::new(),
            _dir: dir,
        }
    }

    /// Starts an ingest.
    pub async fn start(&self, settings: Settings) -> Instance {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = listener.into_std().unwrap();
        let metrics = Metrics::register(&Prometheus::new()).unwrap();
        let service = SigningKey::generate();
        let identity = ServiceIdentity {
            root: self.root.kid(),
            certificate: certified(&self.root, Use::Service, &service),
            key: service,
        };
        let (backend, keys) = (Arc::clone(&self.backend), Arc::clone(&self.keys));
        let (clock, counted) = (Arc::clone(&self.clock), metrics.clone());
        let shutdown = CancellationToken::new();
        let (stop, tls) = (shutdown.clone(), self.tls.server());
        let started = runtime.spawn(async move {
            let tools = Tools {
                log: testing::log_on(backend, keys.clone()).await,
                keys,
                identity,
                clock,
                metrics: counted,
            };
            let ingest = Ingest::open(tools, settings).await.unwrap();
            let service = ingest.service();
            let ran = tokio::spawn(ingest.run(stop.clone()));
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            let mut server = Ingest::limit(Server::builder()).tls_config(tls).unwrap();
            let served = server
                .add_service(service)
                .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
            tokio::spawn(served);
            ran
        });
        Instance {
            metrics,
            link: self.link(port),
            runtime: Some(runtime),
            shutdown,
            ran: started.await.unwrap(),
        }
    }

    /// Makes an offer as a service of this house does.
    pub fn offer(&self) -> ServiceOffer {
        let (service, now) = (SigningKey::generate(), self.clock.now());
        let certificate = certified(&self.root, Use::Service, &service);
        let until = now.plus(Duration::from_mins(1));
        ServiceOffer::new(&self.root.kid(), &certificate, &service, now, until)
    }

    pub fn link(&self, port: u16) -> LinkSettings {
        LinkSettings::new(
            format!("https://localhost:{port}"),
            self.tls.authority.clone(),
        )
    }

    /// Issues a ticket for a new person, for all kinds.
    pub fn ticket(&self) -> Vec<u8> {
        self.ticket_for(&self.root.kid(), u64::MAX)
    }

    pub fn ticket_for(&self, root: &Kid, scope: u64) -> Vec<u8> {
        let terms = TicketTerms {
            id: TicketId(random::bytes()),
            root: *root,
            project: 1,
            expiry: self.clock.now().plus(Duration::from_hours(1)),
            scope,
            consent_version: 1,
        };
        let riders = Riders {
            handle: random::bytes(),
            salt: random::bytes(),
            sealed_handle: SealedHandle(random::bytes()),
        };
        TicketSlip::issue(&self.vault_certificate, &self.vault, &terms, &riders)
    }

    pub fn device_clock(&self) -> DeviceClock {
        DeviceClock::new(Arc::clone(&self.clock) as Arc<dyn Clock>, Micros(0))
    }

    /// Enrols a new device.
    pub async fn identity(&self, link: &LinkSettings) -> Identity {
        let key = Arc::new(SigningKey::generate());
        enrol(link, &self.device_clock(), key, &self.ticket(), &[])
            .await
            .unwrap()
    }

    /// Puts a device with an empty queue in memory together.
    pub fn device(&self, identity: Identity) -> Device {
        let queue = MemoryQueue::new(new_incarnation(self.clock.now()), QueueLimits::default());
        Device::new(
            identity,
            self.device_clock(),
            Vec::new(),
            Box::new(queue),
            100_000,
        )
    }

    /// Runs a device until its token is cancelled.
    pub fn run(&self, device: &Device, link: &LinkSettings) -> CancellationToken {
        let (device, link, stop) = (device.clone(), link.clone(), CancellationToken::new());
        let token = stop.clone();
        let (first, longest) = (Duration::from_millis(10), Duration::from_millis(100));
        let backoff = Backoff::new(first, longest, Dice::new(1));
        tokio::spawn(async move { device.run(&link, backoff, token).await.unwrap() });
        stop
    }

    /// Reads the log as a stage does: as another writer, with the registry's keys.
    pub async fn log(&self) -> Log {
        testing::log_on(Arc::clone(&self.backend), Arc::clone(&self.keys)).await
    }

    /// Returns every entry of a topic, partition by partition.
    pub async fn entries(&self, topic: Topic) -> Vec<Entry> {
        let log = self.log().await;
        let mut all = Vec::new();
        for partition in (0..log.partitions()).map(Partition) {
            let mut follower = log.follow(topic, partition, Offset(0));
            loop {
                let entries = follower.ready().await.unwrap();
                if entries.is_empty() {
                    break;
                }
                all.extend(entries);
            }
        }
        all
    }

    /// Returns every batch in the log.
    pub async fn stored(&self) -> Vec<StoredBatch> {
        let entries = self.entries(Topic::Feed).await;
        let batch = |entry: Entry| match entry.content {
            Content::Batch(batch) => Some(*batch),
            _ => None,
        };
        entries.into_iter().filter_map(batch).collect()
    }

    /// Returns every body in a topic.
    pub async fn bodies(&self, topic: Topic) -> Vec<Body> {
        let entries = self.entries(topic).await;
        let body = |entry: Entry| match entry.content {
            Content::Body(body) => Some(body),
            _ => None,
        };
        entries.into_iter().filter_map(body).collect()
    }
}

impl Instance {
    /// Ends as a signal does. Returns when every stream has finished.
    pub async fn drain(mut self) -> Result<(), IngestError> {
        self.shutdown.cancel();
        let ran = (&mut self.ran).await.unwrap();
        self.kill();
        ran
    }

    /// Ends as `kill -9` does: nothing is finished. The log lives on.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

fn registry_tools(root: &SigningKey, clock: &Arc<TestClock>) -> RegistryTools {
    let key = SigningKey::generate();
    RegistryTools {
        identity: Arc::new(RegistryIdentity {
            root: root.kid(),
            certificate: certified(root, Use::Registry, &key),
            key,
        }),
        audit: Arc::new(NoAudit),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        metrics: pulseward_keys::Metrics::new(&Prometheus::new()).unwrap(),
    }
}

fn certified(root: &SigningKey, use_: Use, key: &SigningKey) -> CertificateBytes {
    let (from, until) = (Micros(i64::MIN), Micros(i64::MAX));
    certificate::issue(root, use_, &key.point(), from, until)
}

/// Returns one reading.
pub fn reading(now: Micros, value: i32) -> Columns {
    let row = Row {
        time: now,
        value,
        quality: 0,
    };
    Columns::new(vec![Leaf {
        kind: Kind::HeartRate,
        channel: 0,
        rows: vec![row],
    }])
    .unwrap()
}

/// Waits for a condition, but not for ever.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain until {what}");
}

/// Settings under which a test sees time-outs soon.
pub fn quick() -> Settings {
    Settings {
        retry_after: Duration::from_millis(20),
        view_interval: Duration::from_millis(50),
        ..Settings::default()
    }
}
