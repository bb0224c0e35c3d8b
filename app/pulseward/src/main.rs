//! The pipeline's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    pulseward::cli::main()
}
