//! Keys in memory: the whole of [`KeySource`] and [`FileKeys`] for the tests of those who ask.
//! Tickets, records and bindings are the real ones; only nothing outlives the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use pulseward_base::{GroupId, KeyId, Kid, Micros, Pseudonym, Reject, Secret, Slot, TicketId};
use pulseward_crypto::{
    SigningKey, VerifyingKey,
    certificate::{self, CertificateBytes, Use},
    hash::hmac,
    random,
    slips::{Binding, Bound, Enrolment, Record, Ticket, TicketSlip, record},
};

use crate::keys::{Admission, AdmitRequest, FileKeys, KeyError, KeySource, LogKeys, PatientKey};

/// Keys in memory, under a root of their own.
#[derive(Debug)]
pub struct MemoryKeys {
    root: SigningKey,
    registry: SigningKey,
    certificate: CertificateBytes,
    vault_root: Kid,
    secret: Secret<32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Erased keys stay, as none.
    patients: BTreeMap<KeyId, Option<Secret<32>>>,
    files: BTreeMap<[u8; 16], Option<Secret<32>>>,
    spent: BTreeMap<TicketId, Admission>,
    unavailable: bool,
}

impl MemoryKeys {
    /// Returns keys that admit devices with tickets of the vault under `vault_root`.
    #[must_use]
    pub fn new(vault_root: Kid) -> Self {
        let (root, registry) = (SigningKey::generate(), SigningKey::generate());
        let certificate = certificate::issue(
            &root,
            Use::Registry,
            &registry.point(),
            Micros(i64::MIN),
            Micros(i64::MAX),
        );
        Self {
            root,
            registry,
            certificate,
            vault_root,
            secret: random::secret(),
            state: Mutex::default(),
        }
    }

    /// Returns the pipeline's root, to certify others with.
    #[must_use]
    pub const fn root(&self) -> &SigningKey {
        &self.root
    }

    /// Makes a patient's key without a device.
    pub fn patient(&self) -> KeyId {
        let key = KeyId(random::bytes());
        self.lock().patients.insert(key, Some(random::secret()));
        key
    }

    /// Makes every key unavailable, or available again.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.lock().unavailable = unavailable;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn available(&self) -> Result<MutexGuard<'_, State>, KeyError> {
        let state = self.lock();
        if state.unavailable {
            return Err(KeyError::Unavailable);
        }
        Ok(state)
    }

    fn pseudonym(&self, ticket: &Ticket) -> (Pseudonym, Slot) {
        let project = ticket.terms.project.to_le_bytes();
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] =
            hmac(self.secret.expose(), &[&project, &ticket.riders.handle]);
        let pseudonym = Pseudonym([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]);
        let [low, high, ..] = hmac(self.secret.expose(), &[b"slot", &pseudonym.0]);
        (
            pseudonym,
            Slot(u16::from_le_bytes([low, high]) % Slot::COUNT),
        )
    }

    fn admission(&self, request: &AdmitRequest, ticket: &Ticket, kid: Kid) -> Admission {
        let enrolment = Enrolment {
            device: request.device,
            root: self.root.kid(),
            scope: ticket.terms.scope,
            attestation: 1,
            time: request.now,
        };
        let record = Record::issue(&self.registry, &enrolment);
        let (pseudonym, slot) = self.pseudonym(ticket);
        let bound = Bound {
            device: kid,
            record: record::digest(&record),
            pseudonym,
            key: KeyId(pseudonym.0),
            slot,
            from: request.now,
            until: Micros(i64::MAX),
        };
        Admission {
            certificate: self.certificate,
            record,
            binding: Binding::issue(&self.registry, &bound),
            pseudonym,
            key: bound.key,
            slot,
            group: GroupId(0),
            scope: enrolment.scope,
            sealed_handle: ticket.riders.sealed_handle,
            consent_version: ticket.terms.consent_version,
            ticket_mac: hmac(self.secret.expose(), &[b"ticket", &ticket.terms.id.0]),
            kid,
        }
    }
}

#[async_trait]
impl KeySource for MemoryKeys {
    async fn admit(&self, request: &AdmitRequest) -> Result<Admission, KeyError> {
        let ticket = TicketSlip::decode(&request.ticket_slip)
            .and_then(|slip| slip.verify(&self.vault_root, &self.root.kid(), request.now))
            .map_err(|_| KeyError::Refused(Reject::BadTicket))?;
        let kid = VerifyingKey::from_point(&request.device)
            .map_err(KeyError::Refused)?
            .kid();
        let mut state = self.available()?;
        if let Some(admission) = state.spent.get(&ticket.terms.id) {
            return if admission.kid == kid {
                Ok(admission.clone())
            } else {
                Err(KeyError::TicketReused(admission.kid))
            };
        }
        let admission = self.admission(request, &ticket, kid);
        state
            .patients
            .entry(admission.key)
            .or_insert_with(|| Some(random::secret()));
        state.spent.insert(ticket.terms.id, admission.clone());
        Ok(admission)
    }

    async fn open(&self, key: &KeyId) -> Result<PatientKey, KeyError> {
        match self.available()?.patients.get(key) {
            Some(Some(secret)) => Ok(PatientKey::new(secret.clone())),
            Some(None) => Err(KeyError::Erased),
            None => Err(KeyError::Unavailable),
        }
    }

    async fn erase(&self, key: &KeyId) -> Result<(), KeyError> {
        self.available()?.patients.insert(*key, None);
        Ok(())
    }

    async fn log_key(&self, log: &[u8; 16]) -> Result<LogKeys, KeyError> {
        let _available = self.available()?;
        let derived = |word: &[u8]| Secret::new(hmac(self.secret.expose(), &[word, log]));
        Ok(LogKeys {
            own: derived(b"own"),
            mac: derived(b"mac"),
        })
    }
}

#[async_trait]
impl FileKeys for MemoryKeys {
    async fn create(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError> {
        let mut state = self.available()?;
        let key = state
            .files
            .entry(file)
            .or_insert_with(|| Some(random::secret()));
        key.clone().ok_or(KeyError::Erased)
    }

    async fn open(&self, file: [u8; 16]) -> Result<Secret<32>, KeyError> {
        match self.available()?.files.get(&file) {
            Some(Some(key)) => Ok(key.clone()),
            Some(None) => Err(KeyError::Erased),
            None => Err(KeyError::Unavailable),
        }
    }

    async fn destroy(&self, file: [u8; 16]) -> Result<(), KeyError> {
        self.available()?.files.insert(file, None);
        Ok(())
    }
}
