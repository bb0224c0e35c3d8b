//! The figures that Pulseward claims of itself, each measured by one sub-command.
//!
//! `figures NAME` measures and prints a table; `figures --json NAME` prints one line of JSON with the
//! headline. `figures all` measures everything that can be measured here and prints the table that
//! the README shows. The recordings' place comes from `--data` or the environment variable
//! `PULSEWARD_DATA`; a figure that needs them says so and fails without.

mod attacked;
mod episodes;
mod evasion;
mod figure;
mod peers;
mod pipeline;
mod poisoning;
mod rhythm;
mod score;
mod sepsis;
mod study;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum as _};

use figure::{CannotRun, Figure};
use pipeline::{accept, append, hello, judge, parquet, start, whole, wire};

/// Measures what Pulseward claims of itself.
#[derive(Debug, Parser)]
#[command(name = "figures", version)]
struct Arguments {
    /// Print one line of JSON with the headline instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Print one row of Markdown for each figure, as the README shows them.
    #[arg(long, global = true, conflicts_with = "json")]
    markdown: bool,
    /// Where the recordings lie; `PULSEWARD_DATA` when not given.
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    /// Where files may be written for a while, on the disk that is to be measured.
    #[arg(long, global = true, default_value = "target/figures")]
    scratch: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Every figure that can be measured here.
    All,
    #[command(flatten)]
    One(Name),
}

#[derive(Clone, Copy, Debug, Subcommand, clap::ValueEnum)]
enum Name {
    /// What a batch costs from its sealed frame to its sealed log entry.
    Accept,
    /// What a hello costs the service until its device is welcome.
    Hello,
    /// What the detector pays for a batch.
    Judge,
    /// Durable appends to the embedded log with many waiting.
    Append,
    /// A lone durable append to the embedded log.
    AppendOne,
    /// Writing history's encrypted files.
    ParquetWrite,
    /// Reading history's encrypted files.
    ParquetRead,
    /// What a batch costs the running pipeline in all.
    Whole,
    /// Bytes on the wire for a batch.
    Wire,
    /// From start to ready, of both programs.
    Start,
    /// Memory of both programs when idle.
    Memory,
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
    let measured = match arguments.what {
        What::All => all(&arguments),
        What::One(name) => measure(name, &arguments).map(|figure| vec![figure]),
    };
    match measured {
        Ok(figures) => {
            show(&figures, &arguments);
            ExitCode::SUCCESS
        }
        Err(error) => {
            figure::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn show(figures: &[Figure], arguments: &Arguments) {
    let is_all = matches!(arguments.what, What::All);
    if arguments.markdown || is_all && !arguments.json {
        figure::print_markdown(figures);
        return;
    }
    for figure in figures {
        figure.print(arguments.json);
    }
}

/// Measures every figure. One that cannot be measured here is named and left out.
fn all(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for name in Name::value_variants() {
        match measure(*name, arguments) {
            Ok(figure) => figures.push(figure),
            Err(error) if error.is::<CannotRun>() => {
                figure::complain(&error.context(format!("NOT RUN: {name:?}")));
            }
            Err(error) => return Err(error.context(format!("{name:?}"))),
        }
    }
    Ok(figures)
}

fn measure(name: Name, arguments: &Arguments) -> anyhow::Result<Figure> {
    let data = || data_folder(arguments);
    match name {
        Name::Accept => accept::measure(),
        Name::Hello => hello::measure(),
        Name::Judge => judge::measure(),
        Name::Append => append::many(&arguments.scratch),
        Name::AppendOne => append::one(&arguments.scratch),
        Name::ParquetWrite => parquet::write(),
        Name::ParquetRead => parquet::read(),
        Name::Whole => whole::measure(),
        Name::Wire => wire::measure(),
        Name::Start => start::time(),
        Name::Memory => start::memory(),
        Name::Sepsis => sepsis::measure(&data()?),
        Name::Rhythm => rhythm::measure(&data()?),
        Name::Poisoning => poisoning::measure(&data()?),
        Name::Evasion => evasion::measure(&data()?),
        Name::Episodes => episodes::measure(&data()?),
        Name::Score => score::measure(&data()?),
    }
}

#[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
fn data_folder(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    let told = arguments.data.clone();
    let data = told.or_else(|| std::env::var("PULSEWARD_DATA").ok().map(PathBuf::from));
    let needs = "this figure needs the recordings: set PULSEWARD_DATA to their folder";
    Ok(data.ok_or_else(|| CannotRun(needs.to_owned()))?)
}
