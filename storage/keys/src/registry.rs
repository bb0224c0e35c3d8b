//! The registry: who may send, as which patient, under whose key.
//!
//! It holds the only key of the pseudonymiser and no list of persons: a handle comes with a ticket,
//! becomes a pseudonym, and is forgotten. Whatever it answers is durable before it answers.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use pulseward_base::{Clock, GroupId, KeyId, Kid, Micros, Pseudonym, Reject, Secret, Slot};
use pulseward_crypto::{
    SigningKey, VerifyingKey,
    certificate::CertificateBytes,
    hash, random,
    slips::{Binding, Bound, Enrolment, Record, Ticket, TicketSlip, record},
};
use pulseward_custody::{
    Admission, AdmitRequest, Custodian, CustodyError, FileKeys, KeyError, KeySource, LogKeys,
    PatientKey,
};
use tokio::sync::Semaphore;

use crate::{
    attestation::AttestationPolicy,
    audit::{AuditSink, Event},
    disk::{Disk, RealDisk},
    lock::Lock,
    metrics::Metrics,
    page::{Enrolled, Patient, SlotPage},
    store::{Keep, Store, StoreError},
};

/// How many patients share a group.
pub const GROUP_SIZE: usize = 16;

/// How many groups of a slot are filled at the same time, so that who shares a group says little
/// of when they enrolled.
const OPEN_GROUPS: u32 = 4;

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

/// What came of an admission, inside a page's change.
enum Admitted {
    New(Admission),
    Again(Admission),
    Reused(Kid),
    /// By a patient who was erased since: there is nobody left to suspend.
    Spent,
    Full,
}

impl Inner {
    /// Verifies what needs no page.
    fn check(&self, request: &AdmitRequest) -> Result<(Ticket, Kid, u8), Reject> {
        let ticket = TicketSlip::decode(&request.ticket_slip)
            .and_then(|slip| {
                let root = &self.tools.identity.root;
                slip.verify(&self.settings.vault_root, root, request.now)
            })
            .map_err(|_| Reject::BadTicket)?;
        let device = VerifyingKey::from_point(&request.device)?.kid();
        let verdict = self
            .settings
            .attestation
            .judge(&request.device, &request.attestation)?;
        Ok((ticket, device, verdict))
    }

    /// The pseudonym of a person in a project, and the patient's slot. The handle is not kept.
    fn pseudonym(&self, ticket: &Ticket) -> (Pseudonym, Slot) {
        let key = self.secrets.pseudonym.expose();
        let project = ticket.terms.project.to_le_bytes();
        let pseudonym = Pseudonym(first(&hash::hmac(key, &[&project, &ticket.riders.handle])));
        let [low, high] = first(&hash::hmac(key, &[b"slot", &pseudonym.0]));
        (
            pseudonym,
            Slot(u16::from_le_bytes([low, high]) % Slot::COUNT),
        )
    }

    fn admit(&self, request: &AdmitRequest) -> Result<Result<Admitted, Reject>, StoreError> {
        let (ticket, device, verdict) = match self.check(request) {
            Ok(checked) => checked,
            Err(reject) => return Ok(Err(reject)),
        };
        let mac = hash::hmac(self.secrets.ticket.expose(), &[&ticket.terms.id.0]);
        let (pseudonym, slot) = self.pseudonym(&ticket);
        let wish = Wish {
            request,
            ticket: &ticket,
            device,
            verdict,
            mac,
            pseudonym,
            slot,
        };
        self.store
            .change_slot(slot.0, |page| self.admit_on(page, &wish))
            .map(Ok)
    }

    fn admit_on(&self, page: &mut SlotPage, wish: &Wish<'_>) -> (Admitted, Keep) {
        // A ticket always leads to the same pseudonym, so to this page: this is the one place
        // where it can have been spent.
        let spent = page.patients.iter_mut().find_map(|(pseudonym, patient)| {
            let (key, group) = (patient.key, patient.group);
            let enrolled = patient
                .enrolments
                .iter_mut()
                .find(|known| known.ticket_mac == wish.mac);
            enrolled.map(|enrolled| (*pseudonym, key, group, enrolled))
        });
        if let Some((pseudonym, key, group, enrolled)) = spent {
            if enrolled.device == wish.device && !enrolled.suspended {
                let again = admission(enrolled, pseudonym, key, wish.slot, group);
                return (Admitted::Again(again), Keep::AsIs);
            }
            let first = !enrolled.suspended;
            enrolled.suspended = true;
            let keep = if first { Keep::Changed } else { Keep::AsIs };
            return (Admitted::Reused(enrolled.device), keep);
        }
        if page.spent.contains_key(&wish.mac) {
            return (Admitted::Spent, Keep::AsIs);
        }
        let known = page.patients.get(&wish.pseudonym);
        let full = known.map_or(
            page.patients.len() >= self.settings.max_patients_per_slot,
            |patient| patient.enrolments.len() >= self.settings.max_enrolments_per_patient,
        );
        if full {
            return (Admitted::Full, Keep::AsIs);
        }
        page.spent.retain(|_, expiry| *expiry >= wish.request.now);
        let group = open_group(page, wish.slot);
        let patient = page
            .patients
            .entry(wish.pseudonym)
            .or_insert_with(|| Patient {
                key: KeyId(random::bytes()),
                secret: random::secret(),
                group,
                enrolments: Vec::new(),
            });
        let enrolled = self.enrol(wish, patient.key);
        let new = admission(
            &enrolled,
            wish.pseudonym,
            patient.key,
            wish.slot,
            patient.group,
        );
        patient.enrolments.push(enrolled);
        (Admitted::New(new), Keep::Changed)
    }

