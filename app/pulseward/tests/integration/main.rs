//! The whole of Pulseward as real processes, and the documents held against the code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

mod brokers;
mod demo;
mod documents;
mod help;
mod house;
mod kafka;
mod kills;
mod life_of_a_batch;
mod models;
mod planted;
mod prometheus;
mod python;
mod signals;
mod ward;
mod wishes;
