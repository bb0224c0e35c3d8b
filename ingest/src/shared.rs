//! What all streams share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pulseward_base::{Clock, Digest, Micros, Reject};
use pulseward_batch::digest::Place;
use pulseward_crypto::{
    frame::{D8, d8},
    hello::Envelope,
};
use pulseward_custody::KeySource;
use pulseward_eventlog::{
    Body, Log, LogError, NewEntry,
    body::{Device, DeviceStatus, Void},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Metrics, ServiceIdentity, Settings,
    devices::{Credential, Devices},
    gate::Gate,
    live::Live,
    marks::Marks,
    metrics::End,
    offers::Offers,
    redemptions::Redemptions,
};

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
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) tracker: TaskTracker,
    /// No more streams, and those there are end.
    pub(crate) draining: CancellationToken,
    /// The log must be opened again: this process must end.
    pub(crate) failed: CancellationToken,
    /// The log does not take what it is given; said once, until it does again.
    in_trouble: AtomicBool,
}

/// A batch under a number that another has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fork {
    pub(crate) place: Place,
    pub(crate) digest: Digest,
}

impl Fork {
    pub(crate) const fn d8(&self) -> D8 {
        d8(&self.digest)
    }
}

impl Core {
    /// Puts together what all streams share, out of what was read.
    pub(crate) fn new(
        tools: Tools,
        settings: Settings,
        (devices, marks, redemptions): (Devices, Arc<Marks>, Redemptions),
    ) -> Self {
        let (now, monotonic) = (tools.clock.now(), tools.clock.monotonic());
        Self {
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
        }
    }

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

    pub(crate) fn count_streams(&self) {
        let open = self.settings.sessions - self.streams.available_permits();
        self.metrics.set_streams(open);
    }
}