    fn enrol(&self, wish: &Wish<'_>, key: KeyId) -> Enrolled {
        let identity = &self.tools.identity;
        let terms = &wish.ticket.terms;
        let record = Record::issue(
            &identity.key,
            &Enrolment {
                device: wish.request.device,
                root: identity.root,
                scope: terms.scope,
                attestation: wish.verdict,
                time: wish.request.now,
            },
        );
        let binding = Binding::issue(
            &identity.key,
            &Bound {
                device: wish.device,
                record: record::digest(&record),
                pseudonym: wish.pseudonym,
                key,
                slot: wish.slot,
                from: wish.request.now,
                until: Micros(i64::MAX),
            },
        );
        Enrolled {
            ticket_mac: wish.mac,
            device: wish.device,
            expiry: terms.expiry,
            scope: terms.scope,
            consent_version: terms.consent_version,
            suspended: false,
            certificate: identity.certificate,
            record,
            binding,
            sealed_handle: wish.ticket.riders.sealed_handle,
        }
    }

    /// Removes the patient with this key from its page, and overwrites what the page was.
    fn erase(&self, key: KeyId) -> Result<bool, StoreError> {
        let Some((slot, pseudonym)) = self.store.pages().place(&key) else {
            return Ok(false);
        };
        self.store.change_slot(slot, |page| {
            if page
                .patients
                .get(&pseudonym)
                .is_none_or(|patient| patient.key != key)
            {
                return (false, Keep::AsIs);
            }
            let patient = page.patients.remove(&pseudonym);
            for enrolled in patient.iter().flat_map(|patient| &patient.enrolments) {
                page.spent.insert(enrolled.ticket_mac, enrolled.expiry);
            }
            page.erased.insert(key);
            (true, Keep::Scrubbed)
        })
    }
}

/// A checked wish to be admitted.
struct Wish<'a> {
    request: &'a AdmitRequest,
    ticket: &'a Ticket,
    device: Kid,
    verdict: u8,
    mac: [u8; 32],
    pseudonym: Pseudonym,
    slot: Slot,
}

fn admission(
    enrolled: &Enrolled,
    pseudonym: Pseudonym,
    key: KeyId,
    slot: Slot,
    group: GroupId,
) -> Admission {
    Admission {
        certificate: enrolled.certificate,
        record: enrolled.record,
        binding: enrolled.binding,
        pseudonym,
        key,
        slot,
        group,
        scope: enrolled.scope,
        sealed_handle: enrolled.sealed_handle,
        consent_version: enrolled.consent_version,
        ticket_mac: enrolled.ticket_mac,
        kid: enrolled.device,
    }
}

/// Draws one of the slot's groups that have room, opening new ones so that there is a choice.
fn open_group(page: &SlotPage, slot: Slot) -> GroupId {
    let base = u32::from(slot.0) << 16;
    let members = |group: u32| {
        page.patients
            .values()
            .filter(|patient| patient.group.0 == base | group)
            .count()
    };
    let patients = u32::try_from(page.patients.len()).unwrap_or(u32::MAX);
    let open: Vec<u32> = (0..=patients.saturating_add(OPEN_GROUPS))
        .filter(|group| members(*group) < GROUP_SIZE)
        .take(usize::try_from(OPEN_GROUPS).unwrap_or(1))
        .collect();
    let draw = usize::from(random::bytes::<1>().first().copied().unwrap_or(0));
    let group = open.get(draw % open.len().max(1)).copied().unwrap_or(0);
    GroupId(base | group)
}

fn first<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut taken = [0; N];
    for (to, from) in taken.iter_mut().zip(bytes) {
        *to = *from;
    }
    taken
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
