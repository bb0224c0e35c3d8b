//! `pulseward demo`: a simulated ward on both programs, with hostile devices among the honest ones,
//! as a live table or as one line of JSON after everything was reconciled.

mod children;
mod probe;
pub mod reconcile;
pub mod report;
mod table;
mod ward;
mod watch;

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use pulseward_app::{SystemClock, config, shutdown};
use pulseward_base::Clock;
use pulseward_device::{
    Attack, AttackReport, AttackSettings, Attackers, Fate, Fleet, FleetSettings, FleetSnapshot,
    Ledger,
    fleet::{DeviceView, Phase, Script},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::{
    reconcile::Reconciled,
    report::{Attacks, Percentiles, Report},
    table::{DeviceLine, Screen},
    ward::Ward,
    watch::Board,
};

/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(500);
/// How long devices may take to drain, and the stages to catch up, at the end.
const DRAIN: Duration = Duration::from_secs(30);
/// The attackers begin when the ward has settled.
const ATTACK_AFTER: Duration = Duration::from_secs(3);

/// The gauge that says how much of the feed the detector has not processed.
const DETECTOR_LAG: &str = "pulseward_detector_lag_entries";

/// What a demo shows.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// End by itself after this long, e.g. 30s.
    #[arg(long = "for", value_name = "DURATION", value_parser = config::parse::<Duration>)]
    pub length: Option<Duration>,
    /// Print one line of JSON at the end instead of a table.
    #[arg(long)]
    pub json: bool,
    /// How many simulated patients, with a device each.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// How often a device makes a batch.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = config::parse::<Duration>)]
    pub interval: Duration,
    /// Kill the pipeline this often in mid-run, as a power cut would, and start it again.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub kills: u32,
    /// Keep both programs' data here instead of in a directory that goes with the run.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Run on Apache Kafka instead of the embedded log.
    #[arg(long, value_name = "BOOTSTRAP")]
    pub kafka: Option<String>,
    /// Copies of each topic on Kafka.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "kafka")]
    pub kafka_replicas: u16,
    /// What all simulated chance comes from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs a demo and cleans up behind it.
pub async fn demo(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let shutdown::Asked { drain, end } = shutdown::listen()?;
    let (at, is_ours) = match &args.data {
        Some(path) => (path.clone(), false),
        None => (ward::temporary()?, true),
    };
    let ran = tokio::select! {
        ran = run(&args, &at, drain) => ran,
        // Both programs are killed as their handles are dropped.
        () = end.cancelled() => Err(anyhow::anyhow!("a second signal ended it")),
    };
    if is_ours && ran.as_ref().is_ok_and(|report| report.failure().is_none()) {
        std::fs::remove_dir_all(&at)
            .with_context(|| format!("couldn't remove {}", at.display()))?;
    }
    let report = ran.with_context(|| format!("the run's data are in {}", at.display()))?;
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(out, "\n{}", closing_words(&report))?;
    }
    match report.failure() {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => anyhow::bail!("{failure}; the run's data are in {}", at.display()),
    }
}

fn closing_words(report: &Report) -> String {
    format!(
        "{} batches of {} devices acknowledged: {} lost, {} doubled; {} of {} attacks refused; {} alerts; {} rows stored, each as its device signed it",
        report.accepted,
        report.devices,
        report.lost,
        report.doubled,
        report.attacks.refused,
        report.attacks.tried,
        report.alerts,
        report.stored_rows
    )
}

/// A run under way.
struct Run<'a> {
    args: &'a DemoArgs,
    clock: Arc<dyn Clock>,
    start: Duration,
    ward: Ward,
    fleet: Fleet,
    board: Board,
    attackers: JoinHandle<anyhow::Result<Ledger>>,
    attacks: Arc<Mutex<Vec<AttackReport>>>,
    way_back: Option<String>,
    rejected: BTreeMap<String, u64>,
    note: String,
}

