//! History: every reading, score and alert in encrypted Parquet, under a signed chain of manifests.
//!
//! One task per partition follows the log from where its chain of manifests says, writes files and
//! commits them together with the positions behind them, in one step. What a chain does not name
//! does not exist. Stored rows rebuild the digests that devices signed: [`mod@verify`] checks each
//! against public keys, from the files alone.
//!
//! Reading order: [`schema`] says what files hold, [`rows`] what a row is, [`mod@file`] and [`files`]
//! how they are sealed and opened; [`shelf`], [`manifest`] and [`chain`] are the one order of
//! commits; [`marks`] and [`collect`] turn log entries into rows, once; [`merge`] drops what must
//! go; [`run`] drives it all; [`store`] and [`mod@verify`] read it back.

pub mod chain;
pub mod collect;
mod enrolled;
mod error;
pub mod file;
pub mod files;
#[cfg(any(test, feature = "test-util"))]
pub mod fuzzing;
pub mod heads;
pub mod manifest;
pub mod marks;
mod material;
pub mod merge;
pub mod metrics;
mod owner;
pub mod rows;
pub mod run;
pub mod schema;
pub mod settings;
pub mod shelf;
pub mod store;
pub mod verify;

pub use collect::erase_control;
pub use error::HistoryError;
pub use manifest::Signer;
pub use metrics::Metrics;
pub use run::{Committed, Historian, HistorianTools, Progress};
pub use settings::Settings;
pub use store::{BatchName, Counted, Store};
pub use verify::{Fault, Finding, Report, verify};
