//! What both programs share, and the only place besides them that touches the environment, files of
//! configuration, signals, the process's clock and its metrics registry.

pub mod admin;
pub mod clock;
pub mod config;
pub mod logging;
pub mod passphrase;
pub mod shutdown;
pub mod status;
pub mod tls;

pub use clock::SystemClock;
