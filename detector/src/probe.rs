//! The silence alarm tests itself: a patient who does not exist, with a device that stops.
//!
//! Most of the time no alert means that all is well. So that it never means that the alarm is
//! broken, every partition's task runs this through the very step that watches over patients, each
//! time the detector's own tick has come back to it through the feed, and shows when that last
//! went well. An alarm outside this process watches the time.

use std::time::Duration;

use pulseward_base::{
    Generation, Incarnation, KeyId, Kid, Micros, Offset, Partition, Pseudonym, Seq, Slot,
};
use pulseward_eventlog::{Body, Position, body::AlertState};
use pulseward_vitals::{Columns, Kind, Leaf, Row};

use crate::{
    facts::{Batch, Fact, Tick, What},
    output::{Origin, Subject},
    settings::Judgement,
    state::PartitionState,
};

/// Returns whether a device that stops is called silent at its time and not before, and is heard
/// when it returns.
#[must_use]
pub fn silence_is_heard(judgement: &Judgement, now: Micros) -> bool {
    let stopped = now.minus(judgement.device_silence);
    let just_before = Micros(now.0.saturating_sub(1));
    let facts = [
        tick(stopped),
        batch(stopped, 0),
        tick(just_before),
        tick(now),
        batch(now, 1),
    ];
    let origin = Origin {
        log: [0; 16],
        partition: Partition(0),
    };
    // Between its ticks nobody is to think that the ingests are gone.
    let judgement = Judgement {
        feed_silence: Duration::MAX,
        ..judgement.clone()
    };
    let mut state = PartitionState::new(origin, judgement);
    let mut said = Vec::new();
    for (what, offset) in facts.into_iter().zip(0_u64..) {
        let position = Position {
            generation: Generation(0),
            offset: Offset(offset),
        };
        let outputs = state.step(&Fact {
            position,
            slot: Slot(0),
            key: KeyId::ZERO,
            what,
        });
        let about = outputs.said.iter().filter_map(|output| match &output.body {
            Body::Alert(alert) if alert.what == Subject::DeviceSilent.number() => Some(alert.state),
            _ => None,
        });
        said.extend(about.map(|state| (offset, state)));
    }
    said == [(3, AlertState::Raised), (4, AlertState::Cleared)]
}

const fn tick(time: Micros) -> What {
    What::Tick(Tick { ingest: true, time })
}

fn batch(time: Micros, seq: u64) -> What {
    let row = Row {
        time,
        value: 720,
        quality: 0,
    };
    let leaf = Leaf {
        kind: Kind::HeartRate,
        channel: 0,
        rows: vec![row],
    };
    let Ok(columns) = Columns::new(vec![leaf]) else {
        return What::Other;
    };
    What::Batch(Box::new(Batch {
        patient: Pseudonym::ZERO,
        device: Kid::ZERO,
        incarnation: Incarnation([0; 16]),
        seq: Seq(seq),
        digest: [0; 8],
        clock_offset: 0,
        received: time,
        proven: true,
        columns,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c19_the_probe_passes_whatever_the_limit_and_the_time() {
        for seconds in [1, 4, 30, 3600] {
            let judgement = Judgement {
                device_silence: Duration::from_secs(seconds),
                ..Judgement::default()
            };
            for now in [1_800_000_000_000_000, 9_000_000_000_000] {
                assert!(
                    silence_is_heard(&judgement, Micros(now)),
                    "{seconds} s at {now}"
                );
            }
        }
    }

    #[test]
    fn c19_the_probe_fails_when_a_device_is_called_silent_at_another_time() {
        let hasty = Judgement {
            device_silence: Duration::ZERO,
            ..Judgement::default()
        };
        assert!(!silence_is_heard(&hasty, Micros(1_800_000_000_000_000)));
    }
}
