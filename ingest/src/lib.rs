//! The gRPC service that admits devices, opens and verifies what they send, and appends it.
//!
//! Reading order: [`service`] takes streams, `session` leads one of them, `accept` takes one batch
//! from sealed bytes to the log, `enrol` makes a device of a ticket. What they share is in `shared`: `offers` and
//! `gate` guard the hello, `devices` says who may send, `marks` and `window` what has arrived, `live`
//! who is there, `redemptions` which tickets are spent; `tasks` keeps all of it going.

mod accept;
mod devices;
mod enrol;
mod error;
mod gate;
mod live;
mod marks;
pub mod metrics;
mod offers;
mod redemptions;
pub mod service;
mod session;
pub mod settings;
mod shared;
mod tasks;
mod window;

pub use error::IngestError;
pub use metrics::Metrics;
pub use offers::ServiceIdentity;
pub use service::{Ingest, IngestService};
pub use settings::{Settings, SettingsError};
pub use shared::Tools;
