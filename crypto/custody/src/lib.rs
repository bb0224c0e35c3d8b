//! Where secrets are kept, and whom the stages ask for keys.
//!
//! A [`Custodian`] keeps a program's own few secrets in one file, sealed under a passphrase. The
//! traits [`KeySource`] and [`FileKeys`] are what ingest, log and history ask for patients' and
//! files' keys; `storage/keys` implements them, a program hands them over.

pub mod custodian;

mod error;
mod file;
mod vault;

pub mod keys;

pub mod dek;

#[cfg(any(test, feature = "test-util"))]
pub mod memory;

pub use custodian::Custodian;
pub use error::CustodyError;
pub use file::{Cost, Passphrase};
pub use keys::{Admission, AdmitRequest, FileKeys, KeyError, KeySource, LogKeys, PatientKey};
