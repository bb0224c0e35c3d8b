//! The stages as `up` assembles them, on a log that is soon full.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use prometheus::Registry as Counted;
use pulseward_app::SystemClock;
use pulseward_base::Secret;
use pulseward_base::{Clock as _, Micros, TicketId};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    random,
    slips::{SealedHandle, TicketSlip, TicketTerms, ticket::Riders},
};
use pulseward_custody::{FileKeys, KeyError, Passphrase};
use pulseward_device::{
    Backoff, Device, DeviceClock, Fate, LinkSettings,
    dice::Dice,
    enrol,
    queue::{MemoryQueue, QueueLimits, new_incarnation},
};
use pulseward_history::Store;
use pulseward_vitals::{Columns, Kind, Leaf, Row};

use super::*;
use crate::authority::Authority;

/// No wait of these tests is longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The registry's file keys, at hand or not: without them history stores nothing.
struct Gate {
    keys: Arc<dyn FileKeys>,
    is_open: AtomicBool,
}

impl Gate {
    fn through(&self) -> Result<&dyn FileKeys, KeyError> {
        let is_open = self.is_open.load(Ordering::SeqCst);
        is_open.then_some(&*self.keys).ok_or(KeyError::Unavailable)
    }
}

#[async_trait]
impl FileKeys for Gate {
    async fn create(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError> {
        self.through()?.create(file).await
    }

    async fn open(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError> {
        self.through()?.open(file).await
    }

    async fn destroy(&self, file: [u8; 16]) -> Result<(), KeyError> {
        self.through()?.destroy(file).await
    }
}

/// A pipeline with a small log, whose history can be stopped.
struct Small {
    home: Home,
    foundation: Foundation,
    vault: SigningKey,
    vault_certificate: [u8; certificate::SIZE],
    link: LinkSettings,
    gate: Arc<Gate>,
    progress: pulseward_history::Progress,
    signal: CancellationToken,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Small {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (vault_root, vault) = (SigningKey::generate(), SigningKey::generate());
        let home = Home {
            directory: directory.path().to_owned(),
            config: config(&vault_root),
        };
        let passphrase = Passphrase::new("for this test alone".to_owned());
        let (foundation, signers) = Foundation::open_with(&home, &passphrase).unwrap();
        let serving = crate::up::publish(&home, &foundation).unwrap();
        let (doors, _operators) = crate::up::doors::bind(&home, &serving).await.unwrap();
        let port = doors.devices.local_addr().unwrap().port();
        let log = foundation.log(&home).await.unwrap();
        let mut stages = Stages::assemble(&home, &foundation, signers, &log, "token")
            .await
            .unwrap();
        let gate = Arc::new(Gate {
            keys: Arc::new(foundation.registry.clone()),
            is_open: AtomicBool::new(true),
        });
        stages.history = gated_history(&home, &foundation, &log, &gate);
        let progress = stages.history.progress();
        let (clock, keep) = (Arc::clone(&foundation.clock), home.config.log.keep);
        stages.trimmer = Trimmer::new(log.clone(), progress.clone(), clock, keep);
        let signal = CancellationToken::new();
        let stop = signal.clone();
        let running = tokio::spawn(async move {
            let ready = Ready::default();
            stages.run(doors, stop, &ready, PATIENCE).await
        });
        let (from, until) = (Micros(0), Micros(i64::MAX));
        Self {
            vault_certificate: certificate::issue(
                &vault_root,
                Use::Vault,
                &vault.point(),
                from,
                until,
            ),
            vault,
            link: LinkSettings::new(format!("https://localhost:{port}"), serving.authority_pem),
            home,
            foundation,
            gate,
            progress,
            signal,
            running,
            _directory: directory,
        }
    }

    async fn device(&self) -> Device {
        let clock: Arc<dyn pulseward_base::Clock> = Arc::new(SystemClock::start());
        let terms = TicketTerms {
            id: TicketId(random::bytes()),
            root: self.foundation.root,
            project: 1,
            expiry: clock.now().plus(Duration::from_hours(1)),
            scope: u64::MAX,
            consent_version: 1,
        };
        let riders = Riders {
            handle: random::bytes(),
            salt: random::bytes(),
            sealed_handle: SealedHandle(random::bytes()),
        };
        let ticket = TicketSlip::issue(&self.vault_certificate, &self.vault, &terms, &riders);
        let queue = MemoryQueue::new(new_incarnation(clock.now()), QueueLimits::default());
        let clock = DeviceClock::new(clock, Micros(0));
        let key = Arc::new(SigningKey::generate());
        let identity = enrol(&self.link, &clock, key, &ticket, &[]).await.unwrap();
        Device::new(identity, clock, Vec::new(), Box::new(queue), 100_000)
    }

    fn run(&self, device: &Device) {
        let (device, link, stop) = (device.clone(), self.link.clone(), self.signal.clone());
        let (first, longest) = (Duration::from_millis(10), Duration::from_millis(200));
        let backoff = Backoff::new(first, longest, Dice::new(1));
        tokio::spawn(async move { device.run(&link, backoff, stop).await });
    }

    fn committed(&self) -> u64 {
        self.progress.all().values().map(|of| of.rows).sum()
    }

    /// Returns the sum of a metric's samples that have this word among their labels, if one is asked for.
    fn counted(&self, name: &str, word: Option<&str>) -> f64 {
        let families = self.foundation.metrics.gather();
        let family = families.iter().find(|family| family.name() == name);
        let has_word = |metric: &&prometheus::proto::Metric| {
            let mut labels = metric.get_label().iter();
            word.is_none_or(|word| labels.any(|label| label.value() == word))
        };
        let value = |metric: &prometheus::proto::Metric| {
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        };
        let metrics = family.expect(name).get_metric().iter();
        metrics.filter(has_word).map(value).sum()
    }

    /// How often ingest told a device to wait because the log is full.
    fn refused(&self) -> f64 {
        self.counted("pulseward_ingest_retries_total", Some("log_full"))
    }
}

fn config(vault_root: &SigningKey) -> Config {
    let nowhere = tempfile::tempdir().unwrap();
    let mut config = Config::read(nowhere.path(), None).unwrap();
    config.top.vault_root = Some(vault_root.kid());
    for address in [
        &mut config.listen.devices,
        &mut config.listen.staff,
        &mut config.listen.admin,
    ] {
        address.set_port(0);
    }
    config.log.partitions = 1;
    config.log.segment.0 = 256 << 10;
    config.log.max_size.0 = 1 << 20;
    config.log.keep = Duration::from_millis(200);
    config.ingest.retry_after = Duration::from_millis(20);
    config.detector.device_silence = Duration::from_secs(1);
    config.detector.checkpoint_every = Duration::from_millis(100);
    config.history.commit_after = Duration::from_millis(100);
    config
}

fn gated_history(home: &Home, foundation: &Foundation, log: &Log, gate: &Arc<Gate>) -> Historian {
    let now = foundation.clock.now();
    let Signer { certificate, key } = Authority::open(&foundation.custodian, now).unwrap().history;
    let tools = HistorianTools {
        log: log.clone(),
        keys: Arc::clone(gate) as Arc<dyn FileKeys>,
        signer: pulseward_history::Signer { certificate, key },
        root: foundation.root,
        clock: Arc::clone(&foundation.clock),
        metrics: pulseward_history::Metrics::new(&Counted::new()).unwrap(),
    };
    Historian::new(history_settings(home), tools)
}

fn reading(value: i32) -> Columns {
    let row = Row {
        time: SystemClock::start().now(),
        value,
        quality: 0,
    };
    let leaf = Leaf {
        kind: Kind::HeartRate,
        channel: 0,
        rows: vec![row],
    };
    Columns::new(vec![leaf]).unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain until {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_history_stopped_past_the_logs_limit_makes_ingest_refuse_loses_nothing_and_recovers() {
    const BATCHES: usize = 4000;
    let small = Small::start().await;
    // Its silence is an alert that stays open from here to the end.
    let quiet = small.device().await;
    quiet.collect(&reading(700)).unwrap();
    small.run(&quiet);
    until("one row is stored", async || small.committed() == 1).await;
    let open = "pulseward_alerts_open_alerts";
    until("its silence is told", async || {
        small.counted(open, None) > 0.0
    })
    .await;

    small.gate.is_open.store(false, Ordering::SeqCst);
    let device = small.device().await;
    for value in 0..BATCHES {
        let value = 600 + i32::try_from(value % 300).unwrap();
        device.collect(&reading(value)).unwrap();
    }
    small.run(&device);
    until("ingest refuses", async || small.refused() > 0.0).await;
    let refused = small.refused();
    until("it refuses again", async || small.refused() > refused + 3.0).await;
    assert_eq!(small.committed(), 1, "nothing is stored meanwhile");
    assert!(device.waiting() > 0, "what was refused waits in the device");

    small.gate.is_open.store(true, Ordering::SeqCst);
    until("all is answered", async || device.waiting() == 0).await;
    small.signal.cancel();
    small.running.await.unwrap().unwrap();

    let ledgers = [quiet.ledger(), device.ledger()];
    let mut entries = ledgers.iter().flat_map(|ledger| ledger.entries());
    let is_durable = |fate| matches!(fate, Some(Fate::Durable | Fate::Duplicate));
    assert!(
        entries.all(|entry| is_durable(entry.fate)),
        "none is given up"
    );
    let keys = Arc::new(small.foundation.registry.clone());
    let store = Store::open(&small.home.history(), keys, small.foundation.root)
        .await
        .unwrap();
    let stored: BTreeMap<_, _> = store.batches().await.unwrap().into_iter().collect();
    assert_eq!(stored.len(), BATCHES + 1);
    assert!(
        stored
            .values()
            .all(|counted| (counted.times, counted.rows) == (1, 1))
    );
}