async fn run(args: &DemoArgs, at: &Path, signal: CancellationToken) -> anyhow::Result<Report> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let start = clock.monotonic();
    let ward = Ward::open(at, args).await?;
    // One ticket more: the attackers need somebody inside.
    let mut tickets = ward.tickets(args.devices as usize + 1).await?;
    let insider = tickets.pop().context("the vault issued no ticket")?;
    let mut settings = FleetSettings::new(ward.link()?, tickets);
    settings.interval = args.interval;
    settings.seed = args.seed;
    let attack_settings = AttackSettings::new(ward.link()?, insider);
    let board = Board::default();
    let following = CancellationToken::new();
    let elapsed = {
        let clock = Arc::clone(&clock);
        move || clock.monotonic().saturating_sub(start)
    };
    let watcher = tokio::spawn(watch::follow(
        ward.home.clone(),
        Arc::clone(&board),
        elapsed,
        following.clone(),
    ));
    let fleet = Fleet::start(settings, Arc::clone(&clock));
    let attacks = Arc::default();
    let mut run = Run {
        args,
        attackers: tokio::spawn(attack(
            attack_settings,
            Arc::clone(&clock),
            Arc::clone(&attacks),
        )),
        attacks,
        clock,
        start,
        ward,
        fleet,
        board,
        way_back: None,
        rejected: BTreeMap::new(),
        note: String::new(),
    };
    run.watch_over(&signal).await?;
    let mut report = run.finish().await;
    if let Ok(report) = &mut report {
        report.is_cut_short = signal.is_cancelled();
    }
    following.cancel();
    watcher.await.context("the watcher failed")?;
    report
}

/// Plays every attack once, and returns what the insider sent in earnest.
async fn attack(
    settings: AttackSettings,
    clock: Arc<dyn Clock>,
    reports: Arc<Mutex<Vec<AttackReport>>>,
) -> anyhow::Result<Ledger> {
    tokio::time::sleep(ATTACK_AFTER).await;
    let mut attackers = Attackers::enter(settings, clock)
        .await
        .context("the insider couldn't enrol")?;
    for attack in Attack::ALL {
        let report = attackers.run(*attack).await;
        if !report.holds() {
            tracing::error!(?report, "an attack was not refused as it should be");
        }
        lock(&reports).push(report);
    }
    Ok(attackers.ledger().clone())
}

impl Run<'_> {
    fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.start)
    }

    /// Draws the table, takes the way back from the first page, kills the pipeline when it is time,
    /// and returns when the run is over.
    async fn watch_over(&mut self, signal: &CancellationToken) -> anyhow::Result<()> {
        let mut frame = tokio::time::interval(FRAME);
        let mut killed = 0;
        loop {
            tokio::select! {
                () = signal.cancelled() => return Ok(()),
                _ = frame.tick() => {}
            }
            if self
                .args
                .length
                .is_some_and(|length| self.elapsed() >= length)
            {
                return Ok(());
            }
            if self.kill_is_due(killed) {
                killed += 1;
                // A killed process forgets what it counted.
                self.keep_rejects().await;
                self.ward.kill_and_restart().await?;
                tracing::info!(kill = killed, "killed and restarted");
                self.note = format!("pipeline killed and restarted {killed} time(s)");
            }
            self.take_way_back().await;
            if !self.args.json {
                self.draw().await?;
            }
        }
    }

    /// Kills are spread evenly over the run, none in its first fifth, while attackers are let finish.
    fn kill_is_due(&self, killed: u32) -> bool {
        let Some(length) = self.args.length else {
            return false;
        };
        if killed >= self.args.kills || !self.attackers.is_finished() {
            return false;
        }
        let share = f64::from(killed + 1) / f64::from(self.args.kills + 1);
        self.elapsed().as_secs_f64() >= length.as_secs_f64() * (0.2 + 0.8 * share)
    }

    async fn take_way_back(&mut self) {
        let first = lock(&self.board).first_page;
        if let (Some(alert), None) = (first, &self.way_back) {
            match self.ward.way_back(alert).await {
                Ok(printed) => self.way_back = Some(printed),
                Err(error) => self.note = format!("no way back: {error:#}"),
            }
        }
    }

    async fn keep_rejects(&mut self) {
        for (code, count) in self.rejects_now().await {
            *self.rejected.entry(code).or_default() += count;
        }
    }

    async fn rejects_now(&self) -> BTreeMap<String, u64> {
        let port = self.ward.home.config.listen.admin.port();
        probe::metrics(port)
            .await
            .map(|metrics| reject_counts(&metrics))
            .unwrap_or_default()
    }

    async fn draw(&self) -> anyhow::Result<()> {
        let snapshot = self.fleet.snapshot();
        let mut rejected = self.rejected.clone();
        for (code, count) in self.rejects_now().await {
            *rejected.entry(code).or_default() += count;
        }
        let screen = Screen {
            elapsed: self.elapsed(),
            devices: snapshot.devices.iter().map(device_line).collect(),
            alerts: lock(&self.board).lines.iter().rev().cloned().collect(),
            accepted: snapshot.total.durable + snapshot.total.duplicate,
            readings: snapshot.total.readings,
            ack: percentiles(&snapshot),
            attacks: attack_counts(&lock(&self.attacks)),
            rejected,
            way_back: self.way_back.clone(),
            note: self.note.clone(),
        };
        let mut out = std::io::stdout();
        out.write_all(screen.draw().as_bytes())?;
        out.flush().context("nobody reads the output")
    }

    /// Drains the devices, lets the stages catch up, ends both programs and reconciles.
    async fn finish(mut self) -> anyhow::Result<Report> {
        let attacked = tokio::time::timeout(DRAIN, &mut self.attackers)
            .await
            .context("the attackers did not end")?;
        let insider = attacked.context("the attackers failed")??;
        self.keep_rejects().await;
        let mut ledgers = self.fleet.stop(DRAIN).await;
        let devices = ledgers.len();
        ledgers.push(insider);
        caught_up(self.ward.home.config.listen.admin.port()).await?;
        for (name, program) in [
            ("pulseward", &self.ward.pipeline),
            ("pulseward-identity", &self.ward.vault),
        ] {
            tracing::info!(name, resident_kib = program.resident_kib(), "memory");
        }
        if let Some(first) = lock(&self.board).first_after {
            tracing::info!(seconds = first.as_secs_f64(), "first alert");
        }
        self.ward.close().await?;
        let passphrase = self.ward.pipeline.passphrase().clone();
        let found = reconcile::reconcile(&self.ward.home, &passphrase, &ledgers).await?;
        Ok(report(
            devices,
            &ledgers,
            attack_counts(&lock(&self.attacks)),
            self.rejected,
            &found,
        ))
    }
}

