//! Patients to train and judge on, hour by hour, and beat by beat.
//!
//! Files are untrusted: every fault is a typed error with its line, every count is bounded. A cell
//! that is empty is not measured; one that no sensor could show is left out and counted. Nothing is
//! ever imputed.

mod archive;
mod beats;
mod csv;
mod hourly;

pub use archive::read_records;
pub use beats::{BeatRecord, Rhythm, RhythmWindow, read_annotations};
pub use csv::{DatasetError, plain_text};
pub use hourly::{Hour, HourlyPatient, read_hourly};
