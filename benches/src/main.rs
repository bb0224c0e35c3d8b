//! The figures that Pulseward claims of itself, each measured by one sub-command.
//!
//! `figures NAME` measures and prints a table; `figures --json NAME` prints one line of JSON with the
//! headline. The data's place comes from `--data` or the environment variable `PULSEWARD_DATA`;
//! a figure that needs it says so and fails without.

mod episodes;
mod evasion;
mod figure;
mod poisoning;
mod rhythm;
mod score;
mod sepsis;
mod study;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use figure::Figure;

/// Measures what Pulseward claims of itself.
#[derive(Debug, Parser)]
#[command(name = "figures", version)]
struct Arguments {
    /// Print one line of JSON with the headline instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Where the recordings lie; `PULSEWARD_DATA` when not given.
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    name: Name,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Name {
    /// Detecting sepsis from vital signs alone.
    Sepsis,
    /// Telling atrial fibrillation and flutter from a regular rhythm.
    Rhythm,
    /// What poisoned training patients can and cannot change.
    Poisoning,
    /// What false readings can and cannot change.
    Evasion,
    /// How often people would be called, and for how much.
    Episodes,
    /// What scoring and certifying a window costs.
    Score,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(figure) => {
            figure.print(arguments.json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            figure::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Figure> {
    let data = data_folder(arguments)?;
    match arguments.name {
        Name::Sepsis => sepsis::measure(&data),
        Name::Rhythm => rhythm::measure(&data),
        Name::Poisoning => poisoning::measure(&data),
        Name::Evasion => evasion::measure(&data),
        Name::Episodes => episodes::measure(&data),
        Name::Score => score::measure(&data),
    }
}

#[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
fn data_folder(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    arguments
        .data
        .clone()
        .or_else(|| std::env::var("PULSEWARD_DATA").ok().map(PathBuf::from))
        .context("this figure needs the recordings: set PULSEWARD_DATA to their folder")
}
