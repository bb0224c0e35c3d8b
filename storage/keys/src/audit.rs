//! What is told to the audit chain: each event durable before what it tells of is answered.

use async_trait::async_trait;
use pulseward_base::{KeyId, Kid, SlipId};
use pulseward_crypto::slips::GrantPurpose;
use pulseward_custody::dek::Class;

/// Something that must be accounted for. Nothing in it names a person or is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device was admitted.
    Admitted {
        /// The device.
        device: Kid,
    },
    /// A ticket was shown again by another device; the one that had spent it is suspended.
    TicketReused {
        /// The device that had spent it.
        device: Kid,
    },
    /// A patient's key was destroyed.
    Erased {
        /// The key's random name.
        key: KeyId,
    },
    /// A grant was issued.
    Granted {
        /// The grant.
        grant: SlipId,
        /// What for.
        purpose: GrantPurpose,
    },
    /// Keys of history files were given to a reader.
    Unwrapped {
        /// Under which grant.
        grant: SlipId,
        /// What for.
        purpose: GrantPurpose,
        /// Which files and classes.
        handles: Vec<([u8; 16], Class)>,
    },
}

/// An event that could not be recorded. What it tells of must not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit chain did not take an event")]
pub struct NotRecorded;

/// Where events go. The program hands in one that appends to its audit chain.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Records an event, durably.
    async fn record(&self, event: Event) -> Result<(), NotRecorded>;
}
