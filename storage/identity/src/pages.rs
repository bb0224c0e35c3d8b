//! The vault's files: one sealed page each, rewritten whole and atomically.
//!
//! ```text
//! "PWI1" | 0 u16 | number u16 | generation u64 | salt (32) | AES-256-GCM(plaintext)
//! ```
//!
//! Each writing has a key of its own, derived from the store's key by the salt, so no nonce ever
//! repeats; the header is authenticated, so a page cannot stand in for another. A page is written
//! beside its old self, made durable, and only then renamed over it: after a crash either the old
//! or the new page is there, whole. Its generation rises with every writing; that a page was put
//! back is for the audit chain to tell.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use pulseward_base::{
    Secret,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{aead, hash::hkdf, random};
use zeroize::Zeroizing;

use crate::error::StoreError;

/// The largest page that is believed: far above what [`crate::vault::Settings::max_persons`] needs.
const LARGEST: u64 = 1 << 30;
const MAGIC: [u8; 4] = *b"PWI1";
const HEADER: usize = 48;
const NEW: &str = "new";
const LOCK: &str = "lock";

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PageId {
    /// Persons whose id begins with a byte of this shard.
    Persons(u8),
    /// Way-back slips that were used.
    Spent,
    /// Accounts.
    Staff,
}

impl PageId {
    /// How many shards persons are spread over.
    pub(crate) const SHARDS: u8 = 64;

    /// Returns every page there may be.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::SHARDS)
            .map(Self::Persons)
            .chain([Self::Spent, Self::Staff])
    }

    /// Returns the number that headers and the audit chain carry.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Persons(shard) => shard as u16,
            Self::Spent => 0x100,
            Self::Staff => 0x200,
        }
    }

    /// Returns the page that `number` names.
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Self::all().find(|page| page.number() == number)
    }

    fn file_name(self) -> String {
        match self {
            Self::Persons(shard) => format!("persons-{shard:02}.page"),
            Self::Spent => "spent.page".to_owned(),
            Self::Staff => "staff.page".to_owned(),
        }
    }
}

/// One page as it was read.
#[derive(Debug)]
pub(crate) struct Page {
    /// How often it was written.
    pub(crate) generation: u64,
    /// What it says.
    pub(crate) plain: Zeroizing<Vec<u8>>,
}

/// One page to write.
#[derive(Debug)]
pub(crate) struct NewPage {
    pub(crate) id: PageId,
    pub(crate) generation: u64,
    pub(crate) plain: Zeroizing<Vec<u8>>,
}

/// The directory of pages, held by one process at a time.
#[derive(Debug)]
pub(crate) struct Pages {
    directory: PathBuf,
    key: Secret<32>,
    /// The operating system gives the lock back when this is closed, however the process ends.
    _lock: File,
}

impl Pages {
    /// Opens the directory, making it at first use, and locks it.
    pub(crate) fn open(directory: &Path, key: Secret<32>) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(at(directory))?;
        let path = directory.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::Held { path }),
            Err(fs::TryLockError::Error(source)) => return Err(StoreError::Io { path, source }),
        }
        let pages = Self {
            directory: directory.to_owned(),
            key,
            _lock: lock,
        };
        pages.forget_unfinished()?;
        Ok(pages)
    }

    /// Removes what a crash left half written; nobody was told of it.
    fn forget_unfinished(&self) -> Result<(), StoreError> {
        for id in PageId::all() {
            let path = self.path(id).with_extension(NEW);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::Io { path, source }),
            }
        }
        Ok(())
    }

    /// Returns where a page lies.
    pub(crate) fn path(&self, id: PageId) -> PathBuf {
        self.directory.join(id.file_name())
    }

    /// Reads a page; one that was never written is empty.
    pub(crate) fn read(&self, id: PageId) -> Result<Option<Page>, StoreError> {
        let path = self.path(id);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(LARGEST).read_to_end(&mut bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
        }
        .map_err(at(&path))?;
        match open(&self.key, id, bytes) {
            Ok(page) => Ok(Some(page)),
            Err(Malformed) => Err(StoreError::Damaged { path }),
        }
    }

    /// Writes pages; all are durable when it returns. After a crash each is old or new.
    pub(crate) fn write(&self, pages: Vec<NewPage>) -> Result<(), StoreError> {
        let mut renames = Vec::with_capacity(pages.len());
        for page in pages {
            let path = self.path(page.id);
            let beside = path.with_extension(NEW);
            let sealed = seal(&self.key, page);
            write_new(&beside, &sealed).map_err(at(&beside))?;
            renames.push((beside, path));
        }
        for (beside, path) in renames {
            fs::rename(&beside, &path).map_err(at(&path))?;
        }
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(at(&self.directory))
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

fn page_key(store: &Secret<32>, salt: &[u8]) -> aead::Key {
    aead::Key::new(&hkdf(
        salt,
        store.expose(),
        &[b"pulseward/v1/identity-page"],
    ))
}

fn seal(store: &Secret<32>, mut page: NewPage) -> Vec<u8> {
    let salt: [u8; 32] = random::bytes();
    let mut bytes = Writer::with_capacity(HEADER + page.plain.len() + aead::TAG_SIZE);
    bytes
        .put(&MAGIC)
        .u16(0)
        .u16(page.id.number())
        .u64(page.generation)
        .put(&salt);
    let key = page_key(store, &salt);
    page.plain.reserve_exact(aead::TAG_SIZE);
    key.seal(aead::nonce(0), bytes.as_slice(), &mut page.plain);
    bytes.put(&page.plain);
    bytes.into_vec()
}

/// Opens the bytes of a page that must be `id`.
pub(crate) fn open(store: &Secret<32>, id: PageId, bytes: Vec<u8>) -> Result<Page, Malformed> {
    let (header, sealed) = bytes.split_at_checked(HEADER).ok_or(Malformed)?;
    let mut reader = Reader::new(header);
    let magic: [u8; 4] = reader.array()?;
    let reserved = reader.u16()?;
    let number = reader.u16()?;
    let generation = reader.u64()?;
    let salt = reader.rest();
    if magic != MAGIC || reserved != 0 || number != id.number() {
        return Err(Malformed);
    }
    let mut plain = Zeroizing::new(sealed.to_vec());
    page_key(store, salt)
        .open(aead::nonce(0), header, &mut plain)
        .map_err(|_| Malformed)?;
    Ok(Page { generation, plain })
}

#[cfg(test)]
mod tests;
