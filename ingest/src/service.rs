//! Takes streams. Everything a stream needs is in `Core`; everything it may take is counted here.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pulseward_base::{Clock, Micros, Reject};
use pulseward_crypto::hello::Envelope;
use pulseward_custody::KeySource;
use pulseward_eventlog::{
    Body, Log, LogError, NewEntry,
    body::{Device, DeviceStatus, Void},
};
use pulseward_proto_pipeline::v1::{
    Down, Up,
    ingest_server::{Ingest as IngestRpc, IngestServer},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{
    Metrics, ServiceIdentity, Settings, SettingsError,
    accept::Fork,
    devices::{Credential, Devices, ViewReader},
    enrol::Redemptions,
    gate::Gate,
    live::Live,
    marks::Marks,
    metrics::End,
    offers::Offers,
    session::Stream,
    tasks,
};

/// How many answers may wait for a device that reads slowly.
const OUTBOUND: usize = 8;
/// How often a quiet connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Why ingest stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The settings contradict each other.
    #[error("the settings do not hold: {0}")]
    Settings(#[from] SettingsError),
    /// The log cannot be read, or must be opened again.
    #[error("the log cannot be used")]
    Log(#[from] LogError),
    /// An entry that ingest must understand does not open.
    #[error("{topic} holds an entry that does not open, at {offset} in partition {partition}")]
    Unreadable {
        /// The topic.
        topic: &'static str,
        /// The partition.
        partition: u32,
        /// The place in it.
        offset: u64,
    },
}

/// What ingest works with.
pub struct Tools {
    /// Where batches go.
    pub log: Log,
    /// Who admits devices.
    pub keys: Arc<dyn KeySource>,
    /// Who the service is to devices.
    pub identity: ServiceIdentity,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tools({:?})", self.identity)
    }
}

/// What all streams share.
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) log: Log,
    pub(crate) keys: Arc<dyn KeySource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) offers: Offers,
    pub(crate) gate: Gate,
    pub(crate) devices: Devices,
    pub(crate) marks: Arc<Marks>,
    pub(crate) live: Arc<Live>,
    pub(crate) redemptions: Redemptions,
    pub(crate) in_flight: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    tracker: TaskTracker,
    /// No more streams, and those there are end.
    pub(crate) draining: CancellationToken,
    /// The log must be opened again: this process must end.
    pub(crate) failed: CancellationToken,
    /// The log does not take what it is given; said once, until it does again.
    in_trouble: AtomicBool,
}

/// The ingest stage.
pub struct Ingest {
    core: Arc<Core>,
    view: ViewReader,
    log_time: Option<Micros>,
}

impl Ingest {
    /// Reads who is enrolled and what has arrived, and makes the first offer.
    pub async fn open(tools: Tools, settings: Settings) -> Result<Self, IngestError> {
        settings.check()?;
        let (now, monotonic) = (tools.clock.now(), tools.clock.monotonic());
        let devices = Devices::default();
        let view = ViewReader::open(&tools.log, &devices, monotonic).await?;
        let marks = Arc::new(Marks::default());
        let log_time = tasks::resume(&tools.log, &marks, settings.resume_entries).await?;
        let redemptions = Redemptions::open(&tools.log).await?;
        let core = Core {
            offers: Offers::new(tools.identity, &settings, now),
            gate: Gate::new(&settings, monotonic),
            devices,
            marks,
            live: Arc::new(Live::new(tools.metrics.clone())),
            redemptions,
            in_flight: Arc::new(Semaphore::new(settings.total_in_flight)),
            streams: Arc::new(Semaphore::new(settings.sessions)),
            tracker: TaskTracker::new(),
            draining: CancellationToken::new(),
            failed: CancellationToken::new(),
            in_trouble: AtomicBool::new(false),
            log: tools.log,
            keys: tools.keys,
            clock: tools.clock,
            metrics: tools.metrics,
            settings,
        };
        Ok(Self {
            core: Arc::new(core),
            view,
            log_time,
        })
    }

    /// Returns the gRPC service. It answers as soon as [`Ingest::run`] runs.
    #[must_use]
    pub fn service(&self) -> IngestServer<IngestService> {
        let service = IngestService {
            core: Arc::clone(&self.core),
        };
        // Field and length stand before the bytes.
        let most = self.core.settings.max_frame_bytes + 16;
        IngestServer::new(service)
            .max_decoding_message_size(most)
            .max_encoding_message_size(most)
    }

    /// Puts this stage's limits on a server that is being built.
    #[must_use]
    pub fn limit(server: Server) -> Server {
        server
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .max_frame_size(Some(64 * 1024))
            // Small windows: what a peer may leave here unread is bounded by them.
            .initial_stream_window_size(Some(512 * 1024))
            .initial_connection_window_size(Some(1024 * 1024))
    }

