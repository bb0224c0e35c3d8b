//! A run that is stopped anywhere and taken up again says the same, to the byte.

use pulseward_base::{Micros, Pseudonym, Reject};
use pulseward_detector::{
    facts::{Batch, What},
    judge::teller::Recorded,
    output::Output,
    settings::Judgement,
    state::{PartitionState, Patient, codec, partition::Feed},
};
use pulseward_eventlog::{
    Body, Position,
    body::{AlertState, Lane, Wish},
};
use pulseward_vitals::Kind;

use crate::scene::{HOUR, ILL, ORIGIN, SECOND, Scene, WELL};

/// Something of everything: silence of many at one tick, all ingests gone, a backlog, a clone, a
/// revocation, a device handed over, skewed clocks, doubles, gaps, implausible values.
fn eventful() -> Scene {
    let mut scene = Scene::new();
    (1..=4).for_each(|number| scene.bind(number, number));
    let everybody = |scene: &mut Scene, values: &[(Kind, i32)]| {
        scene.pass(1);
        (1..=4).for_each(|number| {
            scene.send(number, number, values);
        });
    };
    (0..4).for_each(|_| everybody(&mut scene, &WELL));
    let mut three = WELL;
    three[2].1 = 260;
    (0..3).for_each(|_| {
        scene.pass(1);
        scene.send(4, 4, &three);
    });
    (0..3).for_each(|_| everybody(&mut scene, &ILL));
    // What people make of it: two lanes snoozed, one until its end, one pierced; alerts looked after.
    let open = |scene: &Scene, of: u8| {
        let state = scene.run().state;
        state.patients()[&crate::scene::patient(of)].live.open
    };
    let (first, second) = (open(&scene, 1).unwrap(), open(&scene, 2).unwrap());
    scene.wish(1, Wish::Acknowledge(first.id));
    let snooze = |lane, seconds| Wish::Snooze { lane, seconds };
    scene.wish(2, snooze(Lane::Rules, 20));
    scene.wish(3, snooze(Lane::Integrity, 3600));
    scene.wish(9, Wish::Acknowledge(second.id));
    let doubled = scene
        .facts
        .iter()
        .rev()
        .find(|fact| matches!(fact.what, What::Batch(_)));
    let doubled = doubled.cloned().unwrap();
    scene.put(doubled.key.0[0], doubled.what);
    // Everybody silent at one tick.
    scene.pass(33);
    scene.bind(1, 11);
    scene.send(1, 11, &ILL);
    scene.revoke(1);
    scene.void(2, 2, 3, Reject::Forked);
    scene.next_seq(3);
    (0..3).for_each(|_| everybody(&mut scene, &WELL));
    // All ingests gone for eight seconds.
    (0..8).for_each(|_| {
        scene.now += SECOND;
        scene.tick_of(false);
    });
    scene.pass(2);
    for back in (0..5).rev() {
        scene.send_at(4, 4, scene.now - HOUR - back * SECOND, &ILL);
    }
    (0..4).for_each(|_| everybody(&mut scene, &[(Kind::HeartRate, 0), (Kind::SpO2, 970)]));
    let seq = scene.next_seq(2);
    let rows = vec![(Kind::HeartRate, scene.now + 24 * HOUR, 700, 0)];
    let skewed = Batch {
        clock_offset: 2,
        ..scene.batch(2, 2, seq, rows)
    };
    scene.put(2, What::Batch(Box::new(skewed)));
    scene.new_queue(2);
    (0..3).for_each(|_| everybody(&mut scene, &WELL));
    scene.pass(35);
    scene
}

/// What the log would hold: outputs that reached it, and the records of the state.
struct Durable {
    outputs: Vec<(Position, Output)>,
    partition: (Position, Feed),
    patients: std::collections::BTreeMap<Pseudonym, Vec<u8>>,
}

impl Durable {
    fn new() -> Self {
        let state = PartitionState::new(ORIGIN, Judgement::default());
        Self {
            outputs: Vec::new(),
            partition: (state.as_of(), *state.feed()),
            patients: std::collections::BTreeMap::new(),
        }
    }

    fn restore(&self) -> PartitionState {
        let mut recorded = Recorded::default();
        for (position, output) in &self.outputs {
            let whose = match &output.body {
                Body::Alert(alert) => alert.pseudonym,
                Body::Score(score) => score.pseudonym,
                _ => unreachable!("outputs are scores and alerts"),
            };
            recorded.note(*position, output.index, whose);
        }
        let patients = self
            .patients
            .values()
            .map(|bytes| codec::decode(bytes).unwrap().0)
            .collect();
        PartitionState::new(ORIGIN, Judgement::default()).restored(
            self.partition,
            patients,
            recorded,
        )
    }

    fn keep(&mut self, patients: impl IntoIterator<Item = Patient>, feed: Feed) {
        for patient in patients {
            let bytes = codec::encode(&patient, &feed);
            assert!(bytes.len() <= codec::MOST_BYTES);
            self.patients.insert(patient.pseudonym, bytes);
        }
    }

