//! What the detector pays for a batch of readings and for a tick of the clock, against a bare
//! verification of one signature: judging a batch may cost no more than proving it.
//!
//! One partition with ten thousand patients, whose devices send every minute and are silent after
//! three. Four patients in a hundred are ill, so that alerts rise and end. The log is left out:
//! entries are at hand, opened.

use std::time::Duration;

use pulseward_base::{
    Generation, Incarnation, KeyId, Kid, Micros, Offset, Partition, Pseudonym, Seq, Slot,
};
use pulseward_detector::{
    facts::{Batch, Fact, Tick, What},
    output::Origin,
    settings::Judgement,
    state::partition::PartitionState,
};
use pulseward_eventlog::Position;

use super::{
    clinic::resident_kib,
    readings::{READINGS, minute_of},
    signatures::Bare,
    timing::{median, micros_each, on_cpu},
};
use crate::figure::{Figure, Lines, Target};

const PATIENTS: u32 = 10_000;
/// Of so many, one is ill.
const ILL: u32 = 25;
/// Minutes before anything is measured.
const BEFORE: i64 = 5;
const ROUNDS: i64 = 15;
const SIGNATURES: usize = 400;
const MINUTE: i64 = 60_000_000;

pub(crate) fn measure() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let bare = Bare::new(SIGNATURES)?;
    let mut ward = Ward::new();
    let (mut batches, mut ticks, mut signatures) = (Vec::new(), Vec::new(), Vec::new());
    let empty = resident_kib("self")?;
    ward.fill()?;
    let state = (resident_kib("self")? - empty) / f64::from(PATIENTS);
    let mut said = 0;
    for round in BEFORE..BEFORE + ROUNDS {
        let facts = ward.minute(round)?;
        let (outputs, took) = on_cpu(|| ward.judge(&facts));
        said += outputs;
        batches.push(micros_each(took, facts.len()));
        let tick = ward.tick(round);
        let (_, took) = on_cpu(|| ward.judge(&[tick]));
        ticks.push(micros_each(took, 1));
        let (verified, took) = on_cpu(|| bare.verify_all());
        verified?;
        signatures.push(micros_each(took, SIGNATURES));
    }
    let (batch, tick, signature) = (median(batches), median(ticks), median(signatures));
    lines.say(format!(
        "{PATIENTS} patients, {READINGS} readings a batch, a batch a minute, {ROUNDS} rounds, medians"
    ));
    lines.say(format!("a batch judged                    {batch:8.2} us"));
    lines.say(format!(
        "a signature verified, and no more {signature:8.2} us"
    ));
    lines.say(format!("a tick of the clock               {tick:8.2} us"));
    lines.say(format!("in memory, for each patient       {state:8.2} KiB"));
    lines.say(format!(
        "outputs, for each batch           {:8.2}",
        said as f64 / (ROUNDS * i64::from(PATIENTS)) as f64
    ));
    let figure = Figure::new(
        "judge",
        "us of CPU to judge a batch of 60",
        batch,
        signature,
        Target::RatioAtMost(1.0),
    );
    Ok(figure
        .versus("us: aws-lc's bare ECDSA verify")
        .with_lines(lines.into_vec()))
}

/// A partition and where its feed stands.
struct Ward {
    state: PartitionState,
    next: u64,
}

impl Ward {
    fn new() -> Self {
        let origin = Origin {
            log: [1; 16],
            partition: Partition(0),
        };
        let judgement = Judgement {
            device_silence: Duration::from_secs(180),
            stream_silence: Duration::from_secs(180),
            ..Judgement::default()
        };
        Self {
            state: PartitionState::new(origin, judgement),
            next: 0,
        }
    }

    /// Lets the first minutes pass, an entry at a time, so that only the state grows.
    fn fill(&mut self) -> anyhow::Result<()> {
        for round in 0..BEFORE {
            for patient in 0..PATIENTS {
                let fact = self.batch(patient, round)?;
                self.judge(&[fact]);
            }
            let tick = self.tick(round);
            self.judge(&[tick]);
        }
        Ok(())
    }

    /// Returns the batches of one minute, a patient each.
    fn minute(&mut self, round: i64) -> anyhow::Result<Vec<Fact>> {
        (0..PATIENTS)
            .map(|patient| self.batch(patient, round))
            .collect()
    }

    fn batch(&mut self, patient: u32, round: i64) -> anyhow::Result<Fact> {
        let end = Micros((round + 1) * MINUTE);
        let [a, b, c, d] = patient.to_le_bytes();
        let name = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut kid = [9; 32];
        if let Some(first) = kid.first_chunk_mut() {
            *first = [a, b, c, d];
        }
        let worse = if patient.is_multiple_of(ILL) {
            i32::try_from(round)?
        } else {
            0
        };
        let what = What::Batch(Box::new(Batch {
            patient: Pseudonym(name),
            device: Kid(kid),
            incarnation: Incarnation(name),
            seq: Seq(round.unsigned_abs()),
            digest: [0; 8],
            clock_offset: 0,
            received: end,
            proven: true,
            columns: minute_of(Micros(round * MINUTE), worse)?,
        }));
        Ok(self.fact(KeyId(name), what))
    }

    fn tick(&mut self, round: i64) -> Fact {
        let time = Micros((round + 1) * MINUTE);
        let what = What::Tick(Tick { ingest: true, time });
        self.fact(KeyId([0; 16]), what)
    }

    fn fact(&mut self, key: KeyId, what: What) -> Fact {
        self.next += 1;
        Fact {
            position: Position {
                generation: Generation(1),
                offset: Offset(self.next),
            },
            slot: Slot(0),
            key,
            what,
        }
    }

    /// Returns how much was said.
    fn judge(&mut self, facts: &[Fact]) -> usize {
        facts
            .iter()
            .map(|fact| self.state.step(fact).said.len())
            .sum()
    }
}
