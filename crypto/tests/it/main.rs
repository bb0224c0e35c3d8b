//! What the wire and the slips promise, shown from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod differential;
mod layouts;
mod party;
mod sessions;
mod signatures;
mod slips;
mod vectors;
