//! History from outside: files against the library's traps, chains against each other's writers,
//! the stage on a real log, proofs against every kind of tampering, and readers of other makes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod chain;
mod files;
mod traps;
mod world;
//mod stage;
//mod proofs;
//mod samples;
