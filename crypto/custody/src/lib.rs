//! Placeholder.

pub mod dek;
