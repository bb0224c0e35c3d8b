//! The gRPC service that admits devices, opens and verifies what they send, and appends it.
//!
//! Reading order: [`service`] takes streams, `session` leads one of them, `accept` takes one batch
//! from sealed bytes to the log, `enrol` makes a device of a ticket. Beside them: `offers` and `gate`
//! guard the hello, `devices` says who may send, `marks` and `window` what has arrived, `live` who
//! is there; `tasks` keeps all of it going.

mod accept;
mod devices;
mod enrol;
mod gate;
mod live;
mod marks;
pub mod metrics;
mod offers;
pub mod service;
mod session;
pub mod settings;
mod tasks;
mod window;

pub use metrics::Metrics;
pub use offers::ServiceIdentity;
pub use service::{Ingest, IngestError, IngestService, Tools};
pub use settings::{Settings, SettingsError};
