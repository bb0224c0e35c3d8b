//! The key registry: patients' keys and pseudonyms, enrolments, keys of history files, grants.
//!
//! Everything lies in pages sealed under a custodian's key, one per slot and one per 256th of the
//! files, each rewritten whole; a key is destroyed by writing its page without it. The registry
//! knows handles only while it turns them into pseudonyms, and keeps no list of persons.
//!
//! Reading order: [`registry`] decides, [`store`] keeps pages in memory and on the disk as one,
//! `page` has their bytes, `disk` the steps of writing; [`service`] answers readers.

pub mod attestation;
pub mod audit;
mod disk;
#[cfg(any(test, feature = "test-util"))]
pub mod fuzzing;
mod lock;
pub mod metrics;
mod page;
pub mod registry;
pub mod service;
pub mod store;

pub use attestation::AttestationPolicy;
pub use audit::{AuditSink, Event, NotRecorded};
pub use metrics::Metrics;
pub use page::PageError;
pub use registry::{Registry, RegistryError, RegistryIdentity, RegistrySettings, RegistryTools};
pub use service::{KeysService, KeysSettings};
pub use store::StoreError;
