//! Takes a partition over: reads what is durable, so that the run goes on where the last one
//! stopped, or where a run that still goes on got to.

use std::collections::BTreeSet;

use pulseward_base::{Offset, Partition, Pseudonym};
use pulseward_eventlog::{Body, Content, Entry, Log, Position, ReadLimits, Topic};

use super::{
    checkpoint::{Marks, Ownership},
    outbox::{Outbox, topics},
    patience::Patience,
};
use crate::{
    error::Error,
    judge::teller::Recorded,
    output::Origin,
    settings::Judgement,
    state::{
        PartitionState, Patient,
        codec::{self, Checkpoint, Trail},
    },
};

/// Where a partition's run begins.
pub(super) struct Taken {
    pub(super) state: PartitionState,
    pub(super) outbox: Outbox,
    pub(super) marks: Marks,
    pub(super) parked: BTreeSet<Position>,
    pub(super) owned: Ownership,
}

/// Reads all that is durable of `partition`.
pub(super) async fn take_over(
    log: &Log,
    partition: Partition,
    judgement: Judgement,
    patience: &Patience<'_>,
) -> Result<Taken, Error> {
    let parked = parked(log, partition, patience).await?;
    let Durable {
        checkpoint,
        patients,
        owned,
    } = durable(log, partition, patience).await?;
    let mut recorded = Recorded::default();
    let mut trails = Vec::new();
    for (topic, trail) in topics(checkpoint.scores, checkpoint.alerts) {
        trails.push(follow_up((log, topic, partition), trail, &mut recorded, patience).await?);
    }
    let [scores, alerts] = <[Trail; 2]>::try_from(trails).unwrap_or_default();
    let marks = Marks::load(log, partition, patience).await?;
    let origin = Origin {
        log: log.log_id(),
        partition,
    };
    let at = (checkpoint.as_of, checkpoint.feed);
    let state = PartitionState::new(origin, judgement).restored(at, patients, recorded);
    Ok(Taken {
        state,
        outbox: Outbox::new(scores, alerts),
        marks,
        parked,
        owned,
    })
}

/// Returns the positions of the feed that every reader passes over.
async fn parked(
    log: &Log,
    partition: Partition,
    patience: &Patience<'_>,
) -> Result<BTreeSet<Position>, Error> {
    let mut positions = BTreeSet::new();
    let bounds = patience
        .insist(|| log.bounds(Topic::Parked, partition))
        .await?;
    let take = |entry: Entry| {
        if let Content::Body(Body::Parked(parked)) = entry.content
            && parked.topic == Topic::Feed
        {
            positions.insert(parked.position);
        }
        Ok(())
    };
    read_all(
        (log, Topic::Parked, partition),
        bounds.start,
        patience,
        take,
    )
    .await?;
    Ok(positions)
}

/// What `state` holds.
struct Durable {
    checkpoint: Checkpoint,
    patients: Vec<Patient>,
    owned: Ownership,
}

/// Reads the partition's record and the patients' states. An erased patient has none.
async fn durable(
    log: &Log,
    partition: Partition,
    patience: &Patience<'_>,
) -> Result<Durable, Error> {
    let compacted = patience
        .insist(|| log.compacted(Topic::State, partition))
        .await?;
    let mut record = None;
    let mut states = Vec::new();
    let mut predecessors = BTreeSet::new();
    for entry in compacted.entries.into_values() {
        predecessors.insert(entry.writer);
        match &entry.content {
            Content::Body(Body::PartitionRecord(body)) => {
                record = Some((Checkpoint::of_record(body), entry.writer));
            }
            Content::Body(Body::State(bytes)) => {
                let (patient, feed) = codec::decode(bytes).map_err(|_| Error::State(partition))?;
                states.push((patient, feed, entry.writer, entry.position.offset));
            }
            Content::Erased => patience.metrics.erased(),
            _ => return Err(Error::State(partition)),
        }
    }
    let (checkpoint, owner) = match record {
        Some((checkpoint, owner)) => (
            checkpoint.map_err(|_| Error::State(partition))?,
            Some(owner),
        ),
        None => (Checkpoint::default(), None),
    };
    let mut checkpoint = checkpoint;
    for (patient, feed, writer, offset) in &states {
        // A zombie's, which covers up what the record counts on: the run is taken up from there, and
        // the outputs are read from their start for the indexes they have.
        let unseen = *offset >= checkpoint.verified && Some(*writer) != owner;
        if owner.is_some() && unseen && patient.as_of < checkpoint.as_of {
            (checkpoint.as_of, checkpoint.feed) = (patient.as_of, *feed);
            (checkpoint.scores, checkpoint.alerts) = (Trail::default(), Trail::default());
        }
    }
    let patients = states.into_iter().map(|(patient, ..)| patient).collect();
    let owned = Ownership::new(compacted.next, predecessors);
    Ok(Durable {
        checkpoint: in_this_life(log, checkpoint),
        patients,
        owned,
    })
}

