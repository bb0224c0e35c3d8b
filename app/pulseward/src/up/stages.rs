//! The stages, in the order in which a batch meets them. They meet each other only in the log.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use pulseward_alerts::{AlertStage, CareTeam, Recipient};
use pulseward_app::{admin::Ready, shutdown};
use pulseward_base::Partition;
use pulseward_detector::{Detector, settings::Judgement};
use pulseward_eventlog::Log;
use pulseward_history::{Historian, HistorianTools};
use pulseward_ingest::{Ingest, ServiceIdentity, Tools};
use pulseward_keys::{KeysService, KeysSettings};
use pulseward_models::rules::news2::SaturationScale;
use pulseward_proto_pipeline::{DESCRIPTORS, v1::ingest_server::IngestServer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::doors::Doors;
use crate::{
    authority::{Signer, Signers},
    config::Config,
    foundation::Foundation,
    home::Home,
    trimmer::Trimmer,
};

/// The only care team there is until staff accounts come.
const CARE_TEAM: Recipient = Recipient(*b"care-team-000001");

/// How long a closing door waits for calls under way.
const LINGER: Duration = Duration::from_secs(3);

/// Every stage, ready to run.
pub(super) struct Stages {
    ingest: Ingest,
    detector: Detector,
    alerts: AlertStage,
    history: Historian,
    trimmer: Trimmer,
    /// Issues grants and gives keys to those who hold one.
    pub keys: KeysService,
    partitions: Vec<Partition>,
}

impl Stages {
    /// Puts them together.
    pub(super) async fn assemble(
        home: &Home,
        foundation: &Foundation,
        signers: Signers,
        log: &Log,
        care_token: &str,
    ) -> anyhow::Result<Self> {
        let Foundation {
            clock,
            registry,
            metrics,
            ..
        } = foundation;
        let (root, config) = (foundation.root, &home.config);
        let Signers {
            service,
            history,
            delivery,
        } = signers;
        let ingest = Tools {
            log: log.clone(),
            keys: Arc::new(registry.clone()),
            identity: ServiceIdentity {
                root,
                certificate: service.certificate,
                key: service.key,
            },
            clock: Arc::clone(clock),
            metrics: pulseward_ingest::Metrics::register(metrics)?,
        };
        let ingest = Ingest::open(ingest, ingest_settings(config)).await;
        let detector_metrics = pulseward_detector::Metrics::new(metrics)?;
        let (watching, log_for) = (detector_settings(config), || log.clone());
        let alerts_metrics = pulseward_alerts::Metrics::new(metrics)?;
        let Signer { certificate, key } = delivery;
        let signer = pulseward_alerts::Signer { certificate, key };
        let settings = alert_settings(config, care_token);
        let history = historian(home, foundation, history, log)?;
        let keep = config.log.keep;
        Ok(Self {
            trimmer: Trimmer::new(log.clone(), history.progress(), Arc::clone(clock), keep),
            history,
            ingest: ingest.context("couldn't open ingest")?,
            detector: Detector::new(log_for(), watching, detector_metrics, Arc::clone(clock)),
            alerts: AlertStage::new(
                log_for(),
                settings,
                alerts_metrics,
                Arc::clone(clock),
                signer,
            ),
            keys: KeysService::new(registry.clone(), KeysSettings::default()),
            partitions: (0..log.partitions()).map(Partition).collect(),
        })
    }

    /// Runs them until `signal`, or until one ends, which ends all. They drain in the order of the
    /// flow: what the front has acknowledged, the back still takes in.
    pub(super) async fn run(
        self,
        doors: Doors,
        signal: CancellationToken,
        ready: &Ready,
        grace: Duration,
    ) -> anyhow::Result<()> {
        let (front, back) = (CancellationToken::new(), CancellationToken::new());
        let (mut front_tasks, mut back_tasks) = self.start(doors, &front, &back).await?;
        ready.set(true);
        tracing::info!("ready");
        let early = tokio::select! {
            () = signal.cancelled() => None,
            Some(ended) = front_tasks.join_next() => Some(ended),
            Some(ended) = back_tasks.join_next() => Some(ended),
        };
        ready.set(false);
        let early = early.map_or(Ok(()), |ended| {
            outcome(ended).and_then(|name| Err(anyhow!("{name} ended without being asked to")))
        });
        let drained = shutdown::within(grace, async {
            front.cancel();
            let front = drain(front_tasks).await;
            back.cancel();
            front.and(drain(back_tasks).await)
        });
        let drained = drained.await;
        early.and(drained)
    }

    async fn start(
        self,
        doors: Doors,
        front: &CancellationToken,
        back: &CancellationToken,
    ) -> anyhow::Result<(Tasks, Tasks)> {
        let Doors {
            devices,
            staff,
            tls,
        } = doors;
        let Self {
            ingest,
            detector,
            alerts,
            history,
            trimmer,
            keys,
            partitions,
        } = self;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .build_v1()
        };
        let (health, health_service) = tonic_health::server::health_reporter();
        health
            .set_serving::<IngestServer<pulseward_ingest::IngestService>>()
            .await;

        let device_door = Ingest::limit(Server::builder())
            .tls_config(tls.clone())?
            .add_service(ingest.service())
            .add_service(health_service)
            .add_service(reflection()?)
            .serve_with_incoming_shutdown(devices, front.clone().cancelled_owned());
        let device_door = linger(device_door, front.clone());
        let staff_door = Ingest::limit(Server::builder())
            .tls_config(tls)?
            .add_service(alerts.service().into_server())
            .add_service(keys.into_server())
            .add_service(reflection()?)
            .serve_with_incoming_shutdown(staff, back.clone().cancelled_owned());
        let staff_door = linger(staff_door, back.clone());

        let (mut front_tasks, mut back_tasks) = (JoinSet::new(), JoinSet::new());
        spawn(&mut front_tasks, "the devices' door", device_door);
        spawn(&mut front_tasks, "ingest", ingest.run(front.clone()));
        spawn(
            &mut back_tasks,
            "the detector",
            detector.run(partitions.clone(), back.clone()),
        );
        spawn(
            &mut back_tasks,
            "alerts",
            alerts.run(partitions.clone(), back.clone()),
        );
        spawn(
            &mut back_tasks,
            "history",
            history.run(partitions, back.clone()),
        );
        spawn(&mut back_tasks, "the trimmer", trimmer.run(back.clone()));
        spawn(&mut back_tasks, "the staff's door", staff_door);
        Ok((front_tasks, back_tasks))
    }
}