/// Waits until the detector has processed the whole feed.
async fn caught_up(admin_port: u16) -> anyhow::Result<()> {
    let behind = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let metrics = probe::metrics(admin_port).await?;
            if metrics.get(DETECTOR_LAG).is_some_and(|lag| *lag <= 0.0) {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(DRAIN, behind)
        .await
        .context("the detector did not catch up")?
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn attack_counts(reports: &[AttackReport]) -> Attacks {
    Attacks {
        tried: reports.iter().map(|report| report.tried).sum(),
        refused: reports.iter().map(|report| report.refused).sum(),
    }
}

/// Returns what ingest refused, by code, out of its metrics.
fn reject_counts(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, u64> {
    let code = |name: &str| {
        let rest = name.strip_prefix("pulseward_ingest_rejects_total{code=\"")?;
        Some(rest.strip_suffix("\"}")?.to_owned())
    };
    let counted = metrics.iter().filter(|(_, value)| **value > 0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter above zero"
    )]
    counted
        .filter_map(|(name, value)| Some((code(name)?, *value as u64)))
        .collect()
}

fn report(
    devices: usize,
    ledgers: &[Ledger],
    attacks: Attacks,
    rejected: BTreeMap<String, u64>,
    found: &Reconciled,
) -> Report {
    let entries = || ledgers.iter().flat_map(Ledger::entries);
    let times = entries()
        .filter(|entry| matches!(entry.fate, Some(Fate::Durable)))
        .filter_map(|entry| entry.took);
    Report {
        devices,
        batches: entries().count() as u64,
        readings: entries().map(|entry| entry.rows as u64).sum(),
        accepted: ledgers
            .iter()
            .map(|ledger| ledger.acknowledged().count() as u64)
            .sum(),
        rejected,
        lost: found.lost,
        doubled: found.doubled,
        attacks,
        alerts: found.alerts,
        ack_ms: Percentiles::of(times.collect()),
        stored_rows: found.stored_rows,
        foreign: found.foreign,
        is_verified: found.verified,
        is_cut_short: false,
    }
}

fn percentiles(snapshot: &FleetSnapshot) -> Percentiles {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Percentiles {
        p50: millis(snapshot.ack_p50),
        p99: millis(snapshot.ack_p99),
    }
}

fn device_line(view: &DeviceView) -> DeviceLine {
    let patient = match view.script {
        Script::Stable => "stable",
        Script::Deteriorates { .. } => "falls ill",
        Script::FallsSilent { .. } => "falls silent",
    };
    let state = match view.phase {
        Phase::Enrolling => "enrolling".to_owned(),
        Phase::Refused(reject) => format!("refused: {reject}"),
        Phase::Sending if view.waiting > 1 => format!("sending, {} wait", view.waiting),
        Phase::Sending => "sending".to_owned(),
        Phase::Silent => "switched off".to_owned(),
    };
    DeviceLine {
        bed: format!("bed {}", view.number + 1),
        patient: patient.to_owned(),
        made: view.counts.made,
        acknowledged: view.counts.durable + view.counts.duplicate,
        state,
    }
}
