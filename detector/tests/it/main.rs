//! What the detector promises, one file per kind of claim.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod scene;
mod world;

mod driven;
mod integrity;
mod lanes;
mod replay;
mod rules;