    /// Keeps the stage going until `shutdown`; then lets every stream finish what is under way.
    /// An error means that the process must end.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), IngestError> {
        let Self {
            core,
            view,
            log_time,
        } = self;
        let source = core.log.writer();
        let ran = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            () = core.failed.cancelled() => Err(LogError::Poisoned.into()),
            () = tasks::keep_view(&core, view) => Ok(()),
            () = tasks::keep_offers(&core) => Ok(()),
            ticked = tasks::tick(&core, source, log_time) => ticked,
        };
        core.draining.cancel();
        core.tracker.close();
        core.tracker.wait().await;
        ran
    }
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ingest(..)")
    }
}

/// The gRPC side of ingest.
#[derive(Clone)]
pub struct IngestService {
    core: Arc<Core>,
}

#[tonic::async_trait]
impl IngestRpc for IngestService {
    type SessionStream = ReceiverStream<Result<Down, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<Up>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let core = Arc::clone(&self.core);
        if core.draining.is_cancelled() {
            return Err(Status::unavailable(End::Drained.word()));
        }
        let permit = Arc::clone(&core.streams).try_acquire_owned();
        let permit = permit.map_err(|_| {
            core.metrics.reject(Reject::OverLimit);
            status_of(Reject::OverLimit)
        })?;
        core.count_streams();
        let (outbound, answers) = mpsc::channel(OUTBOUND);
        let stream = Stream::new(Arc::clone(&core), request.into_inner(), outbound);
        let tracker = core.tracker.clone();
        // Tracked, not detached: a drain waits for it, and so for what it has under way.
        tracker.spawn(async move {
            stream.lead().await;
            drop(permit);
            core.count_streams();
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl fmt::Debug for IngestService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IngestService(..)")
    }
}

impl Core {
    /// Returns the time at which everything here is judged.
    pub(crate) fn now(&self) -> Micros {
        self.clock.now()
    }

    /// Returns whether devices may be admitted by the view.
    pub(crate) fn view_is_fresh(&self) -> bool {
        self.devices.age(self.clock.monotonic()) <= self.settings.max_view_age
    }

    /// Returns the offer that a hello was made for, or none when it is not known here.
    pub(crate) fn offer_of(
        &self,
        envelope: &Envelope<'_>,
    ) -> Option<Arc<pulseward_crypto::offer::ServiceOffer>> {
        self.offers.find(envelope.offer, self.now())
    }

    /// Says what an error of the log means for the process, and for the device: come again.
    pub(crate) fn log_failed(&self, error: &LogError) {
        if matches!(error, LogError::Poisoned) {
            tracing::error!(%error, "ingest must end");
            self.failed.cancel();
        } else if !self.in_trouble.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the log does not take what it is given: devices are to come again");
        }
    }

    /// The log took something.
    pub(crate) fn log_took(&self) {
        if self.in_trouble.load(Ordering::Relaxed) && self.in_trouble.swap(false, Ordering::Relaxed)
        {
            tracing::info!("the log takes what it is given again");
        }
    }

    /// Quarantines a fork: its number and digest go on record, its device is suspended.
    pub(crate) async fn quarantine(
        &self,
        credential: &Credential,
        fork: &Fork,
    ) -> Result<(), LogError> {
        let device = &credential.device;
        let void = Void {
            device: device.device,
            incarnation: fork.place.incarnation,
            seq: fork.place.seq,
            digest: fork.digest,
            code: Reject::Forked,
        };
        let void = NewEntry::for_patient(device.slot, device.key, Body::Void(void));
        self.log.append(void).await?;
        self.suspend(credential).await
    }

    /// Suspends a device that is active.
    pub(crate) async fn suspend(&self, credential: &Credential) -> Result<(), LogError> {
        if !credential.is_active() {
            return Ok(());
        }
        let mut device = credential.device.clone();
        device.status = DeviceStatus::Suspended;
        let kid = device.device;
        self.put_device(device).await?;
        self.live.end(kid, End::Withdrawn);
        self.metrics.suspended();
        tracing::warn!("a device was suspended");
        Ok(())
    }

    /// Writes a device's value, and takes it into the view when it is durable.
    pub(crate) async fn put_device(&self, device: Device) -> Result<(), LogError> {
        let partition = self.log.partition_of(device.slot);
        let key = self.log.compaction_key(device.device.as_bytes());
        let body = Body::Device(Box::new(device.clone()));
        let entry = NewEntry::for_log(partition, body).compacted(key);
        let position = self.log.append(entry).await?;
        // Without a position the view's reader brings it.
        if let Some(position) = position {
            self.devices.apply(device, position);
        }
        Ok(())
    }

    fn count_streams(&self) {
        let open = self.settings.sessions - self.streams.available_permits();
        self.metrics.set_streams(open);
    }
}

/// Returns the status that ends a stream for a rejection; its message is the rejection's code.
pub(crate) fn status_of(reject: Reject) -> Status {
    let code = reject.code();
    match reject {
        Reject::OverLimit => Status::resource_exhausted(code),
        Reject::NotAdmitted => Status::unauthenticated(code),
        // Whatever else a peer did wrong, it can only do better.
        _ => Status::invalid_argument(code),
    }
}
