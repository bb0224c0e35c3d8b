//! What the vault does, one act at a time.
//!
//! Every act that changes something goes the same way: check, write the pages that change, append
//! to the audit chain, and only then answer. So an acknowledged act survives a crash, nothing that
//! happened is missing from the chain, and no name leaves before its leaving is written down.

mod acts;
mod admission;
mod keys;
mod way_back;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pulseward_base::{Clock, Digest, Kid, Micros};
use pulseward_custody::Custodian;

pub use acts::{Actor, MOST_AT_ONCE, NewPerson, Registered, TicketWish};
use keys::Keys;

use crate::{
    codec,
    error::StoreError,
    ledger::{Act, Ledger, Note},
    metrics::Metrics,
    pages::{NewPage, PageId, Pages},
    person::{Handle, Person, PersonId, StaffId},
    spent::Spent,
    staff::{Account, At, Doors},
};

/// The directory of pages within the vault's.
const PAGES: &str = "pages";
/// The audit chain within the vault's directory.
const AUDIT: &str = "audit.chain";

/// What a program may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline's root: tickets pin it, way-back slips must be signed under it.
    pub pipeline_root: Option<Kid>,
    /// How long a ticket may wait for its device.
    pub ticket_life: Duration,
    /// The longest a way-back slip may hold, counted from now.
    pub slip_life: Duration,
    /// How many persons may be registered.
    pub max_persons: usize,
    /// How many ways back one staff member may ask for in an hour.
    pub ways_back_per_hour: u32,
}

/// What a program may show of the vault's state.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How many persons are registered.
    pub persons: usize,
    /// How many staff accounts there are.
    pub staff: usize,
    /// How many acts the audit chain holds.
    pub audited: u64,
    /// The audit chain's head: kept elsewhere, it shows later that nothing was cut off.
    pub audit_head: Digest,
}

/// The vault: persons, consents, tickets, staff, and the way back.
///
/// All of it blocks, for as long as a disk takes; an async caller hands it to a blocking thread.
pub struct Vault {
    settings: Settings,
    keys: Keys,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    pages: Pages,
    inner: Mutex<Inner>,
    poisoned: AtomicBool,
}

/// What one act at a time may touch.
struct Inner {
    ledger: Ledger,
    generations: BTreeMap<PageId, u64>,
    /// The only way from a handle to a person, in memory only.
    index: BTreeMap<Handle, PersonId>,
    persons: usize,
    staff: BTreeMap<StaffId, Account>,
    spent: Spent,
    doors: Doors,
}

impl Vault {
    /// Opens the vault in `directory`, making it at first use.
    pub fn open(
        directory: &Path,
        custodian: &Custodian,
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let keys = Keys::load(custodian)?;
        let pages = Pages::open(&directory.join(PAGES), keys.pages.clone())?;
        let (ledger, audited) = Ledger::open(&directory.join(AUDIT), &keys.audit, clock.now())?;
        let mut inner = Inner {
            ledger,
            generations: BTreeMap::new(),
            index: BTreeMap::new(),
            persons: 0,
            staff: BTreeMap::new(),
            spent: Spent::default(),
            doors: Doors::default(),
        };
        for id in PageId::all() {
            inner.load(
                &pages,
                id,
                audited.get(&id).copied().unwrap_or(0),
                clock.now(),
            )?;
        }
        let vault = Self {
            settings,
            keys,
            clock,
            metrics,
            pages,
            inner: Mutex::new(inner),
            poisoned: AtomicBool::new(false),
        };
        vault.refresh_gauges(&vault.lock());
        Ok(vault)
    }

    /// Returns the vault's root, by which pipelines know it.
    #[must_use]
    pub const fn root(&self) -> Kid {
        self.keys.root.kid()
    }

    /// Returns how much there is.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let inner = self.lock();
        Summary {
            persons: inner.persons,
            staff: inner.staff.len(),
            audited: inner.ledger.count(),
            audit_head: inner.ledger.head(),
        }
    }

    /// Returns whether a failure left the store's state unknown; the program then ends, and its
    /// next start finds out.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Refuses to go on after a failure.
    fn sound(&self) -> Result<(), StoreError> {
        if self.is_poisoned() {
            Err(StoreError::Poisoned)
        } else {
            Ok(())
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self) -> At {
        At {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }

    fn refresh_gauges(&self, inner: &Inner) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.persons.set(gauge(inner.persons));
        self.metrics.staff.set(gauge(inner.staff.len()));
    }

    /// Makes an act durable: its pages, then its notes. A failure poisons the vault: what the
    /// files say is only known by opening them again.
    fn commit(
        &self,
        inner: &mut Inner,
        pages: Vec<NewPage>,
        notes: &[Note],
    ) -> Result<(), StoreError> {
        self.sound()?;
        let written: Vec<_> = pages
            .iter()
            .map(|page| (page.id, page.generation))
            .collect();
        let done = self
            .pages
            .write(pages)
            .and_then(|()| inner.ledger.append(notes));
        if done.is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
        done?;
        inner.generations.extend(written);
        Ok(())
    }

    fn read_shard(&self, shard: PageId) -> Result<BTreeMap<PersonId, Person>, StoreError> {
        match self.pages.read(shard)? {
            Some(page) => codec::decode_persons(&page.plain).map_err(|_| StoreError::Damaged {
                path: self.pages.path(shard),
            }),
            None => Ok(BTreeMap::new()),
        }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Inner {
    /// Reads one page and holds it against what the audit chain says of it. A crash may have left
    /// a page one writing ahead of the chain: that is written down now.
    fn load(
        &mut self,
        pages: &Pages,
        id: PageId,
        audited: u64,
        now: Micros,
    ) -> Result<(), StoreError> {
        let page = pages.read(id)?;
        let generation = page.as_ref().map_or(0, |page| page.generation);
        if generation < audited {
            return Err(StoreError::RolledBack {
                path: pages.path(id),
            });
        }
        if generation > audited.saturating_add(1) {
            return Err(StoreError::ChainCut);
        }
        if generation > audited {
            let note = Note::new(Act::Recovered, now).page(id, generation);
            self.ledger.append(&[note])?;
        }
        self.generations.insert(id, generation);
        let Some(page) = page else { return Ok(()) };
        self.take_in(id, &page.plain)
            .map_err(|_| StoreError::Damaged {
                path: pages.path(id),
            })
    }

    fn take_in(
        &mut self,
        id: PageId,
        plain: &[u8],
    ) -> Result<(), pulseward_base::bytes::Malformed> {
        match id {
            PageId::Persons(_) => {
                let persons = codec::decode_persons(plain)?;
                self.persons += persons.len();
                for person in persons.values() {
                    self.index_person(person);
                }
            }
            PageId::Spent => self.spent = codec::decode_spent(plain)?,
            PageId::Staff => self.staff = codec::decode_staff(plain)?,
        }
        Ok(())
    }

    fn index_person(&mut self, person: &Person) {
        let handles = person.memberships.iter().map(|member| member.handle);
        self.index.extend(handles.map(|handle| (handle, person.id)));
    }

    /// Returns the generation of a page's next writing.
    fn next_generation(&self, id: PageId) -> u64 {
        self.generations.get(&id).copied().unwrap_or(0) + 1
    }
}

#[cfg(test)]
mod tests;
