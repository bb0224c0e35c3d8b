//! What commands and the running program say to one another over the admin socket. Whoever may
//! connect owns the vault; persons cross it in memory only, and nothing here shows in `Debug`.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pulseward_app::status::Problem;
use serde::{Deserialize, Serialize};

/// One request.
#[derive(Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Make up persons and register them.
    RegisterSynthetic {
        count: u32,
        tickets: bool,
        project: u32,
        scope: u64,
    },
    /// Register persons.
    Register {
        persons: Vec<PersonLine>,
        tickets: bool,
        project: u32,
        scope: u64,
    },
    /// Write down a consent.
    Consent(ConsentRequest),
    /// Issue a ticket.
    Ticket {
        person: [u8; 16],
        project: u32,
        scope: Option<u64>,
    },
    /// Add a staff member.
    AddStaff { name: String, role: String },
    /// Remove a staff member.
    RemoveStaff { id: [u8; 16] },
    /// Tell how things stand.
    Status,
}

/// What somebody consents to.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConsentRequest {
    pub(crate) person: [u8; 16],
    pub(crate) project: u32,
    pub(crate) version: u32,
    pub(crate) scope: u64,
    pub(crate) care: bool,
    pub(crate) training: bool,
    pub(crate) research: bool,
}

/// A person as a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonLine {
    pub(crate) name: String,
    pub(crate) birth_date: String,
    pub(crate) contact: String,
    #[serde(default)]
    pub(crate) facts: BTreeMap<String, String>,
}

/// The answer to a request.
#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Persons, in the order they were given.
    Registered { persons: Vec<RegisteredLine> },
    /// A ticket slip, base64.
    Ticket { slip: String },
    /// A new staff member's credentials.
    Staff(StaffFile),
    /// How things stand.
    Status(Box<Status>),
    /// It was done.
    Done,
}

/// A person who was registered.
#[derive(Serialize, Deserialize)]
pub(crate) struct RegisteredLine {
    /// The vault's name for the person, hexadecimal.
    pub(crate) person: String,
    /// The ticket slip, base64, if one was wished for.
    pub(crate) ticket: Option<String>,
}

/// What a staff member's client needs. The file is for its owner only.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StaffFile {
    /// The account, hexadecimal.
    pub(crate) id: String,
    /// Its role.
    pub(crate) role: String,
    /// Where the vault answers.
    pub(crate) server: String,
    /// The authority its certificate is checked against, PEM.
    pub(crate) authority: String,
    /// The bearer token, hexadecimal.
    pub(crate) token: String,
    /// What makes the codes, hexadecimal.
    pub(crate) totp_secret: String,
    /// The same, for an authenticator program.
    pub(crate) totp_uri: String,
    /// The newest session, hexadecimal, which a client keeps here.
    #[serde(default)]
    pub(crate) session: Option<String>,
}

/// How things stand.
#[derive(Serialize, Deserialize)]
pub(crate) struct Status {
    /// The vault's root, hexadecimal.
    pub(crate) root: String,
    /// The pipeline's root, hexadecimal.
    pub(crate) pipeline_root: Option<String>,
    /// Where gRPC is served.
    pub(crate) grpc: String,
    /// Where metrics are served.
    pub(crate) admin: String,
    /// How many persons are registered.
    pub(crate) persons: usize,
    /// How many staff accounts there are.
    pub(crate) staff: usize,
    /// How many acts the audit chain holds.
    pub(crate) audited: u64,
    /// The audit chain's head, hexadecimal.
    pub(crate) audit_head: String,
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
}

/// Returns bytes in base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Returns the bytes that base64 `text` spells.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok()
}
