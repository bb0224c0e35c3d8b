//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pulseward_app::passphrase::PassphraseArgs;
use pulseward_base::{Digest, Kid, bytes};

/// The clinic's vault: persons, consents, tickets, and the way back from an alert to a person.
#[derive(Debug, Parser)]
#[command(name = "pulseward-identity", version)]
pub(crate) struct Cli {
    /// The vault's directory.
    #[arg(
        long,
        global = true,
        default_value = "identity-data",
        value_name = "DIR"
    )]
    pub(crate) directory: PathBuf,
    /// The configuration; `identity.toml` in the directory if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the vault's directory and keys, and print its root.
    Init(PipelineRoot),
    /// Serve, making the directory and keys at first start.
    Serve(PipelineRoot),
    /// Register persons: made up, or from lines of JSON.
    Register(Register),
    /// Write down a newer consent.
    Consent(Consent),
    /// Issue a ticket and print its slip, base64.
    Ticket(Ticket),
    /// Open way-back slips as a clinician, and print who it is.
    WayBack(WayBack),
    /// Print the vault's root, which a pipeline is configured with.
    Root,
    /// Show what the running program holds and what is wrong; the exit code says whether.
    Status {
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Staff accounts.
    #[command(subcommand)]
    Staff(Staff),
    /// Print every key of the configuration as a page of documentation.
    #[command(hide = true)]
    ConfigDocs,
}

/// Which pipeline.
#[derive(Debug, Args)]
pub(crate) struct PipelineRoot {
    /// The pipeline's root; overrides the configuration.
    #[arg(long, value_name = "HEX", value_parser = parse_kid)]
    pub(crate) pipeline_root: Option<Kid>,
}

/// Whom to register.
#[derive(Debug, Args)]
pub(crate) struct Register {
    /// Make up this many persons.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub(crate) synthetic: Option<u32>,
    /// One JSON object a line: name, birth_date, contact, and optionally facts. `-` is standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "synthetic")]
    pub(crate) from: Option<PathBuf>,
    /// Issue a ticket for each, and print one slip a line, base64, instead of the persons' ids.
    #[arg(long)]
    pub(crate) tickets: bool,
    /// The project they join.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) project: u32,
    /// The kinds they consent to: bit k is kind number k.
    #[arg(long, default_value = "ffffffffffffffff", value_name = "HEX", value_parser = parse_scope)]
    pub(crate) scope: u64,
}

/// What somebody consents to.
#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// The person's id, as `register` printed it.
    #[arg(long, value_name = "HEX", value_parser = parse_id)]
    pub(crate) person: [u8; 16],
    /// The project.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) project: u32,
    /// Higher than any before.
    #[arg(long = "consent-version", value_name = "NUMBER")]
    pub(crate) version: u32,
    /// The kinds: bit k is kind number k.
    #[arg(long, value_name = "HEX", value_parser = parse_scope)]
    pub(crate) scope: u64,
    /// For the person's care, and for finding the person again.
    #[arg(long)]
    pub(crate) care: bool,
    /// For training models.
    #[arg(long)]
    pub(crate) training: bool,
    /// For research.
    #[arg(long)]
    pub(crate) research: bool,
}

/// What a ticket is for.
#[derive(Debug, Args)]
pub(crate) struct Ticket {
    /// The person's id, as `register` printed it.
    #[arg(long, value_name = "HEX", value_parser = parse_id)]
    pub(crate) person: [u8; 16],
    /// The project.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) project: u32,
    /// The kinds, if not all that the consent covers.
    #[arg(long, value_name = "HEX", value_parser = parse_scope)]
    pub(crate) scope: Option<u64>,
}

/// Which slips, and who asks.
#[derive(Debug, Args)]
pub(crate) struct WayBack {
    /// The slip, as bytes or base64; `-` is standard input. May be given more than once.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) slip: Vec<PathBuf>,
    /// What `staff add` wrote: server, token and secret. Only its owner may have access.
    #[arg(long, value_name = "FILE")]
    pub(crate) staff_file: PathBuf,
    /// The server, if not the one in the staff file.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// Print one line of JSON per person.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Staff accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Staff {
    /// Add an account and print its token and second factor's secret, once.
    Add {
        /// Who it is.
        #[arg(long)]
        name: String,
        /// `clinician` or `registrar`.
        #[arg(long)]
        role: String,
        /// Write to this new file, readable by its owner only, instead of printing.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Remove an account.
    Remove {
        /// Its id, as `staff add` printed it.
        #[arg(long, value_name = "HEX", value_parser = parse_id)]
        id: [u8; 16],
    },
}

fn parse_kid(text: &str) -> Result<Kid, String> {
    let Digest(kid) = bytes::unhex_digest(text).map_err(|_| "takes 64 hexadecimal digits")?;
    Ok(Kid(kid))
}

fn parse_id(text: &str) -> Result<[u8; 16], String> {
    bytes::unhex(text)
        .ok()
        .and_then(|id| id.try_into().ok())
        .ok_or_else(|| "takes 32 hexadecimal digits".to_owned())
}

fn parse_scope(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| "takes up to 16 hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
