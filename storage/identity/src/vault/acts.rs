//! Registering, consents and tickets.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use pulseward_base::{Kid, Micros, TicketId};
use pulseward_crypto::{
    certificate::CertificateBytes,
    random,
    slips::{TicketSlip, TicketTerms, ticket::Riders},
};

use super::{Inner, Vault};
use crate::{
    codec,
    error::{Refusal, VaultError},
    ledger::{Act, Note},
    pages::{NewPage, PageId},
    person::{
        Consent, Fact, Handle, IssuedTicket, MOST_FACTS, Membership, Particulars, Person, PersonId,
        StaffId,
    },
};

/// How many persons one act may register.
pub const MOST_AT_ONCE: usize = 10_000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever owns the program's admin socket.
    Operator,
    /// A staff member whose token, role and second factor were checked.
    Staff(StaffId),
}

impl Actor {
    const fn id(self) -> StaffId {
        match self {
            Self::Operator => StaffId::ZERO,
            Self::Staff(id) => id,
        }
    }
}

/// Somebody to register.
#[derive(Clone, Debug)]
pub struct NewPerson {
    /// Who it is.
    pub particulars: Particulars,
    /// What studies ask for.
    pub facts: Vec<Fact>,
    /// The project to join.
    pub project: u32,
    /// What the person agrees to there.
    pub consent: Consent,
}

/// Somebody who was registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The vault's own name for the person.
    pub person: PersonId,
    /// The ticket slip, if one was wished for.
    pub ticket_slip: Option<Vec<u8>>,
}

/// What a ticket is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketWish {
    /// The project.
    pub project: u32,
    /// Which kinds; all that the consent covers if none is said.
    pub scope: Option<u64>,
}

/// What issuing tickets needs, worked out once per act.
struct Issuing {
    pipeline: Kid,
    certificate: CertificateBytes,
    now: Micros,
    expiry: Micros,
}

/// Registrations that become durable together.
#[derive(Default)]
struct Batch {
    shards: BTreeMap<PageId, BTreeMap<PersonId, Person>>,
    notes: Vec<Note>,
    handles: Vec<(Handle, PersonId)>,
    registered: Vec<Registered>,
}

impl Batch {
    /// Leaves each page to the last note on it: if a crash cuts the notes short, the page is ahead
    /// of the chain, and the next start writes that down.
    fn say_each_page_last(&mut self) {
        let mut said = BTreeSet::new();
        for note in self.notes.iter_mut().rev() {
            if let Some(page) = note.page_id()
                && !said.insert(page)
            {
                *note = note.without_page();
            }
        }
    }
}

impl Vault {
    /// Registers persons, each with a ticket if `with_tickets`. All or, after a crash, any of them
    /// are registered; all are when this returns.
    pub fn register(
        &self,
        actor: Actor,
        persons: Vec<NewPerson>,
        with_tickets: bool,
    ) -> Result<Vec<Registered>, VaultError> {
        let issuing = with_tickets.then(|| self.issuing()).transpose()?;
        let inner = &mut *self.lock();
        self.sound()?;
        if persons.len() > MOST_AT_ONCE
            || persons.len() > self.settings.max_persons.saturating_sub(inner.persons)
        {
            return Err(Refusal::Full.into());
        }
        let mut batch = Batch::default();
        for new in persons {
            self.take_in(inner, &mut batch, issuing.as_ref(), actor, new)?;
        }
        let pages = batch
            .shards
            .iter()
            .map(|(id, persons)| NewPage {
                id: *id,
                generation: inner.next_generation(*id),
                plain: codec::encode_persons(persons),
            })
            .collect();
        batch.say_each_page_last();
        self.commit(inner, pages, &batch.notes)?;
        inner.persons += batch.registered.len();
        inner.index.extend(batch.handles);
        self.refresh_gauges(inner);
        if issuing.is_some() {
            self.metrics.tickets.inc_by(batch.registered.len() as u64);
        }
        Ok(batch.registered)
    }

    /// Puts one more person into a batch; nothing of it is written yet.
    fn take_in(
        &self,
        inner: &Inner,
        batch: &mut Batch,
        issuing: Option<&Issuing>,
        actor: Actor,
        new: NewPerson,
    ) -> Result<(), VaultError> {
        let now = self.clock.now();
        let project = new.project;
        let mut person = first_record(new, now)?;
        let id = person.id;
        let member = person.join(project)?;
        batch.handles.push((member.handle, id));
        let page = shard_of(&id);
        let note = Note::new(Act::Register, now)
            .by(actor.id())
            .about(id)
            .page(page, inner.next_generation(page));
        batch.notes.push(note);
        let ticket_slip = match issuing {
            Some(issuing) => {
                let ticket = TicketId(random::bytes());
                let reference = self.keys.reference(&ticket.0);
                batch.notes.push(note.act(Act::Ticket).reference(reference));
                Some(self.issue(issuing, ticket, member, None)?)
            }
            None => None,
        };
        let shard = match batch.shards.entry(page) {
            Entry::Occupied(shard) => shard.into_mut(),
            Entry::Vacant(place) => place.insert(self.read_shard(page)?),
        };
        shard.insert(id, person);
        batch.registered.push(Registered {
            person: id,
            ticket_slip,
        });
        Ok(())
    }

