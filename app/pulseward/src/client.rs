//! Commands for people: they speak to the running program and hold no secret of their own.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use pulseward_app::{admin, config};
use pulseward_base::{AlertId, bytes};
use pulseward_proto_pipeline::v1::{
    AcknowledgeRequest, AlertEvent, SnoozeRequest, WatchRequest, WayBackRequest,
    alerts_client::AlertsClient,
};
use tonic::{
    Request as Call,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    config::Config,
    home::Home,
    requests::{Request, StatusAnswer},
    words,
};

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Access for the care team.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Follows alerts, a line each; says so when the connection is lost.
    Watch {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Says that somebody looks after an alert: it calls nobody again until it rises.
    Ack {
        /// The alert, as `watch` shows it.
        alert: String,
    },
    /// Silences an alert's lane of its patient for a while, at the severity that is open in it.
    Snooze {
        /// The alert, as `watch` shows it.
        alert: String,
        /// For how long, at most 8 h; 0s ends it.
        #[arg(long = "for", value_name = "DURATION", value_parser = config::parse::<Duration>)]
        span: Duration,
    },
    /// Makes the slip with which the vault names an alert's person, and writes it to a file.
    WayBack {
        /// The alert, as `watch` shows it.
        alert: String,
        /// Where the slip goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What a reader may see.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ClassWord {
    /// When, what and under which pseudonym.
    Times,
    /// How much.
    Values,
    /// What proves a batch's origin.
    Proofs,
}

/// What a reader reads for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PurposeWord {
    /// Research.
    Research,
    /// Running the system.
    Operations,
    /// Showing where readings came from.
    Evidence,
}

/// Access for data scientists.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Grants a reader classes of the history's columns, for a time.
    Grant {
        /// The reader's public key, in hexadecimal, as the reader's own program printed it.
        #[arg(long)]
        reader: String,
        /// What the reader may see.
        #[arg(long, value_delimiter = ',', required = true)]
        classes: Vec<ClassWord>,
        /// What for.
        #[arg(long, default_value = "research")]
        purpose: PurposeWord,
        /// For how many hours.
        #[arg(long, default_value_t = 24)]
        hours: u32,
        /// Where the grant goes. It is no secret.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Prints the root.
pub fn root(home: &Home) -> anyhow::Result<ExitCode> {
    let path = home.root();
    let root = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} is not there: run `pulseward init` first",
            path.display()
        )
    })?;
    say(root.trim())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints one screen of what is wrong.
