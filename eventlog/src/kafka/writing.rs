//! Appending: an idempotent producer that waits for all copies and never gives an entry up.
//!
//! The producer has no time-out of its own, so what a writer hands over arrives in order and
//! without a gap, or not at all from some entry on; our callers have a deadline instead, after
//! which their entry may still arrive. An error that a producer cannot go on from ends the process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pulseward_base::Offset;
use rdkafka::{
    ClientConfig,
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::{Client, KafkaSettings, broker, wire_partition};
use crate::{LogError, Metrics, Pending, RawAppend};

/// What an entry takes in the producer's queue beside its bytes, at least.
const RECORD_COST: usize = 512;

/// The producer, and the room in its queue.
pub(super) struct Writing {
    client: Arc<Client>,
    room: Arc<Semaphore>,
    poisoned: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

/// Makes the producer.
pub(super) fn producer(
    settings: &KafkaSettings,
    mut config: ClientConfig,
) -> Result<FutureProducer, LogError> {
    let queue_kilobytes = (settings.queue_bytes / 1024).saturating_mul(2);
    config
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        // What is sealed does not compress.
        .set("compression.codec", "none")
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", "1000000")
        .set("linger.ms", settings.linger.as_millis().to_string())
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", queue_kilobytes.to_string())
        .create()
        .map_err(broker)
}

impl Writing {
    pub(super) fn new(client: Arc<Client>, metrics: Arc<Metrics>) -> Self {
        Self {
            room: Arc::new(Semaphore::new(client.settings.queue_bytes as usize)),
            client,
            poisoned: Arc::default(),
            metrics,
        }
    }

    pub(super) async fn submit(&self, entries: Vec<RawAppend>) -> Result<Pending, LogError> {
        let deadline = self.client.settings.deadline;
        let cost = entries
            .iter()
            .map(|entry| entry.bytes.len() + RECORD_COST)
            .sum::<usize>();
        let queue = self.client.settings.queue_bytes;
        let cost = u32::try_from(cost).unwrap_or(u32::MAX).min(queue);
        let permit = timeout(deadline, Arc::clone(&self.room).acquire_many_owned(cost))
            .await
            .map_err(|_| {
                self.metrics.refused_full.inc();
                LogError::Full
            })?
            .map_err(|_| LogError::Poisoned)?;
        if self.poisoned.load(Ordering::SeqCst)
            || self.client.producer.client().fatal_error().is_some()
        {
            self.poison();
            return Err(LogError::Poisoned);
        }
        let mut sent = Vec::with_capacity(entries.len());
        for entry in &entries {
            sent.push(self.send(entry, sent.is_empty())?);
        }
        // The task ends when the broker has answered; the room in the queue bounds how many run.
        let (reply, answer) = oneshot::channel();
        let poisoned = Arc::clone(&self.poisoned);
        tokio::spawn(async move {
            let delivered = delivered(sent).await;
            if delivered.is_err() {
                poisoned.store(true, Ordering::SeqCst);
            }
            drop(permit);
            let _caller_left = reply.send(delivered);
        });
        Ok(Pending::new(async move {
            match timeout(deadline, answer).await {
                Ok(answered) => answered.unwrap_or(Err(LogError::Poisoned)),
                Err(_) => Err(LogError::Deadline),
            }
        }))
    }

    fn send(&self, entry: &RawAppend, is_first: bool) -> Result<DeliveryFuture, LogError> {
        let mut record = FutureRecord::<[u8], [u8]>::to(self.client.name(entry.topic))
            .partition(wire_partition(entry.partition)?)
            .payload(&entry.bytes);
        if let Some(key) = &entry.key {
            record = record.key(key);
        }
        self.client
            .producer
            .send_result(record)
            .map_err(|(error, _)| {
                if is_first {
                    broker(error)
                } else {
                    // Some of them are under way and cannot be called back.
                    tracing::error!(%error, "the log is poisoned: an append was taken in part");
                    self.poison();
                    LogError::Poisoned
                }
            })
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
        self.metrics.poisoned.set(1);
    }
}

async fn delivered(sent: Vec<DeliveryFuture>) -> Result<Vec<Option<Offset>>, LogError> {
    let mut offsets = Vec::with_capacity(sent.len());
    for delivery in sent {
        match delivery.await {
            // A broker that had the entry already does not say where.
            Ok(Ok(delivery)) => offsets.push(u64::try_from(delivery.offset).ok().map(Offset)),
            Ok(Err((error, _))) => {
                tracing::error!(%error, "the log is poisoned: the broker refused an entry for good");
                return Err(LogError::Poisoned);
            }
            Err(_) => return Err(LogError::Poisoned),
        }
    }
    Ok(offsets)
}
