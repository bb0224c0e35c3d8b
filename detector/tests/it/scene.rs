//! A feed that a test writes line by line, and what the detector says of it.

use std::collections::BTreeMap;

use pulseward_base::{
    Generation, Incarnation, KeyId, Kid, Micros, Offset, Partition, Pseudonym, Reject, Seq, Slot,
};
use pulseward_detector::{
    facts::{Batch, Bind, Fact, Tick, Void, What},
    output::{Origin, Output, Outputs, Subject},
    settings::Judgement,
    state::PartitionState,
};
use pulseward_eventlog::{
    Body, Position,
    body::{Alert, AlertState, Score, Severity, Wish},
};
use pulseward_vitals::{Columns, Kind, Leaf, Row};

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
/// When every scene begins.
pub const START: i64 = 1_800_000_000 * SECOND;

pub const ORIGIN: Origin = Origin {
    log: [7; 16],
    partition: Partition(0),
};

/// Vitals of somebody who is well.
pub const WELL: [(Kind, i32); 7] = [
    (Kind::HeartRate, 720),
    (Kind::SpO2, 975),
    (Kind::RespiratoryRate, 150),
    (Kind::Temperature, 3690),
    (Kind::SystolicPressure, 1240),
    (Kind::Consciousness, 0),
    (Kind::SupplementalOxygen, 0),
];

/// Vitals that score seven and more.
pub const ILL: [(Kind, i32); 7] = [
    (Kind::HeartRate, 1350),
    (Kind::SpO2, 905),
    (Kind::RespiratoryRate, 270),
    (Kind::Temperature, 3690),
    (Kind::SystolicPressure, 1240),
    (Kind::Consciousness, 0),
    (Kind::SupplementalOxygen, 0),
];

pub fn patient(number: u8) -> Pseudonym {
    Pseudonym([number; 16])
}

pub fn device(number: u8) -> Kid {
    Kid([number; 32])
}

pub fn position(offset: usize) -> Position {
    Position {
        generation: Generation(0),
        offset: Offset(offset as u64),
    }
}

/// A feed in the making.
#[derive(Clone)]
pub struct Scene {
    pub facts: Vec<Fact>,
    pub now: i64,
    seqs: BTreeMap<u8, u64>,
    incarnations: BTreeMap<u8, i64>,
}

impl Scene {
    pub fn new() -> Self {
        let mut scene = Self {
            facts: Vec::new(),
            now: START,
            seqs: BTreeMap::new(),
            incarnations: BTreeMap::new(),
        };
        scene.tick();
        scene
    }

    pub fn put(&mut self, key: u8, what: What) -> Position {
        let position = position(self.facts.len());
        self.facts.push(Fact {
            position,
            slot: Slot(u16::from(key)),
            key: KeyId([key; 16]),
            what,
        });
        position
    }

    /// The clocks of an ingest and of the detector.
    pub fn tick(&mut self) {
        self.tick_of(true);
        self.tick_of(false);
    }

    pub fn tick_of(&mut self, ingest: bool) {
        let time = Micros(self.now);
        self.put(0, What::Tick(Tick { ingest, time }));
    }

