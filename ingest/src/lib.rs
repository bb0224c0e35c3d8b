//! The gRPC service that admits devices, opens and verifies what they send, and appends it.

pub mod metrics;
pub mod settings;
pub mod window;

pub use metrics::Metrics;
pub use settings::{Settings, SettingsError};
