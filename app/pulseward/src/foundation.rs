//! What everything else stands on: the custodian, the pipeline's own keys, the key registry and the
//! log. Opened by the running program, and by commands that read the stores when it is not running.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use pulseward_app::{SystemClock, passphrase::PassphraseArgs};
use pulseward_base::{Clock, Generation, Kid, Micros};
use pulseward_custody::{Custodian, KeySource, Passphrase};
use pulseward_eventlog::{
    Backend, Log, LogSettings,
    embedded::{self, EmbeddedLog},
};
use pulseward_keys::{Registry, RegistryIdentity, RegistrySettings, RegistryTools};

use crate::{
    audit::AuditTrail,
    authority::{Authority, Signers},
    config::LogSection,
    home::Home,
};

/// The custodian's file in the program's directory.
const CUSTODIAN: &str = "custodian";
/// The key registry's directory.
const REGISTRY: &str = "registry";
/// The embedded log's directory.
const LOG: &str = "log";

/// The keys and what they open.
pub struct Foundation {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Secrets by name.
    pub custodian: Custodian,
    /// The root that devices and the vault pin.
    pub root: Kid,
    /// When the certificates of this start end.
    pub certificates_end: Micros,
    /// The key registry.
    pub registry: Registry,
    /// The audit chain, to be opened with the log.
    pub trail: Arc<AuditTrail>,
    /// Everything counted, for `/metrics`.
    pub metrics: prometheus::Registry,
}

impl Foundation {
    /// Opens it, making what is not there. Slow on purpose: a passphrase is stretched.
    pub fn open(home: &Home, passphrase: &PassphraseArgs) -> anyhow::Result<(Self, Signers)> {
        let passphrase = passphrase.read()?;
        Self::open_with(home, &Passphrase::new(passphrase.as_str().to_owned()))
    }

    /// As [`Foundation::open`], with the passphrase at hand.
    pub fn open_with(home: &Home, passphrase: &Passphrase) -> anyhow::Result<(Self, Signers)> {
        make_private(&home.directory)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let custodian = Custodian::open_or_create(&home.directory.join(CUSTODIAN), passphrase)
            .context("couldn't open the custodian")?;
        let authority = Authority::open(&custodian, clock.now())?;
        let metrics = prometheus::Registry::new();
        let trail = Arc::new(AuditTrail::new(Arc::clone(&clock), authority.root));
        let tools = RegistryTools {
            identity: Arc::new(RegistryIdentity {
                root: authority.root,
                certificate: authority.registry.certificate,
                key: authority.registry.key,
            }),
            audit: Arc::clone(&trail) as _,
            clock: Arc::clone(&clock),
            metrics: pulseward_keys::Metrics::new(&metrics)?,
        };
        // Without a vault nobody can enrol: no key has the name of zeros.
        let settings = RegistrySettings::new(home.config.top.vault_root.unwrap_or(Kid::ZERO));
        let directory = home.directory.join(REGISTRY);
        let registry = Registry::open(&directory, &custodian, settings, tools)
            .context("couldn't open the key registry")?;
        let signers = Signers {
            service: authority.service,
            history: authority.history,
            delivery: authority.delivery,
        };
        let (root, certificates_end) = (authority.root, authority.ends);
        let foundation = Self {
            clock,
            custodian,
            root,
            certificates_end,
            registry,
            trail,
            metrics,
        };
        Ok((foundation, signers))
    }

    /// Opens the log that the configuration names, and continues the audit chain in it.
    pub async fn log(&self, home: &Home) -> anyhow::Result<Log> {
        let metrics = pulseward_eventlog::Metrics::new(&self.metrics)?;
        let settings = &home.config.log;
        let backend: Arc<dyn Backend> = if settings.kafka.is_empty() {
            let directory = home.directory.join(LOG);
            make_private(&directory)?;
            let embedded = embedded_settings(settings);
            let log = EmbeddedLog::open(
                &directory,
                embedded,
                Arc::clone(&self.clock),
                Arc::clone(&metrics),
            );
            Arc::new(log.context("couldn't open the embedded log")?)
        } else {
            kafka(settings, Arc::clone(&metrics)).await?
        };
        let keys: Arc<dyn KeySource> = Arc::new(self.registry.clone());
        let log = Log::open(backend, keys, LogSettings::default(), metrics).await?;
        self.trail.continue_in(log.clone()).await?;
        Ok(log)
    }
}

fn embedded_settings(section: &LogSection) -> embedded::Settings {
    embedded::Settings {
        generation: Generation(section.generation),
        partitions: section.partitions,
        segment_bytes: section.segment.0,
        max_bytes: section.max_size.0,
        reserve_bytes: (section.segment.0 / 8).min(8 << 20),
        ..embedded::Settings::default()
    }
}

#[cfg(feature = "kafka")]
async fn kafka(
    section: &LogSection,
    metrics: Arc<pulseward_eventlog::Metrics>,
) -> anyhow::Result<Arc<dyn Backend>> {
    use pulseward_eventlog::kafka::{Durability, KafkaLog, KafkaSettings};

    let mut settings = KafkaSettings::new(&section.kafka);
    settings.generation = Generation(section.generation);
    settings.partitions = section.partitions;
    settings.deadline = section.deadline;
    settings.durability = match section.replicas {
        1 => Durability::FlushEach,
        copies => Durability::Replicas {
            copies,
            in_sync: copies / 2 + 1,
        },
    };
    let log = KafkaLog::connect(settings, metrics).await;
    Ok(Arc::new(log.context("couldn't open the log on Kafka")?))
}

#[cfg(not(feature = "kafka"))]
async fn kafka(
    _: &LogSection,
    _: Arc<pulseward_eventlog::Metrics>,
) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!("this build has no Kafka: build it with the feature `kafka`")
}

/// Makes a directory that only its owner may enter.
pub fn make_private(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.with_context(|| format!("couldn't make {}", path.display()))
}
