//! A program's own secrets, by name, in one sealed file or in memory.
//!
//! Invariant: a secret is durable before anybody learns it, so nothing is ever sealed under a key
//! that a crash would take along.

use std::{
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pulseward_base::Secret;
use pulseward_crypto::{SigningKey, random, seal::KeyPair};
use zeroize::Zeroizing;

use crate::{
    error::CustodyError,
    file::{Cost, Passphrase, SealedFile},
    vault::Contents,
};

/// Keeps named secrets.
pub struct Custodian {
    inner: Mutex<Inner>,
}

struct Inner {
    contents: Contents,
    file: Option<SealedFile>,
}

impl Custodian {
    /// Opens the file at `path`, or makes one, under `passphrase`. Slow on purpose.
    pub fn open_or_create(path: &Path, passphrase: &Passphrase) -> Result<Self, CustodyError> {
        Self::open_or_create_at(path, passphrase, Cost::default())
    }

    /// As [`Custodian::open_or_create`]; a file that has to be made costs `cost`.
    pub fn open_or_create_at(
        path: &Path,
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<Self, CustodyError> {
        let (file, contents) = SealedFile::open_or_create(path, passphrase, cost)?;
        Ok(Self::new(contents, Some(file)))
    }

    /// Returns a custodian that forgets everything with its end.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Contents::default(), None)
    }

    /// Returns the secret called `name`; at its first use `generate` makes it, and it is durable
    /// before it is returned.
    pub fn secret(
        &self,
        name: &str,
        generate: impl FnOnce() -> Secret<32>,
    ) -> Result<Secret<32>, CustodyError> {
        let mut inner = self.lock();
        if let Some(value) = inner.contents.value(name) {
            let bytes: [u8; 32] = value
                .as_slice()
                .try_into()
                .map_err(|_| CustodyError::Damaged)?;
            return Ok(Secret::new(bytes));
        }
        let secret = generate();
        inner.put(name, secret.expose())?;
        Ok(secret)
    }

    /// Returns the random secret called `name`, made at its first use.
    pub fn random_secret(&self, name: &str) -> Result<Secret<32>, CustodyError> {
        self.secret(name, random::secret)
    }

    /// Returns the signing key called `name`, made at its first use.
    pub fn signing_key(&self, name: &str) -> Result<SigningKey, CustodyError> {
        let secret = self.secret(name, || SigningKey::generate().secret())?;
        SigningKey::from_secret(&secret).map_err(|_| CustodyError::Damaged)
    }

    /// Returns the opening key called `name`, made at its first use.
    pub fn key_pair(&self, name: &str) -> Result<KeyPair, CustodyError> {
        let secret = self.secret(name, || KeyPair::generate().secret())?;
        KeyPair::from_secret(&secret).map_err(|_| CustodyError::Damaged)
    }

    /// Keeps `bytes` as `name`, in place of what was there; durable when it returns.
    pub fn store_blob(&self, name: &str, bytes: &[u8]) -> Result<(), CustodyError> {
        self.lock().put(name, bytes)
    }

    /// Returns what is kept as `name`.
    #[must_use]
    pub fn blob(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.lock().contents.value(name).cloned()
    }

    /// Destroys what is kept as `name`; gone from the file when it returns.
    pub fn destroy(&self, name: &str) -> Result<(), CustodyError> {
        let mut inner = self.lock();
        if inner.contents.value(name).is_none() {
            return Ok(());
        }
        let next = inner.contents.without(name);
        inner.replace(next)
    }

    const fn new(contents: Contents, file: Option<SealedFile>) -> Self {
        Self {
            inner: Mutex::new(Inner { contents, file }),
        }
    }

    /// A panic elsewhere does not harm the contents: they change in one step, after the file did.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, name: &str, value: &[u8]) -> Result<(), CustodyError> {
        let next = self
            .contents
            .with(name, value)
            .map_err(|_| CustodyError::Full)?;
        self.replace(next)
    }

    fn replace(&mut self, next: Contents) -> Result<(), CustodyError> {
        if let Some(file) = &self.file {
            file.write(&next)?;
        }
        self.contents = next;
        Ok(())
    }
}

impl fmt::Debug for Custodian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custodian(..)")
    }
}
