//! The command line. Commands that act on a running program speak to its admin socket.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use pulseward_app::{SystemClock, logging, passphrase::PassphraseArgs};
use pulseward_base::Clock as _;

use crate::{client, config::Config, demo, home::Home, model, up, verify};

/// Vital signs from wearables and phones to alerts that clinicians can trust. Not a medical device.
#[derive(Debug, Parser)]
#[command(name = "pulseward", version, propagate_version = true)]
struct Cli {
    /// The pipeline's directory: custodian, key registry, embedded log, history.
    #[arg(
        long,
        global = true,
        default_value = "pulseward-data",
        value_name = "DIR"
    )]
    directory: PathBuf,
    /// The configuration; `pulseward.toml` in the directory if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t, global = true)]
    log_format: logging::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the directory and the keys, and prints the root that devices and the vault pin.
    Init,
    /// Prints the root that devices and the vault pin.
    Root,
    /// Runs the whole pipeline in this process.
    Up,
    /// Shows what is wrong, since when, and which page of the runbook helps; exits 1 if anything is.
    Status,
    /// Access for the care team.
    #[command(subcommand)]
    Alerts(client::AlertsCommand),
    /// Access for data scientists.
    #[command(subcommand)]
    Keys(client::KeysCommand),
    /// Models away from patients: train, judge, attack, compare, promote, roll back.
    #[command(subcommand)]
    Model(Box<model::ModelCommand>),
    /// Proves, without a running program, that every stored row is what its device signed.
    Verify,
    /// Shows the whole of Pulseward with a simulated ward and hostile devices.
    Demo(demo::DemoArgs),
    /// Prints every key of the configuration as a page of documentation.
    #[command(hide = true)]
    ConfigDocs,
}

/// Runs the program; errors are told on standard error, in full.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // The log may not be running yet, or be JSON: a person at a terminal wants the words.
            #[expect(clippy::print_stderr, reason = "the last words of a command")]
            {
                eprintln!("pulseward: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = Config::read(&cli.directory, cli.config.as_deref())?;
    logging::start(cli.log_format, &config.top.log_filter)?;
    let home = Home {
        directory: cli.directory,
        config,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        match cli.command {
            Command::Init => up::init(&home, &cli.passphrase),
            Command::Root => client::root(&home),
            Command::Up => up::up(home, &cli.passphrase).await,
            Command::Status => client::status(&home).await,
            Command::Alerts(command) => client::alerts(&home, command).await,
            Command::Keys(command) => client::keys(&home, command).await,
            Command::Model(command) => {
                model::run(*command, &cli.passphrase, SystemClock::start().now())
            }
            Command::Verify => verify::verify(&home, &cli.passphrase).await,
            Command::Demo(args) => demo::demo(args).await,
            Command::ConfigDocs => client::config_docs(),
        }
    });
    // A blocking read of a terminal must not hold the process back.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}
