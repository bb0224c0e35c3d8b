//! What the service pays for a batch, from the sealed frame to the sealed log entry, against the one
//! thing that it cannot do without: a bare verification of the device's signature.
//!
//! The log is the real one on a back end that keeps nothing, so that no disk is measured. Both sides
//! take turns on one thread and are timed by what that thread took of the processor.

use std::sync::Arc;

use async_trait::async_trait;
use prometheus::Registry;
use pulseward_base::{Generation, KeyId, Offset, Partition, Secret};
use pulseward_batch::{Arrival, OpenedBatch};
use pulseward_crypto::session::OpenedFrame;
use pulseward_custody::{Admission, AdmitRequest, KeyError, KeySource, LogKeys, PatientKey};
use pulseward_eventlog::{
    Backend, Bounds, Class, Log, LogError, LogSettings, Metrics, Pending, RawAppend, RawEntry,
    ReadLimits, Topic, TrimPoint,
};
use pulseward_vitals::Limits;

use super::{
    readings::{READINGS, Wearable, minute},
    signatures::Bare,
    timing::{median, micros_each, on_cpu},
};
use crate::figure::{Figure, Lines, Target};

const ROUNDS: usize = 41;
const BATCHES: usize = 400;

pub(crate) fn measure() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let log = runtime.block_on(open_log())?;
    let bare = Bare::new(BATCHES)?;
    let mut device = Wearable::in_session()?;
    let columns = minute()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let frames = (0..BATCHES).map(|_| device.send(&columns));
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        let (accepted, took) = on_cpu(|| runtime.block_on(accept(&mut device, &log, &frames)));
        accepted?;
        ours.push(micros_each(took, BATCHES));
        let (verified, took) = on_cpu(|| bare.verify_all());
        verified?;
        theirs.push(micros_each(took, BATCHES));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    lines.say(format!(
        "{READINGS} readings a batch, {BATCHES} batches a round, {ROUNDS} rounds, medians"
    ));
    lines.say(format!("open, parse, verify, file, seal   {ours:8.2} us"));
    lines.say(format!("a signature verified, and no more {theirs:8.2} us"));
    lines.say(format!(
        "so a core takes {:.0} batches a second, {:.2} million readings",
        1e6 / ours,
        READINGS as f64 / ours
    ));
    let figure = Figure::new(
        "accept",
        "us of CPU from sealed frame to sealed entry, a batch of 60",
        ours,
        theirs,
        Target::RatioAtMost(1.25),
    );
    Ok(figure
        .versus("us: aws-lc's bare ECDSA verify")
        .with_lines(lines.into_vec()))
}

async fn accept(device: &mut Wearable, log: &Log, frames: &[Vec<u8>]) -> anyhow::Result<()> {
    let (key, facts) = (device.verifying_key(), device.facts());
    for sealed in frames {
        let OpenedFrame::Batch(frame) = device.server.open(sealed)? else {
            anyhow::bail!("a batch was sent");
        };
        let batch = OpenedBatch::parse(&frame, Limits::default())?
            .verify(&key, &facts.record, u64::MAX)?
            .pseudonymise(&facts, Arrival::default())?;
        log.append_batch(batch).await?;
    }
    Ok(())
}

async fn open_log() -> anyhow::Result<Log> {
    let metrics = Metrics::new(&Registry::new())?;
    let settings = LogSettings::default();
    Ok(Log::open(Arc::new(Nowhere), Arc::new(OneKey), settings, metrics).await?)
}

/// A back end that keeps nothing.
struct Nowhere;

#[async_trait]
impl Backend for Nowhere {
    fn log_id(&self) -> [u8; 16] {
        [1; 16]
    }

    fn generation(&self) -> Generation {
        Generation(1)
    }

    fn partitions(&self) -> u32 {
        4
    }

    async fn submit(&self, entries: Vec<RawAppend>, _class: Class) -> Result<Pending, LogError> {
        let offsets = entries.iter().map(|_| Some(Offset(0))).collect();
        Ok(Pending::new(async { Ok(offsets) }))
    }

    async fn read(
        &self,
        _topic: Topic,
        _partition: Partition,
        _from: Offset,
        _limits: ReadLimits,
    ) -> Result<Vec<RawEntry>, LogError> {
        Ok(Vec::new())
    }

    async fn wait(
        &self,
        _topic: Topic,
        _partition: Partition,
        _from: Offset,
    ) -> Result<(), LogError> {
        std::future::pending().await
    }

    async fn bounds(&self, _topic: Topic, _partition: Partition) -> Result<Bounds, LogError> {
        Ok(Bounds {
            start: Offset(0),
            end: Offset(0),
        })
    }

    async fn trim(&self, _points: &[TrimPoint]) -> Result<(), LogError> {
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        0
    }
}

/// The key of one patient, and the log's.
struct OneKey;

#[async_trait]
impl KeySource for OneKey {
    async fn admit(&self, _request: &AdmitRequest) -> Result<Admission, KeyError> {
        Err(KeyError::Unavailable)
    }

    async fn open(&self, _key: &KeyId) -> Result<PatientKey, KeyError> {
        Ok(PatientKey::new(Secret::new([1; 32])))
    }

    async fn erase(&self, _key: &KeyId) -> Result<(), KeyError> {
        Err(KeyError::Unavailable)
    }

    async fn log_key(&self, _log: &[u8; 16]) -> Result<LogKeys, KeyError> {
        Ok(LogKeys {
            own: Secret::new([2; 32]),
            mac: Secret::new([3; 32]),
        })
    }
}