    /// Writes down a newer consent, joining the project if need be.
    pub fn record_consent(
        &self,
        actor: Actor,
        id: PersonId,
        project: u32,
        consent: Consent,
    ) -> Result<(), VaultError> {
        let now = self.clock.now();
        let inner = &mut *self.lock();
        let note = Note::new(Act::Consent, now).by(actor.id());
        let person = self.change(inner, id, note, |person| {
            person.join(project)?.record(consent, now)
        })?;
        inner.index_person(&person);
        self.metrics.consents.inc();
        Ok(())
    }

    /// Issues a ticket within what the person agreed to.
    pub fn issue_ticket(
        &self,
        actor: Actor,
        id: PersonId,
        wish: TicketWish,
    ) -> Result<Vec<u8>, VaultError> {
        let now = self.clock.now();
        let issuing = self.issuing()?;
        let ticket = TicketId(random::bytes());
        let note = Note::new(Act::Ticket, now)
            .by(actor.id())
            .reference(self.keys.reference(&ticket.0));
        let mut issued = None;
        let inner = &mut *self.lock();
        self.change(inner, id, note, |person| {
            let member = person
                .membership_mut(wish.project)
                .ok_or(Refusal::NoConsent)?;
            issued = Some(self.issue(&issuing, ticket, member, wish.scope)?);
            Ok(())
        })?;
        self.metrics.tickets.inc();
        issued.ok_or_else(|| Refusal::UnknownPerson.into())
    }

    /// Changes one person; nothing of it holds unless it was written.
    fn change(
        &self,
        inner: &mut Inner,
        id: PersonId,
        note: Note,
        change: impl FnOnce(&mut Person) -> Result<(), Refusal>,
    ) -> Result<Person, VaultError> {
        self.sound()?;
        let page = shard_of(&id);
        let mut shard = self.read_shard(page)?;
        let person = shard.get_mut(&id).ok_or(Refusal::UnknownPerson)?;
        change(person)?;
        let person = person.clone();
        let generation = inner.next_generation(page);
        let new = NewPage {
            id: page,
            generation,
            plain: codec::encode_persons(&shard),
        };
        self.commit(inner, vec![new], &[note.about(id).page(page, generation)])?;
        Ok(person)
    }

    fn issuing(&self) -> Result<Issuing, Refusal> {
        let now = self.clock.now();
        Ok(Issuing {
            pipeline: self.settings.pipeline_root.ok_or(Refusal::NoPipeline)?,
            certificate: self.keys.certificate(now),
            now,
            expiry: now.plus(self.settings.ticket_life),
        })
    }

    fn issue(
        &self,
        issuing: &Issuing,
        id: TicketId,
        member: &mut Membership,
        scope: Option<u64>,
    ) -> Result<Vec<u8>, Refusal> {
        let consent = member.consent().ok_or(Refusal::NoConsent)?;
        if consent.purposes.bits() == 0 {
            return Err(Refusal::NoConsent);
        }
        let scope = scope.unwrap_or(consent.scope);
        if scope & !consent.scope != 0 || scope == 0 {
            return Err(Refusal::OutOfScope);
        }
        let ticket = IssuedTicket {
            id,
            expiry: issuing.expiry,
        };
        member.issue(ticket, issuing.now)?;
        let terms = TicketTerms {
            id,
            root: issuing.pipeline,
            project: member.project,
            expiry: issuing.expiry,
            scope,
            consent_version: consent.version,
        };
        let riders = Riders {
            handle: member.handle.0,
            salt: random::bytes(),
            sealed_handle: self.keys.handles.seal(member.handle),
        };
        Ok(TicketSlip::issue(
            &issuing.certificate,
            &self.keys.signer,
            &terms,
            &riders,
        ))
    }
}

/// Returns the page that holds a person.
pub(super) fn shard_of(id: &PersonId) -> PageId {
    let [first, ..] = id.0;
    PageId::Persons(first % PageId::SHARDS)
}

fn first_record(new: NewPerson, now: Micros) -> Result<Person, Refusal> {
    if new.facts.len() > MOST_FACTS {
        return Err(Refusal::Full);
    }
    let mut person = Person {
        id: PersonId::random(),
        particulars: new.particulars,
        registered: now,
        facts: new.facts,
        memberships: Vec::new(),
    };
    person.join(new.project)?.record(new.consent, now)?;
    Ok(person)
}
