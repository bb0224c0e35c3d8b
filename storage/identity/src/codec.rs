//! The plaintext of the vault's pages. Layouts: `docs/formats/vault.md`.
//!
//! Decoders are total: they never panic and never allocate by a length they have not checked. What
//! they accept, they encode to the same bytes again.

use std::collections::BTreeMap;

use pulseward_base::{
    Digest, Micros, Secret, TicketId,
    bytes::{Malformed, Reader, Writer},
};
use zeroize::Zeroizing;

use crate::{
    person::{
        BirthDate, Consent, Fact, Handle, IssuedTicket, LONGEST_TEXT, MOST_CONSENTS, MOST_FACTS,
        MOST_PROJECTS, MOST_TICKETS, Membership, Particulars, Person, PersonId, Purposes, StaffId,
        Text, WrittenConsent,
    },
    spent::Spent,
    staff::{Account, Role},
};

/// The longest record of one person that is believed.
const LONGEST_PERSON: usize = 1 << 20;
/// More than most persons need, so that a page is seldom moved, and left behind, as it grows.
const USUAL_PERSON: usize = 512;

/// Writes a shard of persons.
pub(crate) fn encode_persons(persons: &BTreeMap<PersonId, Person>) -> Zeroizing<Vec<u8>> {
    let mut page = Writer::with_capacity(4 + persons.len() * USUAL_PERSON);
    page.u32(counted(persons.len()));
    for person in persons.values() {
        let record = Zeroizing::new(encode_person(person));
        page.prefixed(&record);
    }
    Zeroizing::new(page.into_vec())
}

/// Reads a shard of persons.
pub(crate) fn decode_persons(page: &[u8]) -> Result<BTreeMap<PersonId, Person>, Malformed> {
    let mut reader = Reader::new(page);
    let mut persons = BTreeMap::new();
    for _ in 0..reader.u32()? {
        let person = decode_person(reader.prefixed(LONGEST_PERSON)?)?;
        ascending(&persons, &person.id)?;
        persons.insert(person.id, person);
    }
    reader.end()?;
    Ok(persons)
}

fn encode_person(person: &Person) -> Vec<u8> {
    let (year, month, day) = person.particulars.birth.parts();
    let mut writer = Writer::with_capacity(USUAL_PERSON);
    writer
        .put(&person.id.0)
        .i64(person.registered.0)
        .prefixed(person.particulars.name.expose().as_bytes())
        .u16(year)
        .u8(month)
        .u8(day)
        .prefixed(person.particulars.contact.expose().as_bytes())
        .u32(counted(person.facts.len()));
    for fact in &person.facts {
        writer
            .prefixed(fact.name.expose().as_bytes())
            .prefixed(fact.value.expose().as_bytes());
    }
    writer.u32(counted(person.memberships.len()));
    for member in &person.memberships {
        encode_membership(&mut writer, member);
    }
    writer.into_vec()
}

fn encode_membership(writer: &mut Writer, member: &Membership) {
    writer
        .u32(member.project)
        .put(&member.handle.0)
        .u32(counted(member.consents.len()));
    for WrittenConsent { consent, at } in &member.consents {
        writer
            .u32(consent.version)
            .u64(consent.scope)
            .u8(consent.purposes.bits())
            .i64(at.0);
    }
    writer.u32(counted(member.tickets.len()));
    for ticket in &member.tickets {
        writer.put(&ticket.id.0).i64(ticket.expiry.0);
    }
}

fn decode_person(record: &[u8]) -> Result<Person, Malformed> {
    let mut reader = Reader::new(record);
    let id = PersonId(reader.array()?);
    let registered = Micros(reader.i64()?);
    let name = text(&mut reader)?;
    let birth = BirthDate::new(reader.u16()?, reader.u8()?, reader.u8()?).map_err(|_| Malformed)?;
    let contact = text(&mut reader)?;
    let facts = list(&mut reader, MOST_FACTS, |reader| {
        Ok(Fact {
            name: text(reader)?,
            value: text(reader)?,
        })
    })?;
    let memberships = list(&mut reader, MOST_PROJECTS, decode_membership)?;
    reader.end()?;
    Ok(Person {
        id,
        particulars: Particulars {
            name,
            birth,
            contact,
        },
        registered,
        facts,
        memberships,
    })
}

