//! What an admission and an erasure do with a slot's page. No I/O but through the store.

use pulseward_base::{GroupId, KeyId, Kid, Micros, Pseudonym, Reject, Slot};
use pulseward_crypto::{
    VerifyingKey, hash, random,
    slips::{Binding, Bound, Enrolment, Record, Ticket, TicketSlip, record},
};
use pulseward_custody::{Admission, AdmitRequest};

use super::{GROUP_SIZE, Inner};
use crate::{
    page::{Enrolled, Patient, SlotPage},
    store::{Keep, StoreError},
};

/// How many groups of a slot are filled at the same time, so that who shares a group says little
/// of when they enrolled.
pub(super) const OPEN_GROUPS: u32 = 4;

/// What came of an admission, inside a page's change.
pub(super) enum Admitted {
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

    pub(super) fn admit(
        &self,
        request: &AdmitRequest,
    ) -> Result<Result<Admitted, Reject>, StoreError> {
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
    pub(super) fn erase(&self, key: KeyId) -> Result<bool, StoreError> {
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
pub(super) fn open_group(page: &SlotPage, slot: Slot) -> GroupId {
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