pub async fn status(home: &Home) -> anyhow::Result<ExitCode> {
    let status: StatusAnswer = admin::ask(&home.socket(), &Request::Status).await?;
    let up = Duration::from_micros(u64::try_from(status.now - status.started).unwrap_or(0));
    let word = if status.ready { "ready" } else { "not ready" };
    say(&format!("pulseward {word}, up {}", words::duration(up)))?;
    for problem in &status.problems {
        let since = Duration::from_micros(u64::try_from(status.now - problem.since).unwrap_or(0));
        let line = format!(
            "{}: {}, for {}; see docs/RUNBOOK.md#{}",
            problem.name,
            problem.detail,
            words::duration(since),
            problem.name
        );
        say(&line)?;
    }
    if status.ready && status.problems.is_empty() {
        say("nothing is wrong")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// Prints the documentation of the configuration.
pub fn config_docs() -> anyhow::Result<ExitCode> {
    say(pulseward_app::config::page("pulseward", &Config::docs()).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command of the care team.
pub async fn alerts(home: &Home, command: AlertsCommand) -> anyhow::Result<ExitCode> {
    let staff = Staff::connect(home).await?;
    match command {
        AlertsCommand::Watch { json, .. } => {
            let mut events = staff.watch().await?;
            while let Some(event) = events
                .message()
                .await
                .context("the connection is lost: alerts may be missed")?
            {
                say(&if json {
                    words::alert_json(&event)
                } else {
                    words::alert(&event)
                })?;
            }
            anyhow::bail!("the service ended the stream: alerts may be missed")
        }
        AlertsCommand::Ack { alert } => {
            staff.acknowledge(named(&alert)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        AlertsCommand::Snooze { alert, span } => {
            staff.snooze(named(&alert)?, span).await?;
            Ok(ExitCode::SUCCESS)
        }
        AlertsCommand::WayBack { alert, out, .. } => {
            let slip = staff.way_back(named(&alert)?).await?;
            write_slip(&out, &slip)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn named(alert: &str) -> anyhow::Result<AlertId> {
    let id = bytes::unhex(alert).ok().and_then(|id| id.try_into().ok());
    let id = id.context("an alert's name is 32 hexadecimal digits")?;
    Ok(AlertId(id))
}

/// Runs a command for data scientists.
pub async fn keys(home: &Home, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let KeysCommand::Grant {
        reader,
        classes,
        purpose,
        hours,
        out,
        ..
    } = command;
    let word = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    };
    let request = Request::Grant {
        reader,
        classes: classes
            .iter()
            .map(|class| word(&|| class.to_possible_value()))
            .collect(),
        purpose: word(&|| purpose.to_possible_value()),
        seconds: u64::from(hours) * 3600,
    };
    let grant: String = admin::ask(&home.socket(), &request).await?;
    let grant = bytes::unhex(&grant).map_err(|_| anyhow::anyhow!("a damaged grant"))?;
    write_private(&out, &grant)?;
    Ok(ExitCode::SUCCESS)
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("nobody reads the output")
}

/// Writes a slip where only its owner reads it.
pub fn write_slip(path: &Path, slip: &[u8]) -> anyhow::Result<()> {
    write_private(path, slip)
}

fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut file = std::fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("couldn't write {}", path.display()))?;
    file.write_all(content)?;
    Ok(())
}

/// A care team's client.
#[derive(Clone)]
pub struct Staff {
    alerts: AlertsClient<Channel>,
    token: MetadataValue<Ascii>,
}

impl Staff {
    /// Connects to the running program of `home`, with the token its socket gives to its owner.
    pub async fn connect(home: &Home) -> anyhow::Result<Self> {
        let token: String = admin::ask(&home.socket(), &Request::CareToken).await?;
        let token = format!("Bearer {token}")
            .parse()
            .context("a damaged token")?;
        let channel = channel(home).await?;
        Ok(Self {
            alerts: AlertsClient::new(channel),
            token,
        })
    }

    /// Follows alerts: those that are open first.
    pub async fn watch(&self) -> anyhow::Result<tonic::Streaming<AlertEvent>> {
        let call = self.with_token(WatchRequest::default());
        Ok(self
            .alerts
            .clone()
            .watch(call)
            .await
            .context("couldn't follow alerts")?
            .into_inner())
    }

    /// Asks for the slip that leads back from `alert`.
    pub async fn way_back(&self, alert: AlertId) -> anyhow::Result<Vec<u8>> {
        let call = self.with_token(WayBackRequest {
            alert_id: alert.0.to_vec(),
        });
        let answer = self
            .alerts
            .clone()
            .way_back(call)
            .await
            .context("no way back")?;
        Ok(answer.into_inner().slip)
    }

    /// Says that somebody looks after `alert`.
    pub async fn acknowledge(&self, alert: AlertId) -> anyhow::Result<()> {
        let call = self.with_token(AcknowledgeRequest {
            alert_id: alert.0.to_vec(),
        });
        let answer = self.alerts.clone().acknowledge(call).await;
        answer.context("not acknowledged")?;
        Ok(())
    }

    /// Silences the lane of `alert` for a while.
    pub async fn snooze(&self, alert: AlertId, span: Duration) -> anyhow::Result<()> {
        let call = self.with_token(SnoozeRequest {
            alert_id: alert.0.to_vec(),
            seconds: u32::try_from(span.as_secs()).unwrap_or(u32::MAX),
        });
        self.alerts
            .clone()
            .snooze(call)
            .await
            .context("not snoozed")?;
        Ok(())
    }

    fn with_token<T>(&self, message: T) -> Call<T> {
        let mut call = Call::new(message);
        call.metadata_mut()
            .insert("authorization", self.token.clone());
        call
    }
}

async fn channel(home: &Home) -> anyhow::Result<Channel> {
    let path = home.tls_authority();
    let authority =
        std::fs::read(&path).with_context(|| format!("couldn't read {}", path.display()))?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .domain_name(&home.config.listen.name);
    Endpoint::from_shared(format!("https://{}", home.config.listen.staff))?
        .tls_config(tls)?
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(PATIENCE)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .context("couldn't reach the staff port")
}