fn decode_membership(reader: &mut Reader<'_>) -> Result<Membership, Malformed> {
    let project = reader.u32()?;
    let handle = Handle(reader.array()?);
    let consents = list(reader, MOST_CONSENTS, decode_consent)?;
    if !consents.is_sorted_by(|one, next| one.consent.version < next.consent.version) {
        return Err(Malformed);
    }
    let tickets = list(reader, MOST_TICKETS, |reader| {
        Ok(IssuedTicket {
            id: TicketId(reader.array()?),
            expiry: Micros(reader.i64()?),
        })
    })?;
    Ok(Membership {
        project,
        handle,
        consents,
        tickets,
    })
}

fn decode_consent(reader: &mut Reader<'_>) -> Result<WrittenConsent, Malformed> {
    Ok(WrittenConsent {
        consent: Consent {
            version: reader.u32()?,
            scope: reader.u64()?,
            purposes: Purposes::from_bits(reader.u8()?).ok_or(Malformed)?,
        },
        at: Micros(reader.i64()?),
    })
}

/// Writes the list of spent slips.
pub(crate) fn encode_spent(spent: &Spent) -> Zeroizing<Vec<u8>> {
    let mut page = Writer::with_capacity(16 + spent.slips.len() * 24);
    page.i64(spent.forgotten_until.0)
        .u32(counted(spent.slips.len()));
    for (reference, expiry) in &spent.slips {
        page.put(reference).i64(expiry.0);
    }
    Zeroizing::new(page.into_vec())
}

/// Reads the list of spent slips.
pub(crate) fn decode_spent(page: &[u8]) -> Result<Spent, Malformed> {
    let mut reader = Reader::new(page);
    let mut spent = Spent {
        forgotten_until: Micros(reader.i64()?),
        slips: BTreeMap::new(),
    };
    for _ in 0..reader.u32()? {
        let reference = reader.array()?;
        ascending(&spent.slips, &reference)?;
        spent.slips.insert(reference, Micros(reader.i64()?));
    }
    reader.end()?;
    Ok(spent)
}

/// Writes the staff.
pub(crate) fn encode_staff(staff: &BTreeMap<StaffId, Account>) -> Zeroizing<Vec<u8>> {
    let mut page = Writer::with_capacity(4 + staff.len() * USUAL_PERSON);
    page.u32(counted(staff.len()));
    for (id, account) in staff {
        page.put(&id.0)
            .prefixed(account.name.expose().as_bytes())
            .u8(account.role.number())
            .put(&account.token.0)
            .put(account.totp.expose())
            .i64(account.used_step)
            .i64(account.added.0);
    }
    Zeroizing::new(page.into_vec())
}

/// Reads the staff.
pub(crate) fn decode_staff(page: &[u8]) -> Result<BTreeMap<StaffId, Account>, Malformed> {
    let mut reader = Reader::new(page);
    let mut staff = BTreeMap::new();
    for _ in 0..reader.u32()? {
        let id = StaffId(reader.array()?);
        ascending(&staff, &id)?;
        let account = Account {
            name: text(&mut reader)?,
            role: Role::from_number(reader.u8()?).ok_or(Malformed)?,
            token: Digest(reader.array()?),
            totp: Secret::new(reader.array()?),
            used_step: reader.i64()?,
            added: Micros(reader.i64()?),
        };
        staff.insert(id, account);
    }
    reader.end()?;
    Ok(staff)
}

/// Every list here is bounded far below 2³².
fn counted(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn text(reader: &mut Reader<'_>) -> Result<Text, Malformed> {
    let bytes = reader.prefixed(LONGEST_TEXT)?;
    let plain = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    let text = Text::new(plain).map_err(|_| Malformed)?;
    if text.expose() == plain {
        Ok(text)
    } else {
        Err(Malformed)
    }
}

fn list<T>(
    reader: &mut Reader<'_>,
    most: usize,
    item: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
    if count > most {
        return Err(Malformed);
    }
    (0..count).map(|_| item(reader)).collect()
}

fn ascending<K: Ord, V>(map: &BTreeMap<K, V>, next: &K) -> Result<(), Malformed> {
    match map.last_key_value() {
        Some((last, _)) if last >= next => Err(Malformed),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
