//! The pages, in memory and on the disk, changed one at a time.
//!
//! Invariant: what is in memory is on the disk, durably. A change is made on a copy of its page,
//! written, and only then taken over; if writing fails the copy is dropped, and the store refuses
//! further changes, because nobody knows what the disk holds.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use pulseward_base::{KeyId, Pseudonym, Secret};
use zeroize::Zeroizing;

use crate::{
    disk::{self, Disk},
    page::{self, FilePage, PageError, PageName, SlotPage},
};

/// Why the registry's pages cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A write failed. The process must end and open the registry again.
    #[error("a write to the registry failed: the process must end and open it again")]
    Broken,
    /// The file system refused.
    #[error("the registry's files cannot be used")]
    Io(#[from] io::Error),
    /// Another process has the registry open.
    #[error("another process has the registry open")]
    Locked,
    /// A page is not one of this registry's.
    #[error("page {name} cannot be used")]
    Page {
        /// The page's file name.
        name: String,
        /// Why.
        #[source]
        error: PageError,
    },
}

/// All pages.
pub(crate) struct Store {
    directory: PathBuf,
    root: Secret<32>,
    disk: Box<dyn Disk>,
    /// Held while a page is written, so that pages change one at a time.
    writing: Mutex<Health>,
    /// Held for moments only.
    pages: Mutex<Pages>,
}

struct Health {
    broken: bool,
}

#[derive(Default)]
pub(crate) struct Pages {
    slots: BTreeMap<u16, SlotPage>,
    files: BTreeMap<u8, FilePage>,
    /// Where each patient's key is.
    index: BTreeMap<KeyId, (u16, Pseudonym)>,
}

impl Pages {
    pub(crate) fn slot(&self, slot: u16) -> Option<&SlotPage> {
        self.slots.get(&slot)
    }

    pub(crate) fn files(&self, first: u8) -> Option<&FilePage> {
        self.files.get(&first)
    }

    pub(crate) fn place(&self, key: &KeyId) -> Option<(u16, Pseudonym)> {
        self.index.get(key).copied()
    }

    pub(crate) fn is_erased(&self, key: &KeyId) -> bool {
        self.slots.values().any(|page| page.erased.contains(key))
    }

    pub(crate) fn patients(&self) -> usize {
        self.index.len()
    }

    fn put_slot(&mut self, slot: u16, page: SlotPage) {
        if let Some(before) = self.slots.get(&slot) {
            for patient in before.patients.values() {
                self.index.remove(&patient.key);
            }
        }
        for (pseudonym, patient) in &page.patients {
            self.index.insert(patient.key, (slot, *pseudonym));
        }
        self.slots.insert(slot, page);
    }
}

/// What a change does with its page.
pub(crate) enum Keep {
    /// Nothing was changed.
    AsIs,
    /// The changed page is written.
    Changed,
    /// The changed page is written and the old one overwritten: something was erased.
    Scrubbed,
}

impl Store {
    /// Reads all pages of `directory`, making it if needed.
    pub(crate) fn open(
        directory: &Path,
        root: Secret<32>,
        disk: Box<dyn Disk>,
    ) -> Result<Self, StoreError> {
        let mut pages = Pages::default();
        for folder in ["slots", "files"] {
            let folder = directory.join(folder);
            disk.make_dir(&folder)?;
            for path in disk::recover(disk.as_ref(), &folder)? {
                read_page(disk.as_ref(), directory, &path, &root, &mut pages)?;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            root,
            disk,
            writing: Mutex::new(Health { broken: false }),
            pages: Mutex::new(pages),
        })
    }

    /// Looks at the pages.
    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        // Nothing panics while it holds the lock; were it to, the maps are whole between calls.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one slot's page. Blocks until it is durable.
    pub(crate) fn change_slot<T>(
        &self,
        slot: u16,
        change: impl FnOnce(&mut SlotPage) -> (T, Keep),
    ) -> Result<T, StoreError> {
        let mut health = self.turn()?;
        let mut page = self.pages().slots.get(&slot).cloned().unwrap_or_default();
        let (answer, keep) = change(&mut page);
        if self.write(&mut health, PageName::Slot(slot), &page.encode(), keep)? {
            self.pages().put_slot(slot, page);
        }
        Ok(answer)
    }

    /// Changes one page of file keys. Blocks until it is durable.
    pub(crate) fn change_files<T>(
        &self,
        first: u8,
        change: impl FnOnce(&mut FilePage) -> (T, Keep),
    ) -> Result<T, StoreError> {
        let mut health = self.turn()?;
        let mut page = self.pages().files.get(&first).cloned().unwrap_or_default();
        let (answer, keep) = change(&mut page);
        if self.write(&mut health, PageName::Files(first), &page.encode(), keep)? {
            self.pages().files.insert(first, page);
        }
        Ok(answer)
    }

    fn turn(&self) -> Result<MutexGuard<'_, Health>, StoreError> {
        let health = self.writing.lock().map_err(|_| StoreError::Broken)?;
        if health.broken {
            Err(StoreError::Broken)
        } else {
            Ok(health)
        }
    }

    /// Returns whether anything was written.
    fn write(
        &self,
        health: &mut Health,
        name: PageName,
        plain: &Zeroizing<Vec<u8>>,
        keep: Keep,
    ) -> Result<bool, StoreError> {
        let path = self.directory.join(name.path());
        let sealed = || page::seal(name, &self.root, plain);
        let written = match keep {
            Keep::AsIs => return Ok(false),
            Keep::Changed => disk::replace(self.disk.as_ref(), &path, &sealed()),
            Keep::Scrubbed => disk::replace_and_scrub(self.disk.as_ref(), &path, &sealed()),
        };
        health.broken = written.is_err();
        written?;
        Ok(true)
    }
}

fn read_page(
    disk: &dyn Disk,
    directory: &Path,
    path: &Path,
    root: &Secret<32>,
    pages: &mut Pages,
) -> Result<(), StoreError> {
    let shown = || {
        path.strip_prefix(directory)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let failed = |error| StoreError::Page {
        name: shown(),
        error,
    };
    let name = name_of(&shown()).ok_or_else(|| failed(PageError::Malformed))?;
    let bytes = disk
        .read(path)?
        .ok_or_else(|| failed(PageError::Malformed))?;
    let plain = page::open(name, root, &bytes).map_err(failed)?;
    match name {
        PageName::Slot(slot) => {
            let page = SlotPage::decode(&plain).map_err(|error| failed(error.into()))?;
            pages.put_slot(slot, page);
        }
        PageName::Files(first) => {
            let page = FilePage::decode(&plain).map_err(|error| failed(error.into()))?;
            pages.files.insert(first, page);
        }
    }
    Ok(())
}

/// The inverse of [`PageName::path`].
fn name_of(path: &str) -> Option<PageName> {
    let (folder, file) = path.split_once('/')?;
    let (number, _) = file.split_once('.')?;
    let name = match folder {
        "slots" => PageName::Slot(number.parse().ok()?),
        "files" => PageName::Files(u8::from_str_radix(number, 16).ok()?),
        _ => return None,
    };
    (name.path() == path).then_some(name)
}
