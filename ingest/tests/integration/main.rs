//! Ingest as devices meet it: over TLS, with the real registry and the real embedded log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::async_yields_async,
    unreachable_pub,
    missing_docs
)]

mod balancer;
mod batches;
mod client;
mod enrolment;
mod faults;
mod hostile;
mod house;
mod life;
mod sessions;