/// Where the last life of the log is behind us, its state goes on at the start of this one.
fn in_this_life(log: &Log, mut checkpoint: Checkpoint) -> Checkpoint {
    let start = log.position(Offset(0));
    if checkpoint.as_of.generation < start.generation {
        checkpoint.as_of = start;
        checkpoint.feed.ended = false;
        (checkpoint.scores, checkpoint.alerts) = (Trail::default(), Trail::default());
    }
    checkpoint
}

/// Reads a topic of outputs from where its trail ends to its end, as every reader does: a cause
/// that is not greater is a repeat, one that does not continue the last is a gap.
async fn follow_up(
    (log, topic, partition): (&Log, Topic, Partition),
    mut trail: Trail,
    recorded: &mut Recorded,
    patience: &Patience<'_>,
) -> Result<Trail, Error> {
    let bounds = patience.insist(|| log.bounds(topic, partition)).await?;
    // Where outputs were trimmed, the first that is left continues something that is gone.
    let mut known = trail.next >= bounds.start;
    let from = trail.next.max(bounds.start);
    let take = |entry: Entry| {
        let offset = entry.position.offset;
        let Some(outputs) = entry.outputs else {
            return Ok(());
        };
        trail.next = entry.position.next().offset;
        if Some(outputs.cause) <= trail.last {
            return Ok(());
        }
        if known && outputs.previous != trail.last {
            return Err(Error::Chain {
                topic,
                partition,
                offset,
            });
        }
        known = true;
        trail.last = Some(outputs.cause);
        recorded.note(
            outputs.cause.position,
            outputs.cause.index,
            whose(&entry.content),
        );
        Ok(())
    };
    read_all((log, topic, partition), from, patience, take).await?;
    Ok(trail)
}

fn whose(content: &Content) -> Pseudonym {
    match content {
        Content::Body(Body::Alert(alert)) => alert.pseudonym,
        Content::Body(Body::Score(score)) => score.pseudonym,
        _ => Pseudonym::ZERO,
    }
}

async fn read_all(
    (log, topic, partition): (&Log, Topic, Partition),
    mut from: Offset,
    patience: &Patience<'_>,
    mut take: impl FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    loop {
        let limits = ReadLimits::default();
        let entries = patience
            .insist(|| log.read(topic, partition, from, limits))
            .await?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        from = last.position.next().offset;
        entries.into_iter().try_for_each(&mut take)?;
    }
}

/// Reads one entry again.
pub(super) async fn read_again(
    log: &Log,
    (partition, offset): (Partition, Offset),
    patience: &Patience<'_>,
) -> Result<Option<Entry>, Error> {
    let limits = ReadLimits {
        entries: 1,
        ..ReadLimits::default()
    };
    let entries = patience
        .insist(|| log.read(Topic::Feed, partition, offset, limits))
        .await?;
    let same = |entry: &Entry| entry.position.offset == offset;
    Ok(entries.into_iter().next().filter(same))
}
