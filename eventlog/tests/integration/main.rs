//! The log from outside: what it promises, on a good disk, on a bad one and on a real broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod contract;
mod corruption;
mod faults;
#[cfg(feature = "kafka")]
mod kafka;
mod kills;
mod model;
mod sealed;
mod support;
