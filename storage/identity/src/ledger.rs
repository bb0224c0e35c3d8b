//! The vault's audit chain: who did what to whom, in keyed and random names only, and which page
//! it left in which generation, so that a page that was put back is seen.
//!
//! ```text
//! file  = "PWA1" | 0 u32 | entry…
//! entry = record (115, in clear, as docs/formats/audit.md) | nonce (12) | AES-256-GCM(note (69))
//! ```
//!
//! The record's subject is the note's digest, and the record is the seal's AAD: anybody can check
//! the chain, only the vault can read what was done to whom. An entry that a crash cut short is
//! dropped at the next start; it was never acknowledged.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use pulseward_audit::{Action, Chain, Entry, Head, Record};
use pulseward_base::{
    Digest, Micros, Secret,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{aead, hash::sha256, random};

use crate::{
    error::{Refusal, StoreError},
    pages::PageId,
    person::{PersonId, StaffId},
};

const MAGIC: [u8; 8] = *b"PWA1\0\0\0\0";
const NONCE: usize = 12;
/// How many bytes an entry has.
const ENTRY: usize = pulseward_audit::SIZE + NONCE + NOTE_SIZE + aead::TAG_SIZE;
const VERSION: u8 = 1;
/// How many bytes a note has.
const NOTE_SIZE: usize = 69;
/// "No page" in a note.
const NO_PAGE: u16 = u16::MAX;

/// Declares the acts with the number that is written.
macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Act {
            $($(#[$doc])* $name,)*
        }

        impl Act {
            const fn number(self) -> u8 {
                match self { $(Self::$name => $number),* }
            }

            const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

acts! {
    /// A staff member was added.
    AddStaff = 1;
    /// A staff member was removed.
    RemoveStaff = 2;
    /// A second factor was shown.
    Confirm = 3;
    /// A person was registered.
    Register = 4;
    /// A consent was written down.
    Consent = 5;
    /// A ticket was issued.
    Ticket = 6;
    /// A way-back slip was shown.
    WayBack = 7;
    /// A page was found one writing ahead of the chain: a crash came between the two, and nobody
    /// was told that the act was done.
    Recovered = 8;
    /// The chain was begun.
    Begun = 9;
}

impl Act {
    /// Returns what the chain calls it.
    const fn action(self, refused: bool) -> Action {
        match (self, refused) {
            (Self::AddStaff, _) => Action::StaffAdded,
            (Self::RemoveStaff, _) => Action::StaffRemoved,
            (Self::Confirm, false) => Action::SignedIn,
            (Self::Confirm, true) => Action::SignInRefused,
            (Self::Register, _) => Action::PersonRegistered,
            (Self::Consent, _) => Action::ConsentChanged,
            (Self::Ticket, _) => Action::TicketIssued,
            (Self::WayBack, false) => Action::PersonShown,
            (Self::WayBack, true) => Action::PersonRefused,
            (Self::Recovered, _) => Action::ActRecovered,
            (Self::Begun, _) => Action::Begun,
        }
    }
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    at: Micros,
    act: Act,
    /// Why it was refused; nothing if it was done.
    refusal: Option<Refusal>,
    /// Zeros: whoever owns the admin socket.
    actor: StaffId,
    /// Zeros: nobody.
    person: PersonId,
    /// A slip's or ticket's keyed digest, or a staff id; zeros if neither.
    reference: [u8; 16],
    page: Option<(PageId, u64)>,
}

impl Note {
    pub(crate) const fn new(act: Act, at: Micros) -> Self {
        Self {
            at,
            act,
            refusal: None,
            actor: StaffId::ZERO,
            person: PersonId::ZERO,
            reference: [0; 16],
            page: None,
        }
    }

    pub(crate) const fn act(mut self, act: Act) -> Self {
        self.act = act;
        self
    }

    pub(crate) const fn refused(mut self, refusal: Refusal) -> Self {
        self.refusal = Some(refusal);
        self
    }

    pub(crate) const fn by(mut self, actor: StaffId) -> Self {
        self.actor = actor;
        self
    }

    pub(crate) const fn about(mut self, person: PersonId) -> Self {
        self.person = person;
        self
    }

    pub(crate) const fn reference(mut self, reference: [u8; 16]) -> Self {
        self.reference = reference;
        self
    }

    pub(crate) const fn page(mut self, page: PageId, generation: u64) -> Self {
        self.page = Some((page, generation));
        self
    }

    pub(crate) fn page_id(&self) -> Option<PageId> {
        self.page.map(|(page, _)| page)
    }

    pub(crate) const fn without_page(mut self) -> Self {
        self.page = None;
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(NOTE_SIZE);
        writer
            .u8(VERSION)
            .u8(self.act.number())
            .u8(self.refusal.map_or(0, Refusal::number))
            .i64(self.at.0)
            .put(&self.actor.0)
            .put(&self.person.0)
            .put(&self.reference);
        match self.page {
            Some((page, generation)) => writer.u16(page.number()).u64(generation),
            None => writer.u16(NO_PAGE).u64(0),
        };
        writer.into_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        let act = Act::from_number(reader.u8()?).ok_or(Malformed)?;
        let refusal = match reader.u8()? {
            0 => None,
            number => Some(Refusal::from_number(number).ok_or(Malformed)?),
        };
        let note = Self {
            at: Micros(reader.i64()?),
            act,
            refusal,
            actor: StaffId(reader.array()?),
            person: PersonId(reader.array()?),
            reference: reader.array()?,
            page: match (reader.u16()?, reader.u64()?) {
                (NO_PAGE, 0) => None,
                (page, generation) => {
                    Some((PageId::from_number(page).ok_or(Malformed)?, generation))
                }
            },
        };
        reader.end()?;
        if version == VERSION {
            Ok(note)
        } else {
            Err(Malformed)
        }
    }
}

/// The chain's file, open for appending.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    key: aead::Key,
    chain: Chain,
}

impl Ledger {
    /// Opens the chain at `path`, or begins one, and checks all of it. Also returns the newest
    /// generation that it names of each page.
    pub(crate) fn open(
        path: &Path,
        key: &Secret<32>,
        now: Micros,
    ) -> Result<(Self, BTreeMap<PageId, u64>), StoreError> {
        let failed = |source| StoreError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut ledger = Self {
            path: path.to_owned(),
            file,
            key: aead::Key::new(key),
            chain: Chain::begin(),
        };
        let length = ledger.file.metadata().map_err(failed)?.len();
        if length < MAGIC.len() as u64 {
            ledger.begin(now)?;
            return Ok((ledger, BTreeMap::new()));
        }
        let generations = ledger.check()?;
        Ok((ledger, generations))
    }

    /// Appends notes; they are durable when it returns. After a failure the chain is not used again.
    pub(crate) fn append(&mut self, notes: &[Note]) -> Result<(), StoreError> {
        let mut bytes = Writer::with_capacity(notes.len() * ENTRY);
        for note in notes {
            let plain = note.encode();
            let record = self.chain.append(Entry {
                time: note.at,
                actor: actor_digest(note.actor),
                action: note.act.action(note.refusal.is_some()),
                subject: note_digest(&plain),
            });
            let nonce: [u8; NONCE] = random::bytes();
            let mut sealed = plain;
            self.key.seal(nonce, &record, &mut sealed);
            bytes.put(&record).put(&nonce).put(&sealed);
        }
        self.file
            .write_all(bytes.as_slice())
            .and_then(|()| self.file.sync_data())
            .map_err(|source| self.failed(source))
    }

    /// Returns how many records there are.
    pub(crate) const fn count(&self) -> u64 {
        self.chain.head().count
    }

    /// Returns the digest of the last record.
    pub(crate) const fn head(&self) -> Digest {
        self.chain.head().last
    }

    fn begin(&mut self, now: Micros) -> Result<(), StoreError> {
        let begun = self
            .file
            .set_len(0)
            .and_then(|()| self.file.write_all(&MAGIC))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| sync_folder(&self.path));
        begun.map_err(|source| self.failed(source))?;
        self.append(&[Note::new(Act::Begun, now)])
    }

    /// Reads the whole chain, drops an entry that a crash cut short, and stands at its end.
    fn check(&mut self) -> Result<BTreeMap<PageId, u64>, StoreError> {
        let mut generations = BTreeMap::new();
        let mut head = Head::EMPTY;
        let mut reader = BufReader::new(&self.file);
        let mut magic = [0; MAGIC.len()];
        reader
            .read_exact(&mut magic)
            .map_err(|source| self.failed(source))?;
        if magic != MAGIC {
            return Err(self.damaged());
        }
        let mut end = MAGIC.len() as u64;
        let mut entry = [0; ENTRY];
        while self.next_entry(&mut reader, &mut entry)? {
            let (record, sealed) = entry.split_at(pulseward_audit::SIZE);
            head = pulseward_audit::verify(head, [record]).map_err(|source| {
                StoreError::ChainBroken {
                    path: self.path.clone(),
                    source,
                }
            })?;
            let note = self
                .open_note(record, sealed)
                .ok_or_else(|| self.damaged())?;
            if let Some((page, generation)) = note.page {
                let newest = generations.entry(page).or_insert(0);
                *newest = generation.max(*newest);
            }
            end += ENTRY as u64;
        }
        self.file
            .set_len(end)
            .and_then(|()| self.file.seek(SeekFrom::Start(end)))
            .map_err(|source| self.failed(source))?;
        self.chain = Chain::resume(head);
        Ok(generations)
    }

    /// Reads the next whole entry. Zeros are what a power cut leaves where nothing was written yet.
    fn next_entry(
        &self,
        reader: &mut impl io::Read,
        entry: &mut [u8; ENTRY],
    ) -> Result<bool, StoreError> {
        match reader.read_exact(entry) {
            Ok(()) => Ok(*entry != [0; ENTRY]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn open_note(&self, record: &[u8], sealed: &[u8]) -> Option<Note> {
        let subject = Record::decode(record).ok()?.entry.subject;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let mut plain = sealed.to_vec();
        self.key.open(*nonce, record, &mut plain).ok()?;
        if note_digest(&plain) != subject {
            return None;
        }
        Note::decode(&plain).ok()
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn damaged(&self) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
        }
    }
}

/// Whoever knows a staff member's id can tell their acts; nobody else can.
fn actor_digest(actor: StaffId) -> Digest {
    sha256(&[b"pulseward/v1/vault-actor", &[0], &actor.0])
}

fn note_digest(note: &[u8]) -> Digest {
    sha256(&[b"pulseward/v1/vault-note", &[0], note])
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
