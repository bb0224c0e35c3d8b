//! Generates the messages and the service with a compiler written in Rust: no `protoc` is needed.

use std::{error::Error, fs, path::PathBuf};

/// Messages that carry a person or a secret: their `Debug` is written by hand, blind.
const BLIND: [&str; 12] = [
    ".pulseward.identity.v1.ConfirmRequest",
    ".pulseward.identity.v1.ConfirmResponse",
    ".pulseward.identity.v1.Person",
    ".pulseward.identity.v1.Fact",
    ".pulseward.identity.v1.RegisterRequest",
    ".pulseward.identity.v1.RegisterResponse",
    ".pulseward.identity.v1.RecordConsentRequest",
    ".pulseward.identity.v1.IssueTicketRequest",
    ".pulseward.identity.v1.IssueTicketResponse",
    ".pulseward.identity.v1.WayBackRequest",
    ".pulseward.identity.v1.WayBackResponse",
    ".pulseward.identity.v1.Consent",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_file("identity.proto")?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    fs::write(
        out.join("identity.descriptor"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .skip_debug(BLIND)
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
