//! Silence: a device, or one kind of vital from it, that was live and no longer comes.
//!
//! Judged on the log's time alone, which only ticks move: a detector that lags sees the ticks and
//! the batches in the order in which they were appended, so lag never raises silence. While no
//! ingest is alive nobody can be heard, and nobody is called silent.

use pulseward_base::{Kid, Micros};
use pulseward_eventlog::body::{AlertReading, Severity};
use pulseward_vitals::Kind;

use super::teller::{About, Teller, Whom};
use crate::{
    output::Subject,
    state::patient::{Device, Patient, Stream},
};

/// Raises what has fallen silent at `now`. Nobody was heard before `feed_back`.
pub(crate) fn elapse(
    patient: &mut Patient,
    now: Micros,
    feed_back: Micros,
    teller: &mut Teller<'_>,
) {
    let whom = Whom::from(&*patient);
    let judgement = teller.judgement;
    let over = |heard: Micros, limit| heard.max(feed_back).plus(limit) <= now;
    let last = |kind: &Kind| {
        patient
            .vitals
            .get(kind)
            .map(|vital| reading(*kind, vital.last.value))
    };
    for device in patient
        .devices
        .iter_mut()
        .filter(|device| !device.revoked && device.silent.is_none())
    {
        let Some(heard) = device.heard else {
            continue;
        };
        if over(heard, judgement.device_silence) {
            let about = About::integrity(Subject::DeviceSilent, now);
            device.silent = Some(teller.raise(&whom, Severity::Urgent, about));
            continue;
        }
        for (kind, stream) in &mut device.streams {
            if stream.silent.is_none() && over(stream.heard, judgement.silence_of(*kind)) {
                let mut about = About::integrity(Subject::StreamSilent, now);
                about.readings = last(kind).into_iter().collect();
                stream.silent = Some(teller.raise(&whom, Severity::Urgent, about));
            }
        }
    }
}

/// A device was heard at `now`, with these kinds.
pub(crate) fn heard(
    whom: &Whom,
    device: &mut Device,
    kinds: impl Iterator<Item = Kind>,
    now: Micros,
    teller: &mut Teller<'_>,
) {
    if device.silent.is_some() {
        teller.clear(
            whom,
            &mut device.silent,
            About::integrity(Subject::DeviceSilent, now),
        );
        // What it could not send while it was silent has a moment to come; no longer, or a device
        // that comes and goes would hide a vital that never comes.
        let grace = now.plus(teller.judgement.device_silence / 2);
        for (kind, stream) in &mut device.streams {
            stream.heard = stream
                .heard
                .max(grace.minus(teller.judgement.silence_of(*kind)));
        }
    }
    device.heard = Some(now);
    for kind in kinds {
        let stream = device.streams.entry(kind).or_insert(Stream {
            heard: now,
            silent: None,
        });
        stream.heard = now;
        let mut about = About::integrity(Subject::StreamSilent, now);
        about.readings = vec![reading(kind, 0)];
        teller.clear(whom, &mut stream.silent, about);
    }
}

/// Ends every alert about a device that no longer counts.
pub(crate) fn dismiss(whom: &Whom, device: &mut Device, now: Micros, teller: &mut Teller<'_>) {
    teller.clear(
        whom,
        &mut device.silent,
        About::integrity(Subject::DeviceSilent, now),
    );
    teller.clear(
        whom,
        &mut device.skewed,
        About::integrity(Subject::ClockSkew, now),
    );
    teller.clear(
        whom,
        &mut device.forked,
        About::integrity(Subject::Forked, now),
    );
    for stream in device.streams.values_mut() {
        teller.clear(
            whom,
            &mut stream.silent,
            About::integrity(Subject::StreamSilent, now),
        );
    }
}

/// Ends every alert about `kid`, and lets nothing it sends count any more.
pub(crate) fn revoke(patient: &mut Patient, kid: Kid, now: Micros, teller: &mut Teller<'_>) {
    let whom = Whom::from(&*patient);
    let (device, displaced) = patient.device(kid);
    device.revoked = true;
    dismiss(&whom, device, now, teller);
    if let Some(mut displaced) = displaced {
        dismiss(&whom, &mut displaced, now, teller);
    }
}

/// Names a vital in an alert that no score stands behind.
pub(crate) const fn reading(kind: Kind, value: i32) -> AlertReading {
    AlertReading {
        kind: kind.spec().number,
        value,
        low: 0,
        high: 0,
    }
}
