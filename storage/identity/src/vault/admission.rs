//! Staff: their accounts, their second factor, and what a call needs to be let in.

use std::collections::BTreeMap;

use pulseward_crypto::hash::sha256;

use super::{Actor, Inner, Vault};
use crate::{
    codec,
    error::{Refusal, StoreError, VaultError},
    ledger::{Act, Note},
    pages::{NewPage, PageId},
    person::{StaffId, Text},
    staff::{self, At, Credentials, MOST_STAFF, Permission, Role, Session},
};

impl Vault {
    /// Judges a second factor and opens a session.
    pub fn confirm(&self, token: &[u8], code: &str) -> Result<Session, VaultError> {
        let outcome = self.try_confirm(token, code);
        self.metrics.second_factor(&outcome);
        outcome
    }

    fn try_confirm(&self, token: &[u8], code: &str) -> Result<Session, VaultError> {
        let at = self.at();
        let inner = &mut *self.lock();
        self.sound()?;
        let id = inner.holder(token)?;
        let account = inner.staff.get(&id).ok_or(Refusal::NotAdmitted)?;
        let note = Note::new(Act::Confirm, at.wall).by(id);
        let step = match inner.doors.judge(id, account, code, at) {
            Ok(step) => step,
            Err(Refusal::SecondFactor) => {
                // At most a handful per account and quarter of an hour: then it is locked.
                let refused = note.refused(Refusal::SecondFactor);
                self.commit(inner, Vec::new(), &[refused])?;
                return Err(Refusal::SecondFactor.into());
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let mut staff = inner.staff.clone();
        if let Some(account) = staff.get_mut(&id) {
            account.used_step = step;
        }
        self.commit_staff(inner, staff, note)?;
        Ok(inner.doors.open(id, at))
    }

    /// Returns who asks, when token, role and second factor allow it.
    pub fn admit(
        &self,
        token: &[u8],
        proof: &[u8],
        permission: Permission,
    ) -> Result<Actor, VaultError> {
        let at = self.at();
        Ok(Actor::Staff(
            self.lock().admit(token, proof, permission, at)?,
        ))
    }

    /// Adds a staff member; what is returned is shown once and not kept.
    pub fn add_staff(&self, name: &str, role: Role) -> Result<Credentials, VaultError> {
        let now = self.clock.now();
        let inner = &mut *self.lock();
        self.sound()?;
        if inner.staff.len() >= MOST_STAFF {
            return Err(Refusal::Full.into());
        }
        let (account, credentials) = staff::new_account(Text::new(name)?, role, now);
        let mut staff = inner.staff.clone();
        staff.insert(credentials.id, account);
        let note = Note::new(Act::AddStaff, now).reference(credentials.id.0);
        self.commit_staff(inner, staff, note)?;
        self.refresh_gauges(inner);
        Ok(credentials)
    }

    /// Removes a staff member; the token opens nothing from then on.
    pub fn remove_staff(&self, id: StaffId) -> Result<(), VaultError> {
        let now = self.clock.now();
        let inner = &mut *self.lock();
        self.sound()?;
        let mut staff = inner.staff.clone();
        staff.remove(&id).ok_or(Refusal::NotAdmitted)?;
        let note = Note::new(Act::RemoveStaff, now).reference(id.0);
        self.commit_staff(inner, staff, note)?;
        self.refresh_gauges(inner);
        Ok(())
    }

    fn commit_staff(
        &self,
        inner: &mut Inner,
        staff: BTreeMap<StaffId, staff::Account>,
        note: Note,
    ) -> Result<(), StoreError> {
        let generation = inner.next_generation(PageId::Staff);
        let page = NewPage {
            id: PageId::Staff,
            generation,
            plain: codec::encode_staff(&staff),
        };
        self.commit(inner, vec![page], &[note.page(PageId::Staff, generation)])?;
        inner.staff = staff;
        Ok(())
    }
}

impl Inner {
    /// Returns whose token it is.
    fn holder(&self, token: &[u8]) -> Result<StaffId, Refusal> {
        let digest = sha256(&[token]);
        self.staff
            .iter()
            .find(|(_, account)| account.token == digest)
            .map(|(id, _)| *id)
            .ok_or(Refusal::NotAdmitted)
    }

    pub(super) fn admit(
        &self,
        token: &[u8],
        proof: &[u8],
        permission: Permission,
        at: At,
    ) -> Result<StaffId, Refusal> {
        let id = self.holder(token)?;
        let account = self.staff.get(&id).ok_or(Refusal::NotAdmitted)?;
        if !account.role.may(permission) {
            return Err(Refusal::NotPermitted);
        }
        self.doors.check(id, proof, at)?;
        Ok(id)
    }
}
