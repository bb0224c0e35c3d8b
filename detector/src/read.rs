//! Turns an entry of the feed into what the detector needs of it.

use pulseward_base::{Digest, KeyId, Kid, Pseudonym, Slot, bytes::Reader};
use pulseward_batch::{Proof, StoredBatch};
use pulseward_eventlog::{
    Body, Content, Entry,
    body::{self, Role, Wish},
};

use crate::facts::{Batch, Bind, Fact, Tick, Void, What};

/// Returns the fact that `entry` states; none when it cannot be read.
#[must_use]
pub fn fact(entry: &Entry) -> Option<Fact> {
    let what = match &entry.content {
        Content::Batch(batch) => What::Batch(Box::new(of_batch(batch))),
        Content::Body(body) => of_body(body)?,
        Content::Erased => What::Erased,
        Content::Unreadable(_) => return None,
    };
    Some(Fact {
        position: entry.position,
        slot: entry.slot.unwrap_or(Slot(0)),
        key: entry.key.unwrap_or(KeyId::ZERO),
        what,
    })
}

fn of_batch(batch: &StoredBatch) -> Batch {
    let place = &batch.contents.place;
    Batch {
        patient: batch.pseudonym,
        device: batch.device,
        incarnation: place.incarnation,
        seq: place.seq,
        digest: first_eight(&batch.digest()),
        clock_offset: batch.arrival.clock_offset,
        received: batch.arrival.received,
        proven: batch.proof != Proof::Unproven,
        columns: batch.contents.columns.clone(),
    }
}

fn of_body(body: &Body) -> Option<What> {
    Some(match body {
        Body::Void(void) => What::Void(Void {
            device: void.device,
            incarnation: void.incarnation,
            seq: void.seq,
            digest: first_eight(&void.digest),
            code: void.code,
        }),
        Body::Tick(tick) => What::Tick(Tick {
            ingest: tick.role == Role::Ingest,
            time: tick.time,
        }),
        Body::Bind(bind) => What::Bind(Box::new(of_bind(bind)?)),
        Body::Revoke(revoke) => What::Revoke(revoke.device),
        Body::End(_) => What::End,
        Body::Control(control) => match Wish::of_control(control) {
            Some((patient, wish)) => What::Wish(patient, wish),
            None => What::Other,
        },
        _ => What::Other,
    })
}

/// Reads the binding. That an ingest appended it is shown by the entry's seal; the registry's
/// signature is for those who check a row's origin without the log.
fn of_bind(bind: &body::Bind) -> Option<Bind> {
    let mut reader = Reader::new(&bind.binding);
    let _version = reader.u8().ok()?;
    let device = Kid(reader.array().ok()?);
    let _record: [u8; 32] = reader.array().ok()?;
    let patient = Pseudonym(reader.array().ok()?);
    let key = KeyId(reader.array().ok()?);
    Some(Bind {
        device,
        patient,
        key,
        sealed_handle: bind.sealed_handle,
    })
}

fn first_eight(digest: &Digest) -> [u8; 8] {
    digest.0.first_chunk().copied().unwrap_or_default()
}
