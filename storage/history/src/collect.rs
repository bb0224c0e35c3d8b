//! From log entries to what the next commit will hold. No I/O and no clock: what is collected
//! follows from the entries and from what was committed before, so a crash repeats it exactly.

use std::collections::BTreeMap;

use pulseward_base::{KeyId, Kid, Micros};
use pulseward_batch::{Proof as BatchProof, StoredBatch};
use pulseward_eventlog::{
    Body, Cause, Content, Entry, Outputs, Topic,
    body::{Alert, Bind, Control, ControlKind, Score},
};

use crate::{
    manifest::Positions,
    marks::{Marks, Seen},
    metrics::Metrics,
    rows::{
        AHEAD, AlertRow, CausedBy, Enrolment, Proof, Reading, Rows, Salts, ScoreRow, Term, UNPROVEN,
    },
};

/// How far ahead of its reception a reading's time may lie before it is marked, in microseconds.
const AHEAD_OF_RECEPTION: i64 = 5 * 60 * 1_000_000;

/// The version of an erasure's body.
const ERASE_VERSION: u8 = 1;

/// What stops a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// An output does not follow the one before it: some are missing.
    #[error("an output is missing from {topic} before offset {offset}")]
    OutputMissing {
        /// The topic's name.
        topic: &'static str,
        /// Where it was noticed.
        offset: u64,
    },
    /// More devices than the setting allows.
    #[error("more devices than max_devices in one partition")]
    TooManyDevices,
    /// An erasure that this version cannot read; passing it over would keep what must go.
    #[error("an erasure of a version that is newer than this program")]
    NewerErasure,
}

/// What has been read from the log since the last commit, on top of what was committed.
pub(crate) struct Collector {
    pub(crate) positions: Positions,
    pub(crate) marks: Marks,
    pub(crate) pending: Pending,
    max_devices: usize,
    metrics: Metrics,
}

/// What waits for a commit.
#[derive(Default)]
pub(crate) struct Pending {
    readings: Vec<Reading>,
    proofs: Vec<Proof>,
    enrolments: Vec<Enrolment>,
    scores: Vec<ScoreRow>,
    alerts: Vec<AlertRow>,
    devices: BTreeMap<Kid, u32>,
    /// Keys of patients whose rows must go from all files.
    pub(crate) erase: Vec<KeyId>,
}

impl Pending {
    /// Returns how many rows wait.
    pub(crate) const fn len(&self) -> usize {
        self.readings.len()
            + self.proofs.len()
            + self.enrolments.len()
            + self.scores.len()
            + self.alerts.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0 && self.erase.is_empty()
    }

    /// Returns the rows by the file they go into; no file is empty.
    pub(crate) fn into_files(self) -> Vec<Rows> {
        let all = [
            Rows::Readings(self.readings),
            Rows::Proofs(self.proofs),
            Rows::Enrolments(self.enrolments),
            Rows::Scores(self.scores),
            Rows::Alerts(self.alerts),
        ];
        all.into_iter().filter(|rows| !rows.is_empty()).collect()
    }
}

impl Collector {
    pub(crate) fn new(
        positions: Positions,
        marks: Marks,
        max_devices: usize,
        metrics: Metrics,
    ) -> Self {
        Self {
            positions,
            marks,
            pending: Pending::default(),
            max_devices,
            metrics,
        }
    }

