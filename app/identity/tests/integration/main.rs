//! The program as it is run: a real process, its files, its ports, its end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod dependencies;
mod documents;
mod house;
mod kills;
mod life;
mod secrets;
mod staff;
mod way_back;
