//! What may be set, and what the stage is handed.

use std::{fmt, time::Duration};

use pulseward_base::Digest;
use pulseward_crypto::{SigningKey, certificate::CertificateBytes, hash};

/// One who receives alerts, as `deliveries` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recipient(pub [u8; 16]);

/// A care team that may watch.
#[derive(Clone, Debug)]
pub struct CareTeam {
    /// Its name in `deliveries`.
    pub recipient: Recipient,
    /// SHA-256 of its bearer token; the token itself is not kept.
    pub token: Digest,
}

impl CareTeam {
    /// Returns the digest that is kept of a bearer token.
    #[must_use]
    pub fn digest(token: &str) -> Digest {
        hash::sha256(&[b"pulseward/v1/care-team\0", token.as_bytes()])
    }
}

/// The key that signs the way back, and the root's word on it.
pub struct Signer {
    /// The certificate, of use 5.
    pub certificate: CertificateBytes,
    /// The key.
    pub key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}

/// All settings of the stage.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may watch.
    pub care_teams: Vec<CareTeam>,
    /// How many watchers there may be at once.
    pub watchers: usize,
    /// How many steps wait for one watcher before it is ended.
    pub watcher_queue: usize,
    /// How many alerts may be open at once.
    pub open_alerts: usize,
    /// How many ended alerts are remembered for those who missed them.
    pub ended_alerts: usize,
    /// How long a way-back slip holds.
    pub slip_lifetime: Duration,
    /// How many way-back slips one recipient gets in a minute.
    pub slips_per_minute: u32,
    /// How many alerts one recipient acknowledges or snoozes in a minute.
    pub wishes_per_minute: u32,
    /// How many deliveries wait to be written down.
    pub delivered_queue: usize,
    /// How long a caller waits for what stood in the log at the start to be read.
    pub start_patience: Duration,
    /// How often the place in the log is written down.
    pub cursor_every: Duration,
    /// How long to wait before asking a log again that has failed.
    pub retry_after: Duration,
    /// How often a log that has failed is asked before the stage stops.
    pub retries: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            care_teams: Vec::new(),
            watchers: 64,
            watcher_queue: 256,
            open_alerts: 65_536,
            ended_alerts: 1024,
            slip_lifetime: Duration::from_secs(600),
            slips_per_minute: 60,
            wishes_per_minute: 120,
            delivered_queue: 4096,
            start_patience: Duration::from_secs(30),
            cursor_every: Duration::from_secs(5),
            retry_after: Duration::from_millis(500),
            retries: 2400,
        }
    }
}
