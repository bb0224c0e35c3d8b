//! The registry: who may send, as which patient, under whose key.
//!
//! It holds the only key of the pseudonymiser and no list of persons: a handle comes with a ticket,
//! becomes a pseudonym, and is forgotten. Whatever it answers is durable before it answers.

mod admission;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use pulseward_base::{Clock, KeyId, Kid, Reject, Secret, Slot};
use pulseward_crypto::{SigningKey, certificate::CertificateBytes, hash, random};
use pulseward_custody::{
    Admission, AdmitRequest, Custodian, CustodyError, FileKeys, KeyError, KeySource, LogKeys,
    PatientKey,
};
use tokio::sync::Semaphore;

use self::admission::Admitted;
use crate::{
    attestation::AttestationPolicy,
    audit::{AuditSink, Event},
    disk::{Disk, RealDisk},
    lock::Lock,
    metrics::Metrics,
    store::{Keep, Store, StoreError},
};

/// How many patients share a group.
pub const GROUP_SIZE: usize = 16;

/// Who signs records, bindings and grants.
#[derive(Debug)]
pub struct RegistryIdentity {
    /// The pipeline's root.
    pub root: Kid,
    /// The root's word for the key, use *registry*.
    pub certificate: CertificateBytes,
    /// The key.
    pub key: SigningKey,
}

/// What a registry is told.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// The root under which the vault signs tickets.
    pub vault_root: Kid,
    /// Which devices may enrol.
    pub attestation: AttestationPolicy,
    /// How many patients a slot may have.
    pub max_patients_per_slot: usize,
    /// How many enrolments a patient may have.
    pub max_enrolments_per_patient: usize,
    /// How many changes may wait for the disk.
    pub max_waiting_changes: usize,
}

impl RegistrySettings {
    /// Returns the defaults for a vault under `vault_root`.
    #[must_use]
    pub fn new(vault_root: Kid) -> Self {
        Self {
            vault_root,
            attestation: AttestationPolicy::default(),
            max_patients_per_slot: 4096,
            max_enrolments_per_patient: 64,
            max_waiting_changes: 64,
        }
    }
}

/// What a registry works with.
#[derive(Clone)]
pub struct RegistryTools {
    /// Who signs.
    pub identity: Arc<RegistryIdentity>,
    /// Where events go; each is recorded before what it tells of is answered.
    pub audit: Arc<dyn AuditSink>,
    /// The time, for grants.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Why a registry did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The custodian did not give the registry's secrets.
    #[error("the custodian did not give the registry's secrets")]
    Custody(#[from] CustodyError),
    /// The pages cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The registry. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: RegistrySettings,
    pub(crate) tools: RegistryTools,
    secrets: Secrets,
    store: Store,
    waiting: Semaphore,
    failed: RwLock<bool>,
    _lock: Option<Lock>,
}

/// Everything secret that is not a page.
struct Secrets {
    pseudonym: Secret<32>,
    ticket: Secret<32>,
    log: Secret<32>,
}

impl Registry {
    /// Opens the registry in `directory`, making it if needed. Blocks.
    pub fn open(
        directory: &Path,
        custodian: &Custodian,
        settings: RegistrySettings,
        tools: RegistryTools,
    ) -> Result<Self, RegistryError> {
        let lock = Lock::take(directory)?;
        Self::open_on(
            Box::new(RealDisk),
            directory,
            custodian,
            settings,
            tools,
            Some(lock),
        )
    }

