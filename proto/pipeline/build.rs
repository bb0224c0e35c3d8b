//! Generates the messages and services of every `.proto` file beside it, without `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

const PROTO: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let mut files = fs::read_dir(PROTO)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()?;
    // A directory's own order is its file system's; the generated code shall be the same anywhere.
    files.sort();

    let mut compiler = protox::Compiler::new([PROTO])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(&files)?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
