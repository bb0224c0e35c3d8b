//! The pipeline's program: `up` assembles the stages in the order in which a batch meets them.
//!
//! Only here and in `pulseward-app` are the environment, files of configuration, signals and the
//! metrics registry touched. Nothing here names a person: that is another program.

pub mod audit;
pub mod authority;
pub mod checks;
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod foundation;
pub mod home;
pub mod model;
pub mod requests;
mod trimmer;
pub mod up;
pub mod verify;
pub mod words;
