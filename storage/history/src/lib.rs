//! History.

pub mod chain;
pub mod file;
pub mod manifest;
pub mod marks;
mod material;
pub mod rows;
pub mod schema;
pub mod shelf;