    /// Lets seconds pass with all clocks going.
    pub fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += SECOND;
            self.tick();
        }
    }

    pub fn bind(&mut self, of: u8, by: u8) {
        let bind = Bind {
            device: device(by),
            patient: patient(of),
            key: KeyId([of; 16]),
            sealed_handle: [of; 44],
        };
        self.put(of, What::Bind(Box::new(bind)));
    }

    pub fn revoke(&mut self, by: u8) {
        self.put(0, What::Revoke(device(by)));
    }

    /// Somebody wants something of a patient's alerts.
    pub fn wish(&mut self, of: u8, wish: Wish) {
        self.put(of, What::Wish(patient(of), wish));
    }

    /// A device begins a new queue.
    pub fn new_queue(&mut self, by: u8) {
        *self.incarnations.entry(by).or_default() += 1;
        self.seqs.insert(by, 0);
    }

    fn incarnation(&self, by: u8) -> Incarnation {
        let start = self.incarnations.get(&by).copied().unwrap_or_default();
        let mut bytes = [by; 16];
        bytes[..8].copy_from_slice(&start.to_le_bytes());
        Incarnation(bytes)
    }

    pub fn next_seq(&mut self, by: u8) -> u64 {
        let seq = self.seqs.entry(by).or_default();
        *seq += 1;
        *seq - 1
    }

    /// A batch of one reading of each kind, read just now.
    pub fn send(&mut self, of: u8, by: u8, values: &[(Kind, i32)]) -> Position {
        self.send_at(of, by, self.now, values)
    }

    /// A batch of one reading of each kind, read at `time`.
    pub fn send_at(&mut self, of: u8, by: u8, time: i64, values: &[(Kind, i32)]) -> Position {
        let rows = values.iter().map(|(kind, value)| (*kind, time, *value, 0));
        let seq = self.next_seq(by);
        let batch = self.batch(of, by, seq, rows.collect());
        self.put(of, What::Batch(Box::new(batch)))
    }

    pub fn batch(&self, of: u8, by: u8, seq: u64, rows: Vec<(Kind, i64, i32, u8)>) -> Batch {
        let mut leaves: BTreeMap<Kind, Vec<Row>> = BTreeMap::new();
        for (kind, time, value, quality) in rows {
            let row = Row {
                time: Micros(time),
                value,
                quality,
            };
            leaves.entry(kind).or_default().push(row);
        }
        let leaf = |(kind, rows)| Leaf {
            kind,
            channel: 0,
            rows,
        };
        Batch {
            patient: patient(of),
            device: device(by),
            incarnation: self.incarnation(by),
            seq: Seq(seq),
            digest: seq.to_le_bytes(),
            clock_offset: 0,
            received: Micros(self.now),
            proven: true,
            columns: Columns::new(leaves.into_iter().map(leaf).collect()).unwrap(),
        }
    }

    pub fn void(&mut self, of: u8, by: u8, seq: u64, code: Reject) {
        let void = Void {
            device: device(by),
            incarnation: self.incarnation(by),
            seq: Seq(seq),
            digest: [0; 8],
            code,
        };
        self.put(of, What::Void(void));
    }

    /// Runs it from its beginning to its end.
    pub fn run(&self) -> Run {
        self.run_with(Judgement::default())
    }

    pub fn run_with(&self, judgement: Judgement) -> Run {
        let mut state = PartitionState::new(ORIGIN, judgement);
        let mut outputs = Vec::new();
        for fact in &self.facts {
            outputs.push((fact.position, state.step(fact)));
        }
        Run { state, outputs }
    }
}

/// What came of a scene.
pub struct Run {
    pub state: PartitionState,
    pub outputs: Vec<(Position, Outputs)>,
}

impl Run {
    pub fn said(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter().flat_map(|(_, outputs)| &outputs.said)
    }

    pub fn alerts(&self) -> Vec<&Alert> {
        self.said()
            .filter_map(|output| match &output.body {
                Body::Alert(alert) => Some(alert),
                _ => None,
            })
            .collect()
    }

    pub fn scores(&self) -> Vec<&Score> {
        self.said()
            .filter_map(|output| match &output.body {
                Body::Score(score) => Some(score),
                _ => None,
            })
            .collect()
    }

    /// Subject, state and severity of each alert, in order.
    pub fn story(&self) -> Vec<(Subject, AlertState, Severity)> {
        let line = |alert: &Alert| {
            let subject = Subject::from_number(alert.what).unwrap();
            (subject, alert.state, alert.severity)
        };
        self.alerts().into_iter().map(line).collect()
    }

    pub fn count(&self, subject: Subject, state: AlertState) -> usize {
        let like = |line: &&(Subject, AlertState, Severity)| (line.0, line.1) == (subject, state);
        self.story().iter().filter(like).count()
    }
}
