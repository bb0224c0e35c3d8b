//! Takes streams, and keeps the stage going until its end. Everything a stream needs is in `Core`.

use std::{fmt, sync::Arc, time::Duration};

use pulseward_base::{Micros, Reject};
use pulseward_eventlog::LogError;
use pulseward_proto_pipeline::v1::{
    Down, Up,
    ingest_server::{Ingest as IngestRpc, IngestServer},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{
    Settings,
    devices::{Devices, ViewReader},
    error::{IngestError, status_of},
    marks::Marks,
    metrics::End,
    redemptions::Redemptions,
    session::Stream,
    shared::{Core, Tools},
    tasks,
};

/// How many answers may wait for a device that reads slowly.
const OUTBOUND: usize = 8;
/// How often a quiet connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

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
        let monotonic = tools.clock.monotonic();
        let devices = Devices::default();
        let view = ViewReader::open(&tools.log, &devices, monotonic).await?;
        let marks = Arc::new(Marks::default());
        let log_time = tasks::resume(&tools.log, &marks, settings.resume_entries).await?;
        let redemptions = Redemptions::open(&tools.log).await?;
        let core = Core::new(tools, settings, (devices, marks, redemptions));
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
