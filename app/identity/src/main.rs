//! The clinic's vault as a program. It knows persons and no vital sign; it speaks to no pipeline.

mod cli;
mod commands;
mod config;
mod door;
mod home;
mod incoming;
mod requests;
mod serve;
mod synthetic;
mod way_back;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use prometheus::Registry;
use pulseward_app::{config::page, logging};

use cli::{Cli, Command};
use config::Config;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write as _;
            let _unheard = writeln!(std::io::stderr(), "pulseward-identity: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("couldn't start the runtime")?;
    runtime.block_on(dispatch(cli))
}

async fn dispatch(cli: &Cli) -> anyhow::Result<ExitCode> {
    let directory = &cli.directory;
    match &cli.command {
        Command::Init(pipeline) => {
            let config = read_config(cli, pipeline)?;
            home::open(directory, &config, &cli.passphrase, &Registry::new())?;
            if let Some(pipeline_root) = pipeline.pipeline_root {
                home::write_config(directory, pipeline_root)?;
            }
            commands::print(&home::root(directory)?)?;
        }
        Command::Serve(pipeline) => {
            let config = read_config(cli, pipeline)?;
            let format = if config.admin.log_json {
                logging::Format::Json
            } else {
                logging::Format::Text
            };
            logging::start(format, &config.admin.log)?;
            serve::run(directory, &config, &cli.passphrase).await?;
        }
        Command::Register(args) => commands::register(directory, args).await?,
        Command::Consent(args) => commands::consent(directory, args).await?,
        Command::Ticket(args) => commands::ticket(directory, args).await?,
        Command::WayBack(args) => way_back::run(args).await?,
        Command::Root => commands::print(&home::root(directory)?)?,
        Command::Status { json } => {
            if !commands::status(directory, *json).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Staff(args) => commands::staff(directory, args).await?,
        Command::ConfigDocs => commands::print(&page("pulseward-identity", &Config::docs()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read_config(cli: &Cli, pipeline: &cli::PipelineRoot) -> anyhow::Result<Config> {
    let mut config = Config::read(cli.config.as_ref(), &cli.directory)?;
    if pipeline.pipeline_root.is_some() {
        config.slips.pipeline_root = pipeline.pipeline_root;
    }
    Ok(config)
}
