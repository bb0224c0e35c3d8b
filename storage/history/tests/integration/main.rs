//! History from outside: files against the library's traps, chains against each other's writers,
//! the stage on a real log, proofs against every kind of tampering, and readers of other makes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod chain;
mod deaf;
mod files;
mod proofs;
mod python;
mod samples;
mod stage;
mod traps;
mod world;
