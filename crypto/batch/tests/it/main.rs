//! What a batch's types and digests promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod digests;
mod journey;
mod pages;
mod stored;
mod world;
