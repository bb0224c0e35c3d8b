//! Makes the state durable: each device's marks and each patient's state, then the partition's
//! record, which says that all of them are complete to where it stands.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{Incarnation, Kid, Offset, Partition, Seq, WriterId};
use pulseward_eventlog::{
    Body, Content, Log, LogError, NewEntry, ReadLimits, Topic,
    body::{Mark, MarkIncarnation, MissingRange},
};

use super::{outbox::Outbox, patience::Patience};
use crate::{
    error::Error,
    facts::{Fact, What},
    state::{
        PartitionState, Patient,
        codec::{self, Checkpoint},
        partition::Feed,
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
    (marks, owned): (&mut Marks, &mut Ownership),
    outbox: &Outbox,
    patience: &Patience<'_>,
) -> Result<(), Error> {
    let entries = mark_entries((log, partition), state, marks);
    for chunk in entries.chunks(AT_ONCE) {
        patience.insist(|| log.append_all(chunk.to_vec())).await?;
    }
    save_states(log, state, owned, patience).await?;
    // What a zombie says again is dropped by all who read it, but its state would cover up a newer
    // one. What lands behind this look is found by whoever takes over.
    for _ in 0..ROUNDS {
        if !owned.look((log, partition), patience).await? {
            break;
        }
        state.change_all();
        save_states(log, state, owned, patience).await?;
    }
    let checkpoint = Checkpoint {
        as_of: state.as_of(),
        feed: *state.feed(),
        scores: outbox.scores,
        alerts: outbox.alerts,
        verified: owned.verified,
    };
    let record = NewEntry::for_log(partition, Body::PartitionRecord(checkpoint.to_record()));
    let record = record.compacted(log.compaction_key(b"partition"));
    patience.insist(|| log.append(record.clone())).await?;
    owned.written += 1;
    owned.saved = true;
    Ok(())
}

/// How often a zombie's states are written over in one checkpoint.
const ROUNDS: usize = 3;

/// What is known of who writes the partition's state.
#[derive(Debug)]
pub(super) struct Ownership {
    /// Everything below has been seen.
    verified: Offset,
    /// How many entries of our own stand behind that.
    written: u64,
    /// Who had written before: where they write again, they are zombies.
    predecessors: BTreeSet<WriterId>,
    /// Whether a successor can know of us.
    saved: bool,
}

impl Ownership {
    pub(super) const fn new(verified: Offset, predecessors: BTreeSet<WriterId>) -> Self {
        Self {
            verified,
            written: 0,
            predecessors,
            saved: false,
        }
    }

    /// Looks at what others have written since the last look, and returns whether they have. Fails
    /// when one of them is a successor.
    async fn look(
        &mut self,
        (log, partition): (&Log, Partition),
        patience: &Patience<'_>,
    ) -> Result<bool, Error> {
        let end = patience
            .insist(|| log.bounds(Topic::State, partition))
            .await?
            .end;
        let own = self.verified.0.saturating_add(self.written) == end.0;
        let mut others = BTreeSet::new();
        let mut from = self.verified;
        while !own && from < end {
            let limits = ReadLimits::default();
            let entries = patience
                .insist(|| log.read(Topic::State, partition, from, limits))
                .await?;
            let Some(last) = entries.last() else {
                break;
            };
            from = last.position.next().offset;
            others.extend(
                entries
                    .iter()
                    .map(|entry| entry.writer)
                    .filter(|other| *other != log.writer()),
            );
        }
        if self.saved && !others.is_subset(&self.predecessors) {
            return Err(Error::TakenOver(partition));
        }
        (self.verified, self.written) = (end, 0);
        let found = !others.is_empty();
        self.predecessors.extend(others);
        Ok(found)
    }
}

async fn save_states(
    log: &Log,
    state: &mut PartitionState,
    owned: &mut Ownership,
    patience: &Patience<'_>,
) -> Result<(), Error> {
    let feed = *state.feed();
    let changed = state.take_changed();
    for chunk in changed.chunks(AT_ONCE) {
        let entries = || {
            chunk
                .iter()
                .map(|patient| state_entry(log, patient, &feed))
                .collect()
        };
        match patience.insist(|| log.append_all(entries())).await {
            Ok(positions) => owned.written += u64::try_from(positions.len()).unwrap_or(0),
            Err(Error::Log(LogError::KeyErased)) => {
                for patient in chunk {
                    save_one(log, patient, state, owned, patience).await?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Somebody among them was erased: keeps the others.
async fn save_one(
    log: &Log,
    patient: &Patient,
    state: &mut PartitionState,
    owned: &mut Ownership,
    patience: &Patience<'_>,
) -> Result<(), Error> {
    let feed = *state.feed();
    match patience
        .insist(|| log.append(state_entry(log, patient, &feed)))
        .await
    {
        Ok(_) => owned.written += 1,
        Err(Error::Log(LogError::KeyErased)) => {
            patience.metrics.erased();
            state.forget(patient.pseudonym);
        }
        Err(error) => return Err(error),
    }
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

fn state_entry(log: &Log, patient: &Patient, feed: &Feed) -> NewEntry {
    let body = Body::State(codec::encode(patient, feed));
    let entry = NewEntry::for_patient(patient.slot, patient.key, body);
    entry.compacted(log.compaction_key(&patient.pseudonym.0))
}
