//! From a way-back slip to a person.

use pulseward_base::{Kid, Micros, Reject, bytes::Reader};
use pulseward_crypto::slips::{WayBack, WayBackTerms, way_back::SIZE};

use super::{Inner, Vault, acts::shard_of};
use crate::{
    codec,
    error::{Refusal, VaultError},
    ledger::{Act, Note},
    pages::{NewPage, PageId},
    person::Particulars,
    staff::Permission,
};

/// Where a slip says when it expires, counted from its end: before the signature.
const EXPIRY_FROM_END: usize = 72;

impl Vault {
    /// Opens a way-back slip, once, and returns who the person is.
    pub fn way_back(
        &self,
        token: &[u8],
        proof: &[u8],
        slip: &[u8],
    ) -> Result<Particulars, VaultError> {
        let outcome = self.try_way_back(token, proof, slip);
        self.metrics.way_back(&outcome);
        outcome
    }

    fn try_way_back(
        &self,
        token: &[u8],
        proof: &[u8],
        slip: &[u8],
    ) -> Result<Particulars, VaultError> {
        let at = self.at();
        let inner = &mut *self.lock();
        self.sound()?;
        let staff = inner.admit(token, proof, Permission::WayBack, at)?;
        inner
            .doors
            .count_way_back(staff, self.settings.ways_back_per_hour, at)?;
        let note = Note::new(Act::WayBack, at.wall).by(staff);
        match self.open_slip(inner, note, slip, at.wall) {
            Err(VaultError::Refused(refusal)) => {
                // No more than the hourly bound allows.
                self.commit(inner, Vec::new(), &[note.refused(refusal)])?;
                Err(refusal.into())
            }
            outcome => outcome,
        }
    }

    fn open_slip(
        &self,
        inner: &mut Inner,
        note: Note,
        slip: &[u8],
        now: Micros,
    ) -> Result<Particulars, VaultError> {
        let pipeline = self.settings.pipeline_root.ok_or(Refusal::NoPipeline)?;
        let terms = checked_slip(slip, &pipeline, now)?;
        if terms.expiry > now.plus(self.settings.slip_life) {
            return Err(Refusal::Expired.into());
        }
        let reference = self.keys.reference(&terms.id.0);
        let spent = inner.spent.with(reference, terms.expiry, now)?;
        let handle = self
            .keys
            .handles
            .open(&terms.sealed_handle)
            .ok_or(Refusal::BadSlip)?;
        let id = *inner.index.get(&handle).ok_or(Refusal::UnknownPerson)?;
        let shard = self.read_shard(shard_of(&id))?;
        let person = shard.get(&id).ok_or(Refusal::UnknownPerson)?;
        let member = person
            .memberships
            .iter()
            .find(|member| member.handle == handle)
            .ok_or(Refusal::UnknownPerson)?;
        if !member
            .consent()
            .is_some_and(|consent| consent.purposes.care)
        {
            return Err(Refusal::NoConsent.into());
        }
        let generation = inner.next_generation(PageId::Spent);
        let page = NewPage {
            id: PageId::Spent,
            generation,
            plain: codec::encode_spent(&spent),
        };
        let note = note
            .about(id)
            .reference(reference)
            .page(PageId::Spent, generation);
        self.commit(inner, vec![page], &[note])?;
        inner.spent = spent;
        Ok(person.particulars.clone())
    }
}

/// Returns what a slip says, once its signature holds. A slip past its date is told apart from a
/// forged one: it is checked as of that date first.
fn checked_slip(slip: &[u8], pipeline: &Kid, now: Micros) -> Result<WayBackTerms, Refusal> {
    let decoded = WayBack::decode(slip).map_err(|_: Reject| Refusal::BadSlip)?;
    let expiry = slip
        .get(SIZE - EXPIRY_FROM_END..)
        .and_then(|tail| Reader::new(tail).i64().ok())
        .map(Micros)
        .ok_or(Refusal::BadSlip)?;
    let terms = decoded
        .verify(pipeline, now.min(expiry))
        .map_err(|_: Reject| Refusal::BadSlip)?;
    if terms.expiry < now {
        return Err(Refusal::Expired);
    }
    Ok(terms)
}