    /// Runs on from what is durable to `stop`, making a checkpoint after every `every` entries.
    fn run(&mut self, scene: &Scene, stop: usize, every: usize) -> PartitionState {
        let mut state = self.restore();
        let from = usize::try_from(state.as_of().offset.0).unwrap();
        let last = self
            .outputs
            .last()
            .map(|(position, output)| (*position, output.index));
        for (count, fact) in scene.facts[from..stop].iter().enumerate() {
            for output in state.step(fact).said {
                if Some((fact.position, output.index)) > last {
                    self.outputs.push((fact.position, output));
                }
            }
            if (count + 1) % every == 0 {
                self.keep(state.take_changed(), *state.feed());
                self.partition = (state.as_of(), *state.feed());
            }
        }
        state
    }
}

fn uninterrupted(scene: &Scene) -> Vec<(Position, Output)> {
    let run = scene.run();
    let outputs = run.outputs.into_iter();
    outputs
        .flat_map(|(position, outputs)| outputs.said.into_iter().map(move |said| (position, said)))
        .collect()
}

fn bytes(state: &PartitionState) -> Vec<Vec<u8>> {
    let whole = |patient: &Patient| Patient {
        as_of: state.as_of(),
        ..patient.clone()
    };
    state
        .patients()
        .values()
        .map(|patient| codec::encode(&whole(patient), state.feed()))
        .collect()
}

#[test]
fn b6_a_detector_stopped_at_any_entry_says_the_same_to_the_byte() {
    let scene = eventful();
    let (expect, end) = (uninterrupted(&scene), bytes(&scene.run().state));
    assert!(
        scene.facts.len() >= 200,
        "{} named points",
        scene.facts.len()
    );
    assert!(expect.len() >= 60, "{} outputs", expect.len());
    let states: std::collections::BTreeSet<_> = expect
        .iter()
        .filter_map(|(_, output)| match &output.body {
            Body::Alert(alert) => Some(alert.state),
            _ => None,
        })
        .collect();
    assert_eq!(states.len(), AlertState::ALL.len(), "{states:?}");
    for stop in 0..=scene.facts.len() {
        let mut durable = Durable::new();
        durable.run(&scene, stop, 17);
        let state = durable.run(&scene, scene.facts.len(), 17);
        assert_eq!(durable.outputs, expect, "stopped at {stop}");
        assert_eq!(bytes(&state), end, "stopped at {stop}");
    }
}

#[test]
fn b6_a_detector_stopped_between_two_state_records_says_the_same_to_the_byte() {
    let scene = eventful();
    let (expect, end) = (uninterrupted(&scene), bytes(&scene.run().state));
    for stop in 0..=scene.facts.len() {
        // Of the patients that changed, only some reach the log, and the partition's record does not.
        for which in 0..3_u8 {
            let mut durable = Durable::new();
            let mut state = durable.run(&scene, stop, 29);
            let changed = state.take_changed().into_iter();
            durable.keep(
                changed.filter(|patient| patient.pseudonym.0[0] % 3 != which),
                *state.feed(),
            );
            let state = durable.run(&scene, scene.facts.len(), 29);
            assert_eq!(durable.outputs, expect, "stopped at {stop}");
            assert_eq!(bytes(&state), end, "stopped at {stop}");
        }
    }
}

#[test]
fn b6_outputs_of_one_entry_that_reached_the_log_in_part_are_completed() {
    let scene = eventful();
    let expect = uninterrupted(&scene);
    for kept in 0..expect.len() {
        let stop = usize::try_from(expect[kept].0.offset.0).unwrap();
        let mut durable = Durable::new();
        durable.run(&scene, stop, 23);
        durable.outputs = expect[..kept].to_vec();
        durable.run(&scene, scene.facts.len(), 23);
        assert_eq!(durable.outputs, expect, "{kept} outputs were kept");
    }
}

#[test]
fn b9_taking_over_without_a_state_gives_equal_baselines() {
    let scene = eventful();
    let whole = scene.run().state;
    let mut durable = Durable::new();
    durable.run(&scene, 150, usize::MAX);
    let again = durable.run(&scene, scene.facts.len(), usize::MAX);
    assert_eq!(bytes(&again), bytes(&whole));
}

#[test]
fn a_checkpoint_that_reads_as_it_was_written() {
    use pulseward_detector::state::codec::{Checkpoint, Trail};
    let run = eventful().run();
    let checkpoint = Checkpoint {
        as_of: run.state.as_of(),
        feed: *run.state.feed(),
        scores: Trail::default(),
        alerts: Trail::default(),
        verified: pulseward_base::Offset(4),
    };
    assert_eq!(
        Checkpoint::of_record(&checkpoint.to_record()),
        Ok(checkpoint)
    );
    assert_eq!(
        checkpoint.to_record().log_time,
        run.state.feed().log_time.unwrap_or(Micros(0))
    );
    let mut other = checkpoint.to_record();
    other.log_time = Micros(other.log_time.0 + 1);
    assert!(
        Checkpoint::of_record(&other).is_err(),
        "a record that says two times is none"
    );
}
