//! Persons, what they agreed to, the tickets their devices enrol with, and the way back from an
//! alert to a person: the half of Pulseward that knows who somebody is, and knows no vital sign.
//!
//! Invariants:
//! - No name, contact, date or handle reaches a disk, a log line, a metric or an error in clear:
//!   pages are sealed, types are blind in `Debug`.
//! - What is acknowledged is durable and in the audit chain; a name leaves only after that.
//! - A way-back slip opens once, before its date, under the configured pipeline's root, for staff
//!   whose role allows it and whose second factor is recent, if the person agrees at that moment.
//! - Nothing kept here equals anything the pipeline keeps: slips are remembered by keyed digests,
//!   sealed handles are not kept.

mod codec;
pub mod error;
mod handles;
mod ledger;
pub mod metrics;
mod pages;
pub mod person;
pub mod service;
mod spent;
pub mod staff;
pub mod totp;
pub mod vault;

pub use error::{Refusal, StoreError, VaultError};
pub use metrics::Metrics;
pub use service::IdentityService;
pub use vault::{Actor, NewPerson, Registered, Settings, Summary, TicketWish, Vault};

/// Entry points for fuzzing: each takes any bytes and must return.
pub mod fuzzing {
    /// Decodes any bytes as the plaintext of each sort of page; what decodes, encodes to itself.
    pub fn pages(bytes: &[u8]) {
        if let Ok(persons) = crate::codec::decode_persons(bytes) {
            assert_eq!(crate::codec::encode_persons(&persons).as_slice(), bytes);
        }
        if let Ok(spent) = crate::codec::decode_spent(bytes) {
            assert_eq!(crate::codec::encode_spent(&spent).as_slice(), bytes);
        }
        if let Ok(staff) = crate::codec::decode_staff(bytes) {
            assert_eq!(crate::codec::encode_staff(&staff).as_slice(), bytes);
        }
    }

    /// Decodes any bytes as an entry of the audit chain.
    pub fn note(bytes: &[u8]) {
        if let Ok(note) = crate::ledger::Note::decode(bytes) {
            assert_eq!(note.encode(), bytes);
        }
    }
}
