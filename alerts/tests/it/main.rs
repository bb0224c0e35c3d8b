//! The alerts stage over a real socket and a real log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod world;

mod watch;
mod way_back;
mod wishes;
