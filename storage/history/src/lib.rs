//! History.

pub mod schema;
mod material;
pub mod file;
