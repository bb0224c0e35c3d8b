//! A custodian's file: a key from the passphrase, a seal around the secrets, replaced in one step.
//!
//! ```text
//! "PWC1" | version u8 = 1 | memory KiB u32 | passes u32 | lanes u32 | salt (16) | nonce (12) | ciphertext | tag (16)
//! ```
//! argon2id gives the key; the seal is AES-256-GCM with everything before the ciphertext as AAD.
//! Each write draws a fresh random nonce; a file is written a few times in its life.
//! A writer holds a lock file beside it, so that two programs never overwrite each other's secrets.

use std::{
    fmt, fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use argon2::{Algorithm, Argon2, Params, Version};
use pulseward_base::{
    Secret,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{aead, random};
use zeroize::Zeroizing;

use crate::{error::CustodyError, vault::Contents};

const MAGIC: &[u8; 4] = b"PWC1";
const VERSION: u8 = 1;
const HEAD_SIZE: usize = 4 + 1 + 12 + 16 + 12;

/// The largest file that is read.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// What a person types to open a custodian.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes charge of what was typed.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// What guessing a passphrase costs: argon2id's parameters. Each file keeps its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// 64 MiB, three passes, four lanes: RFC 9106's choice where memory is scarce.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 4,
        }
    }
}

impl Cost {
    /// The least that argon2id allows, for tests.
    pub const CHEAPEST: Self = Self {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    /// A file is untrusted until it opens: it must not make its reader take all memory.
    const fn is_bearable(&self) -> bool {
        self.memory_kib <= 2 * 1024 * 1024 && self.passes <= 64 && self.lanes <= 64
    }

    fn key(&self, passphrase: &Passphrase, salt: &[u8; 16]) -> Result<aead::Key, CustodyError> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| CustodyError::Damaged)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.0.as_bytes(), salt, key.as_mut_slice())
            .map_err(|_| CustodyError::Damaged)?;
        Ok(aead::Key::new(&Secret::new(*key)))
    }
}

/// A custodian's file, locked, with the key that seals it.
pub(crate) struct SealedFile {
    path: PathBuf,
    cost: Cost,
    salt: [u8; 16],
    key: aead::Key,
    _lock: fs::File,
}

impl SealedFile {
    /// Opens the file at `path`, or makes an empty one that costs `cost`.
    pub(crate) fn open_or_create(
        path: &Path,
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<(Self, Contents), CustodyError> {
        let lock = lock(path)?;
        match read(path)? {
            Some(bytes) => Self::open(path, lock, passphrase, bytes),
            None => Self::create(path, lock, passphrase, cost),
        }
    }

    fn create(
        path: &Path,
        lock: fs::File,
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<(Self, Contents), CustodyError> {
        let salt = random::bytes();
        let file = Self {
            path: path.to_owned(),
            cost,
            salt,
            key: cost.key(passphrase, &salt)?,
            _lock: lock,
        };
        let contents = Contents::default();
        file.write(&contents)?;
        Ok((file, contents))
    }

    fn open(
        path: &Path,
        lock: fs::File,
        passphrase: &Passphrase,
        bytes: Vec<u8>,
    ) -> Result<(Self, Contents), CustodyError> {
        let head = Head::decode(&bytes).map_err(|Malformed| CustodyError::Damaged)?;
        let key = head.cost.key(passphrase, &head.salt)?;
        let (aad, sealed) = bytes
            .split_at_checked(HEAD_SIZE)
            .ok_or(CustodyError::Damaged)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        key.open(head.nonce, aad, &mut plain)
            .map_err(|_| CustodyError::WrongPassphrase)?;
        let contents = Contents::decode(&plain).map_err(|Malformed| CustodyError::Damaged)?;
        let file = Self {
            path: path.to_owned(),
            cost: head.cost,
            salt: head.salt,
            key,
            _lock: lock,
        };
        Ok((file, contents))
    }

    /// Replaces the file by one that holds `contents`; durable when it returns.
    pub(crate) fn write(&self, contents: &Contents) -> Result<(), CustodyError> {
        let head = Head {
            cost: self.cost,
            salt: self.salt,
            nonce: random::bytes(),
        };
        let mut bytes = head.encode();
        let encoded = contents.encode();
        let mut sealed = Vec::with_capacity(encoded.len() + aead::TAG_SIZE);
        sealed.extend_from_slice(&encoded);
        self.key.seal(head.nonce, &bytes, &mut sealed);
        bytes.extend_from_slice(&sealed);
        replace(&self.path, &bytes)?;
        Ok(())
    }
}

struct Head {
    cost: Cost,
    salt: [u8; 16],
    nonce: [u8; 12],
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(HEAD_SIZE);
        writer
            .put(MAGIC)
            .u8(VERSION)
            .u32(self.cost.memory_kib)
            .u32(self.cost.passes)
            .u32(self.cost.lanes)
            .put(&self.salt)
            .put(&self.nonce);
        writer.into_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (magic, version): ([u8; 4], _) = (reader.array()?, reader.u8()?);
        let cost = Cost {
            memory_kib: reader.u32()?,
            passes: reader.u32()?,
            lanes: reader.u32()?,
        };
        let head = Self {
            cost,
            salt: reader.array()?,
            nonce: reader.array()?,
        };
        let good = magic == *MAGIC && version == VERSION && cost.is_bearable();
        good.then_some(head).ok_or(Malformed)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CustodyError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CustodyError::Damaged);
    }
    Ok(Some(bytes))
}

/// Takes the lock file beside `path`; it stays, its lock goes with its holder.
fn lock(path: &Path) -> Result<fs::File, CustodyError> {
    let file = private()
        .create(true)
        .truncate(false)
        .open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(CustodyError::InUse),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Writes a new file, makes it durable, puts it in the old one's place, makes that durable.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, ".new");
    // One that is there was left by a crash: the lock says that nobody is writing it.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private().create_new(true).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
