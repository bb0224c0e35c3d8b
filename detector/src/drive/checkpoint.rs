//! Makes the state durable: each device's marks and each patient's state, then the partition's
//! record, which says that all of them are complete to where it stands.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{Incarnation, Kid, Partition, Seq};
use pulseward_eventlog::{
    Body, Content, Log, LogError, NewEntry, Topic,
    body::{Mark, MarkIncarnation, MissingRange},
};

use super::{outbox::Outbox, patience::Patience};
use crate::{
    error::Error,
    facts::{Fact, What},
    state::{
        PartitionState, Patient,
        codec::{self, Checkpoint},
        patient::Device,
        queue::Queue,
    },
};

/// States and marks that go into one append at most: 8 KiB each.
const AT_ONCE: usize = 128;

/// What each device signed under its newest numbers. No outcome rests on it: ingest answers a
/// device that asks what has arrived.
#[derive(Debug, Default)]
pub(super) struct Marks {
    digests: BTreeMap<(Kid, Incarnation), Box<[[u8; 8]; 64]>>,
}

impl Marks {
    /// Reads what is durable. A mark that does not read is built anew.
    pub(super) async fn load(
        log: &Log,
        partition: Partition,
        patience: &Patience<'_>,
    ) -> Result<Self, Error> {
        let mut marks = Self::default();
        let compacted = patience
            .insist(|| log.compacted(Topic::Marks, partition))
            .await?;
        for entry in compacted.entries.into_values() {
            if let Content::Body(Body::Mark(mark)) = entry.content {
                for queue in mark.incarnations {
                    let key = (mark.device, queue.incarnation);
                    marks.digests.insert(key, Box::new(queue.digests));
                }
            }
        }
        Ok(marks)
    }

    /// Remembers what was signed under the number that `fact` takes.
    pub(super) fn note(&mut self, fact: &Fact) {
        let (key, seq, digest) = match &fact.what {
            What::Batch(batch) => ((batch.device, batch.incarnation), batch.seq, batch.digest),
            What::Void(void) => ((void.device, void.incarnation), void.seq, void.digest),
            _ => return,
        };
        let digests = self
            .digests
            .entry(key)
            .or_insert_with(|| Box::new([[0; 8]; 64]));
        if let Some(place) = digests.get_mut(place(seq)) {
            *place = digest;
        }
    }

    fn mark(&mut self, device: &Device) -> Mark {
        let live = |key: &(Kid, Incarnation)| {
            key.0 != device.kid || device.queues.iter().any(|queue| queue.incarnation == key.1)
        };
        self.digests.retain(|key, _| live(key));
        let digests = |queue: &Queue| {
            self.digests
                .get(&(device.kid, queue.incarnation))
                .map_or([[0; 8]; 64], |digests| **digests)
        };
        let range = |(first, last): &(u64, u64)| MissingRange {
            first: Seq(*first),
            last: Seq(*last),
        };
        let incarnation = |queue: &Queue| MarkIncarnation {
            incarnation: queue.incarnation,
            highest: queue.highest,
            window: queue.window,
            digests: digests(queue),
            missing: queue.missing.iter().map(range).collect(),
        };
        Mark {
            device: device.kid,
            incarnations: device.queues.iter().map(incarnation).collect(),
        }
    }
}

fn place(seq: Seq) -> usize {
    usize::try_from(seq.0 % 64).unwrap_or(0)
}

/// Makes all that changed durable, and says so.
pub(super) async fn save(
    (log, partition): (&Log, Partition),
    state: &mut PartitionState,
    marks: &mut Marks,
    outbox: &Outbox,
    patience: &Patience<'_>,
) -> Result<(), Error> {
    let entries = mark_entries((log, partition), state, marks);
    for chunk in entries.chunks(AT_ONCE) {
        patience.insist(|| log.append_all(chunk.to_vec())).await?;
    }
    let changed = state.take_changed();
    for chunk in changed.chunks(AT_ONCE) {
        let entries = || {
            chunk
                .iter()
                .map(|patient| state_entry(log, patient))
                .collect()
        };
        match patience.insist(|| log.append_all(entries())).await {
            Err(Error::Log(LogError::KeyErased)) => {
                save_one_by_one(log, chunk, state, patience).await?
            }
            appended => {
                appended?;
            }
        }
    }
    let checkpoint = Checkpoint {
        as_of: state.as_of(),
        feed: *state.feed(),
        scores: outbox.scores,
        alerts: outbox.alerts,
    };
    let record = NewEntry::for_log(partition, Body::PartitionRecord(checkpoint.to_record()));
    let record = record.compacted(log.compaction_key(b"partition"));
    patience.insist(|| log.append(record.clone())).await?;
    Ok(())
}

fn mark_entries(
    (log, partition): (&Log, Partition),
    state: &mut PartitionState,
    marks: &mut Marks,
) -> Vec<NewEntry> {
    let changed: BTreeSet<Kid> = state.take_changed_devices();
    let devices = state
        .patients()
        .values()
        .flat_map(|patient| &patient.devices);
    let changed = devices.filter(|device| changed.contains(&device.kid));
    let entry = |device: &Device| {
        let body = Body::Mark(Box::new(marks.mark(device)));
        NewEntry::for_log(partition, body).compacted(log.compaction_key(&device.kid.0))
    };
    changed.map(entry).collect()
}

fn state_entry(log: &Log, patient: &Patient) -> NewEntry {
    let body = Body::State(codec::encode(patient));
    let entry = NewEntry::for_patient(patient.slot, patient.key, body);
    entry.compacted(log.compaction_key(&patient.pseudonym.0))
}

/// Somebody among them was erased: keeps the others.
async fn save_one_by_one(
    log: &Log,
    chunk: &[Patient],
    state: &mut PartitionState,
    patience: &Patience<'_>,
) -> Result<(), Error> {
    for patient in chunk {
        match patience
            .insist(|| log.append(state_entry(log, patient)))
            .await
        {
            Err(Error::Log(LogError::KeyErased)) => {
                patience.metrics.erased();
                state.forget(patient.pseudonym);
            }
            appended => {
                appended?;
            }
        }
    }
    Ok(())
}
