//! What one batch does to a patient: its number counts once, its readings are guarded, remembered
//! and judged.

use std::collections::BTreeMap;

use pulseward_base::Micros;
use pulseward_eventlog::body::Severity;
use pulseward_vitals::{Kind, Leaf};

use super::{
    rules, silence,
    teller::{About, Teller, Whom},
};
use crate::{
    facts::Batch,
    output::{BatchOutcome, Flags, Guard, Subject},
    settings::Judgement,
    state::{
        patient::{Device, Episode, Patient, Reading, Vital},
        votes::{Rule, Vote, Votes},
        window::Windows,
    },
};

/// Applies `batch`, which arrives at `now`.
pub(crate) fn apply(
    patient: &mut Patient,
    batch: &Batch,
    now: Micros,
    teller: &mut Teller<'_>,
) -> BatchOutcome {
    let whom = Whom::from(&*patient);
    let (device, displaced) = patient.device(batch.device);
    if let Some(mut displaced) = displaced {
        silence::dismiss(&whom, &mut displaced, now, teller);
    }
    if device.revoked {
        return BatchOutcome::Revoked;
    }
    let outcome = device.take(batch.incarnation, batch.seq);
    if outcome != BatchOutcome::Applied {
        return outcome;
    }
    let kinds = batch.columns.leaves().iter().map(|leaf| leaf.kind);
    silence::heard(&whom, device, kinds, now, teller);
    let guarded = Guarded::of(batch, now, teller.judgement);
    mind_the_clock(&whom, device, &guarded, now, teller);
    let fresh = guarded.newest();
    remember(patient, guarded, teller);
    judge_plausibility(&whom, patient, &fresh, teller);
    rules::judge(patient, &fresh, now, teller);
    BatchOutcome::Applied
}

/// A batch's readings on the server's clock, each with what the guards say of it.
struct Guarded {
    rows: BTreeMap<Kind, Vec<Reading>>,
    counts: BTreeMap<Guard, u64>,
    skewed: bool,
}

impl Guarded {
    fn of(batch: &Batch, now: Micros, judgement: &Judgement) -> Self {
        let limit = i64::try_from(judgement.ahead_limit.as_micros()).unwrap_or(i64::MAX);
        let skewed = batch.clock_offset.unsigned_abs() > limit.unsigned_abs();
        let mut guarded = Self {
            rows: BTreeMap::new(),
            counts: BTreeMap::new(),
            skewed,
        };
        for leaf in batch.columns.leaves() {
            guarded.take(leaf, batch, now, judgement);
        }
        guarded
    }

    fn take(&mut self, leaf: &Leaf, batch: &Batch, now: Micros, judgement: &Judgement) {
        let rows = self.rows.entry(leaf.kind).or_default();
        for row in &leaf.rows {
            let time = Micros(row.time.0.saturating_add(batch.clock_offset));
            let ahead = now.until(time) > judgement.ahead_limit;
            let guards = [
                (Guard::Implausible, !leaf.kind.is_plausible(row.value)),
                (Guard::Quality, row.quality != 0),
                (Guard::Ahead, ahead),
                (Guard::Unproven, !batch.proven),
            ];
            for (guard, _) in guards.iter().filter(|(_, stops)| *stops) {
                *self.counts.entry(*guard).or_default() += 1;
            }
            let unverified = guards.iter().any(|(_, stops)| *stops);
            self.skewed |= ahead;
            rows.push(Reading {
                at: time.min(now),
                value: row.value,
                unverified,
            });
        }
    }

    /// Returns the newest reading of each kind; of two at once, the later in the batch.
    fn newest(&self) -> Vec<(Kind, Reading)> {
        let newest = |rows: &Vec<Reading>| rows.iter().max_by_key(|reading| reading.at).copied();
        self.rows
            .iter()
            .filter_map(|(kind, rows)| Some((*kind, newest(rows)?)))
            .collect()
    }
}

fn mind_the_clock(
    whom: &Whom,
    device: &mut Device,
    guarded: &Guarded,
    now: Micros,
    teller: &mut Teller<'_>,
) {
    let about = About::integrity(Subject::ClockSkew, now);
    if !guarded.skewed {
        teller.clear(whom, &mut device.skewed, about);
    } else if device.skewed.is_none() {
        device.skewed = Some(teller.raise(whom, Severity::Watch, about));
    }
}

fn remember(patient: &mut Patient, guarded: Guarded, teller: &mut Teller<'_>) {
    for (kind, rows) in guarded.rows {
        for reading in rows {
            let vital = patient.vitals.entry(kind).or_insert_with(|| Vital {
                last: reading,
                windows: Windows::default(),
                guard: Episode {
                    votes: Votes::EMPTY,
                    open: None,
                },
            });
            if reading.at >= vital.last.at {
                vital.last = reading;
            }
            // What a guard stops is judged by the rules, but is no part of what is usual.
            if !reading.unverified {
                vital.windows.add(reading.at, reading.value);
            }
        }
    }
    teller.outputs.guarded = guarded.counts.into_iter().collect();
}

fn judge_plausibility(
    whom: &Whom,
    patient: &mut Patient,
    fresh: &rules::Fresh,
    teller: &mut Teller<'_>,
) {
    let judgement = teller.judgement;
    let rule = Rule {
        of: judgement.guards,
        alone_counts: false,
        sparse_after: judgement.sparse_after,
    };
    for (kind, reading) in fresh {
        let Some(vital) = patient.vitals.get_mut(kind) else {
            continue;
        };
        let stopped = (!kind.is_plausible(reading.value)).then_some(Severity::Urgent);
        let vote = Vote {
            certain: stopped,
            watch: false,
            possible: stopped,
        };
        let mut about = About::integrity(Subject::Implausible, reading.at);
        about.flags = Flags::UNVERIFIED;
        about.readings = vec![silence::reading(*kind, reading.value)];
        teller.vote(whom, &mut vital.guard, (vote, rule), about);
    }
}
