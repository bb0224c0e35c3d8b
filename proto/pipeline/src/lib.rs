//! The pipeline's gRPC services, generated from `proto/*.proto`, and nothing else.
//!
//! What the bytes inside the messages are is written in `docs/formats`.

/// Package `pulseward.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::restriction,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("pulseward.v1");
}

/// The descriptors of every service here, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_described() {
        let text = String::from_utf8_lossy(DESCRIPTORS);
        for service in ["Ingest", "Keys", "Alerts"] {
            assert!(text.contains(service), "{service}");
        }
    }
}