    pub(crate) fn open_on(
        disk: Box<dyn Disk>,
        directory: &Path,
        custodian: &Custodian,
        settings: RegistrySettings,
        tools: RegistryTools,
        lock: Option<Lock>,
    ) -> Result<Self, RegistryError> {
        let secret = |name| custodian.secret(name, random::secret);
        let secrets = Secrets {
            pseudonym: secret("registry-pseudonym-1")?,
            ticket: secret("registry-ticket")?,
            log: secret("registry-log")?,
        };
        let store = Store::open(directory, secret("registry-pages")?, disk)?;
        tools
            .metrics
            .patients
            .set(i64::try_from(store.pages().patients()).unwrap_or(i64::MAX));
        let waiting = Semaphore::new(settings.max_waiting_changes);
        let failed = RwLock::new(false);
        let inner = Inner {
            settings,
            tools,
            secrets,
            store,
            waiting,
            failed,
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Returns whether a write has failed: the process must end and open the registry again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        *self
            .inner
            .failed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether an enrolment was suspended because its ticket was used again.
    #[must_use]
    pub fn is_suspended(&self, slot: Slot, device: &Kid) -> bool {
        self.inner.store.pages().slot(slot.0).is_some_and(|page| {
            page.patients
                .values()
                .flat_map(|patient| &patient.enrolments)
                .any(|enrolled| enrolled.device == *device && enrolled.suspended)
        })
    }

    pub(crate) fn tools(&self) -> &RegistryTools {
        &self.inner.tools
    }

    pub(crate) fn file_key(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError> {
        let [first, ..] = file;
        let pages = self.inner.store.pages();
        pages
            .files(first)
            .and_then(|page| page.keys.get(&file))
            .cloned()
            .ok_or(KeyError::Erased)
    }

    /// Runs a change where blocking is allowed. It is carried through even if nobody waits for it
    /// any more, so memory and disk stay one.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let _permit = self
            .inner
            .waiting
            .acquire()
            .await
            .map_err(|_| KeyError::Unavailable)?;
        let inner = Arc::clone(&self.inner);
        let changed = tokio::task::spawn_blocking(move || change(&inner)).await;
        match changed {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::error!(%error, "the registry could not be written");
                *self
                    .inner
                    .failed
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = true;
                Err(KeyError::Unavailable)
            }
            Err(_panicked_or_stopping) => Err(KeyError::Unavailable),
        }
    }
}

#[async_trait]
impl KeySource for Registry {
    async fn admit(&self, request: &AdmitRequest) -> Result<Admission, KeyError> {
        let request = request.clone();
        let admitted = self.change(move |inner| inner.admit(&request)).await?;
        let metrics = &self.inner.tools.metrics;
        match admitted {
            Ok(Admitted::New(admission)) => {
                metrics.admissions.new.inc();
                metrics.patients.set(self.patients());
                self.audit(Event::Admitted {
                    device: admission.kid,
                })
                .await?;
                Ok(admission)
            }
            Ok(Admitted::Again(admission)) => {
                metrics.admissions.again.inc();
                Ok(admission)
            }
            Ok(Admitted::Reused(device)) => {
                metrics.admissions.reused.inc();
                self.audit(Event::TicketReused { device }).await?;
                Err(KeyError::TicketReused(device))
            }
            Ok(Admitted::Spent) => {
                metrics.admissions.reused.inc();
                Err(KeyError::Refused(Reject::BadTicket))
            }
            Ok(Admitted::Full) => {
                metrics.admissions.full.inc();
                Err(KeyError::Refused(Reject::OverLimit))
            }
            Err(reject) => {
                metrics.admissions.refused.inc();
                Err(KeyError::Refused(reject))
            }
        }
    }

    async fn open(&self, key: &KeyId) -> Result<PatientKey, KeyError> {
        let pages = self.inner.store.pages();
        let patient = pages.place(key).and_then(|(slot, pseudonym)| {
            pages
                .slot(slot)
                .and_then(|page| page.patients.get(&pseudonym))
        });
        match patient {
            Some(patient) => Ok(PatientKey::new(patient.secret.clone())),
            None if pages.is_erased(key) => Err(KeyError::Erased),
            // A key nobody has destroyed is missing: this registry is not the whole one. Whoever
            // took that for an erasure would skip what may still be read.
            None => Err(KeyError::Unavailable),
        }
    }

    async fn erase(&self, key: &KeyId) -> Result<(), KeyError> {
        let key = *key;
        if self.change(move |inner| inner.erase(key)).await? {
            self.inner.tools.metrics.erasures.inc();
            self.inner.tools.metrics.patients.set(self.patients());
            self.audit(Event::Erased { key }).await?;
        }
        Ok(())
    }

    async fn log_key(&self, log: &[u8; 16]) -> Result<LogKeys, KeyError> {
        let derive = |word: &[u8]| {
            let info = [b"pulseward/v1/log\0".as_slice(), word, &[0], log];
            hash::hkdf(&[], self.inner.secrets.log.expose(), &info)
        };
        Ok(LogKeys {
            own: derive(b"own"),
            mac: derive(b"mac"),
        })
    }
}

#[async_trait]
impl FileKeys for Registry {
    async fn create(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError> {
        let [first, ..] = file;
        self.change(move |inner| {
            inner.store.change_files(first, |page| {
                if let Some(key) = page.keys.get(&file) {
                    return (key.clone(), Keep::AsIs);
                }
                let key: Secret<32> = random::secret();
                page.keys.insert(file, key.clone());
                (key, Keep::Changed)
            })
        })
        .await
    }

    async fn open(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError> {
        self.file_key(file)
    }

    async fn destroy(&self, file: [u8; 16]) -> Result<(), KeyError> {
        let [first, ..] = file;
        self.change(move |inner| {
            inner
                .store
                .change_files(first, |page| match page.keys.remove(&file) {
                    Some(_) => ((), Keep::Scrubbed),
                    None => ((), Keep::AsIs),
                })
        })
        .await
    }
}

impl Registry {
    fn patients(&self) -> i64 {
        i64::try_from(self.inner.store.pages().patients()).unwrap_or(i64::MAX)
    }

    async fn audit(&self, event: Event) -> Result<(), KeyError> {
        self.inner
            .tools
            .audit
            .record(event)
            .await
            .map_err(|_| KeyError::Unavailable)
    }
}

#[cfg(test)]
pub(crate) mod tests;