/// Serves a door until it has closed: with the last call under way, or at the latest [`LINGER`] after
/// `closing`, for a peer that holds a stream open must not hold the drain of what lies behind.
async fn linger<E>(
    door: impl Future<Output = Result<(), E>>,
    closing: CancellationToken,
) -> Result<(), E> {
    let too_long = async {
        closing.cancelled().await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        closed = door => closed,
        () = too_long => {
            tracing::info!("a door closes on a peer that would not leave");
            Ok(())
        }
    }
}

type Tasks = JoinSet<(&'static str, anyhow::Result<()>)>;

fn spawn<E>(
    tasks: &mut Tasks,
    name: &'static str,
    stage: impl Future<Output = Result<(), E>> + Send + 'static,
) where
    E: std::error::Error + Send + Sync + 'static,
{
    tasks.spawn(async move {
        let ended = stage.await;
        (name, ended.with_context(|| format!("{name} failed")))
    });
}

fn outcome(
    ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>,
) -> anyhow::Result<&'static str> {
    let (name, ended) = ended.context("a stage panicked")?;
    ended.map(|()| name)
}

/// Waits for all tasks; the first error speaks for all.
async fn drain(mut tasks: Tasks) -> anyhow::Result<()> {
    let mut drained = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = outcome(ended).map(|name| tracing::debug!(name, "drained"));
        drained = drained.and(ended);
    }
    drained
}

fn historian(
    home: &Home,
    foundation: &Foundation,
    signer: Signer,
    log: &Log,
) -> anyhow::Result<Historian> {
    let Signer { certificate, key } = signer;
    let tools = HistorianTools {
        log: log.clone(),
        keys: Arc::new(foundation.registry.clone()),
        signer: pulseward_history::Signer { certificate, key },
        root: foundation.root,
        clock: Arc::clone(&foundation.clock),
        metrics: pulseward_history::Metrics::new(&foundation.metrics)?,
    };
    Ok(Historian::new(history_settings(home), tools))
}

fn ingest_settings(config: &Config) -> pulseward_ingest::Settings {
    let section = &config.ingest;
    pulseward_ingest::Settings {
        max_frame_bytes: usize::try_from(section.max_frame.0).unwrap_or(usize::MAX),
        session_in_flight: section.max_in_flight,
        total_in_flight: section.max_total_in_flight,
        sessions: section.max_sessions,
        hellos_per_second: section.hellos_per_second,
        hello_burst: section.hello_burst,
        offer_life: section.offer_life,
        idle: section.idle,
        faults: section.faults,
        retry_after: section.retry_after,
        max_backlog_age: section.max_backlog_age,
        max_devices: section.max_devices,
        ..pulseward_ingest::Settings::default()
    }
}

fn detector_settings(config: &Config) -> pulseward_detector::Settings {
    let section = &config.detector;
    let mut settings = pulseward_detector::Settings::default();
    let two = section.saturation_scale_two;
    settings.judgement = Judgement {
        saturation: if two {
            SaturationScale::Two
        } else {
            SaturationScale::One
        },
        device_silence: section.device_silence,
        stream_silence: section.stream_silence,
        feed_silence: section.feed_silence,
        past_after: section.past_after,
        ..settings.judgement
    };
    settings.judgement.rules.m = section.votes_needed;
    settings.judgement.rules.n = section.votes_of;
    settings.drive.checkpoint_every = section.checkpoint_every;
    settings
}

fn alert_settings(config: &Config, care_token: &str) -> pulseward_alerts::Settings {
    let team = CareTeam {
        recipient: CARE_TEAM,
        token: CareTeam::digest(care_token),
    };
    pulseward_alerts::Settings {
        care_teams: vec![team],
        watchers: config.alerts.max_watchers,
        slip_lifetime: config.alerts.way_back_life,
        ..pulseward_alerts::Settings::default()
    }
}

fn history_settings(home: &Home) -> pulseward_history::Settings {
    let mut settings = pulseward_history::Settings::new(home.history());
    settings.commit_age = home.config.history.commit_after;
    settings.commit_rows = home.config.history.commit_rows;
    settings
}

#[cfg(test)]
mod tests;