    /// Takes an entry that opens, or whose key is destroyed.
    pub(crate) fn take(&mut self, entry: &Entry) -> Result<(), CollectError> {
        let next = entry.position.offset.0.saturating_add(1);
        match entry.topic {
            Topic::Feed => {
                self.take_feed(entry)?;
                self.positions.feed = next;
            }
            Topic::Scores => {
                if self.is_new_output(entry)? {
                    self.take_output(entry);
                }
                self.positions.scores = next;
            }
            Topic::Alerts => {
                if self.is_new_output(entry)? {
                    self.take_output(entry);
                }
                self.positions.alerts = next;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_feed(&mut self, entry: &Entry) -> Result<(), CollectError> {
        match &entry.content {
            Content::Batch(batch) => self.take_batch(batch)?,
            Content::Body(Body::Void(void)) => {
                // The number is taken, whatever comes under it later.
                self.marks.count(void.device, void.incarnation, void.seq);
            }
            Content::Body(Body::Bind(bind)) => self.pending.enrolments.push(enrolment(bind)),
            Content::Body(Body::Revoke(revoke)) => self.marks.revoke(revoke.device),
            Content::Body(Body::Control(control)) if control.kind == ControlKind::Erase => {
                let key = erased_key(control).ok_or(CollectError::NewerErasure)?;
                self.pending.erase.push(key);
            }
            Content::Erased => self.metrics.erased.inc(),
            Content::Body(_) | Content::Unreadable(_) => {}
        }
        Ok(())
    }

    fn take_batch(&mut self, batch: &StoredBatch) -> Result<(), CollectError> {
        let place = &batch.contents.place;
        if !self.marks.knows(&batch.device) && self.marks.len() >= self.max_devices {
            return Err(CollectError::TooManyDevices);
        }
        let seen = self.marks.count(batch.device, place.incarnation, place.seq);
        let counted = &self.metrics.batches;
        match seen {
            Seen::New => counted.stored.inc(),
            Seen::Before => counted.repeated.inc(),
            Seen::OldQueue => counted.old_queue.inc(),
            Seen::Revoked => counted.revoked.inc(),
        }
        if seen != Seen::New {
            return Ok(());
        }
        let pending = &mut self.pending;
        let devices = number(pending.devices.len());
        let device = *pending.devices.entry(batch.device).or_insert(devices);
        let number_in_file = number(pending.proofs.len());
        let proven = batch.proof == BatchProof::Signature;
        let columns = &batch.contents.columns;
        let received = batch.arrival.received;
        for leaf in columns.leaves() {
            pending.readings.extend(leaf.rows.iter().map(|row| Reading {
                pseudonym: batch.pseudonym,
                device,
                batch: number_in_file,
                time: row.time,
                received,
                kind: leaf.kind,
                channel: leaf.channel,
                raw: row.value,
                quality: row.quality,
                flags: flags(proven, row.time, received),
            }));
        }
        pending.proofs.push(Proof {
            batch: number_in_file,
            device,
            pseudonym: batch.pseudonym,
            kid: batch.device,
            record_digest: batch.record,
            incarnation: place.incarnation,
            seq: place.seq,
            time: place.time,
            clock_offset: batch.arrival.clock_offset,
            received,
            salts: Salts::Seed(batch.contents.seed),
            proven,
            signature: batch.contents.signature,
            rows: number(columns.rows()),
        });
        Ok(())
    }

    /// Whether an output is the next one; one that was taken before is dropped. Its place stands in
    /// the clear header, so this holds for outputs whose key is destroyed, too.
    fn is_new_output(&mut self, entry: &Entry) -> Result<bool, CollectError> {
        let Some(Outputs { cause, previous }) = entry.outputs else {
            return Ok(false);
        };
        let last = match entry.topic {
            Topic::Scores => &mut self.positions.score_cause,
            _ => &mut self.positions.alert_cause,
        };
        let cause = caused_by(cause);
        match *last {
            Some(last) if cause <= last => {
                self.metrics.repeated_outputs.inc();
                return Ok(false);
            }
            // Whoever begins to follow takes the first output as it finds it.
            Some(last) if previous.map(caused_by) != Some(last) => {
                return Err(CollectError::OutputMissing {
                    topic: entry.topic.name(),
                    offset: entry.position.offset.0,
                });
            }
            _ => {}
        }
        *last = Some(cause);
        Ok(true)
    }

    fn take_output(&mut self, entry: &Entry) {
        let Some(cause) = entry.outputs.map(|outputs| caused_by(outputs.cause)) else {
            return;
        };
        match &entry.content {
            Content::Body(Body::Score(score)) => {
                self.pending.scores.push(score_row(score, cause));
            }
            Content::Body(Body::Alert(alert)) => {
                self.pending.alerts.push(alert_row(alert, cause));
            }
            Content::Erased => self.metrics.erased.inc(),
            Content::Batch(_) | Content::Body(_) | Content::Unreadable(_) => {}
        }
    }
}

/// Returns the body of the control that erases the patient with this key: `version u8 = 1 ‖ key id`.
#[must_use]
pub fn erase_control(key: KeyId) -> Control {
    let body = [&[ERASE_VERSION][..], &key.0].concat();
    Control {
        kind: ControlKind::Erase,
        body,
    }
}

fn erased_key(control: &Control) -> Option<KeyId> {
    let (version, key) = control.body.split_first()?;
    (*version == ERASE_VERSION).then_some(KeyId(key.try_into().ok()?))
}

fn enrolment(bind: &Bind) -> Enrolment {
    Enrolment {
        certificate: bind.certificate,
        record: bind.record,
        binding: bind.binding,
    }
}

fn score_row(score: &Score, cause: CausedBy) -> ScoreRow {
    let term = |part: &pulseward_eventlog::body::ScorePart| Term {
        kind: part.kind,
        value: 0,
        low: part.low,
        high: part.high,
    };
    ScoreRow {
        pseudonym: score.pseudonym,
        at: score.at,
        lane: score.lane.number(),
        model: score.model,
        low: score.low,
        high: score.high,
        flags: score.flags,
        terms: score.parts.iter().map(term).collect(),
        cause,
    }
}

fn alert_row(alert: &Alert, cause: CausedBy) -> AlertRow {
    let term = |reading: &pulseward_eventlog::body::AlertReading| Term {
        kind: reading.kind,
        value: reading.value,
        low: reading.low,
        high: reading.high,
    };
    AlertRow {
        alert: alert.id,
        severity: alert.severity.number(),
        state: alert.state.number(),
        what: alert.what,
        score: ScoreRow {
            pseudonym: alert.pseudonym,
            at: alert.at,
            lane: alert.lane.number(),
            model: alert.model,
            low: alert.low,
            high: alert.high,
            flags: alert.flags,
            terms: alert.readings.iter().map(term).collect(),
            cause,
        },
    }
}

const fn flags(proven: bool, time: Micros, received: Micros) -> u16 {
    let unproven = if proven { 0 } else { UNPROVEN };
    let ahead = time.0 > received.0.saturating_add(AHEAD_OF_RECEPTION);
    if ahead { unproven | AHEAD } else { unproven }
}

const fn caused_by(cause: Cause) -> CausedBy {
    CausedBy {
        generation: cause.position.generation.0,
        offset: cause.position.offset.0,
        index: cause.index,
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
