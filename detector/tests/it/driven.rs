//! The detector on a real log: killed at any point, doubled, poisoned, erased.

use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;
use pulseward_base::{Partition, Pseudonym};
use pulseward_custody::KeySource as _;
use pulseward_detector::{
    Error,
    output::Subject,
    settings::Drive,
    state::{Patient, codec},
};
use pulseward_eventlog::{
    Body, Class, Content, NewEntry, RawAppend, Topic,
    body::{AlertState, Severity},
};
use tokio_util::sync::CancellationToken;

use crate::{
    scene::{ILL, WELL},
    world::{PARTITION, SLOT, World},
};

/// Health, illness, one device silent, health again: some seconds of each.
async fn episode(world: &mut World, ill: bool) {
    world.pass().await;
    for number in 1..=3 {
        if number != 3 || !ill {
            world.send(number, if ill { &ILL } else { &WELL }).await;
        }
    }
}

async fn three_patients() -> World {
    let mut world = World::new().await;
    for number in 1..=3 {
        world.bind(number).await;
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_a_detector_killed_at_200_points_says_the_same_to_the_byte() {
    let mut world = three_patients().await;
    for kill in 0..200_u64 {
        if kill % 2 == 0 {
            episode(&mut world, kill % 40 >= 20).await;
        }
        // From before the take-over ends to after a checkpoint or two.
        let life = Duration::from_micros(50 + kill * 37 % 9000);
        world.kill_after(life).await;
    }
    for _ in 0..40 {
        world.pass().await;
    }
    world.finish().await;
    let expect = world.expect().await;
    assert!(expect.len() > 200, "{} outputs", expect.len());
    assert!(world.taken().await == expect, "not the same");
    let (state, _) = world.oracle().await;
    for (pseudonym, bytes) in world.states().await {
        let (kept, feed) = codec::decode(&bytes).unwrap();
        let whole = &state.patients()[&pseudonym];
        let expect = Patient {
            as_of: kept.as_of,
            ..whole.clone()
        };
        assert_eq!(
            codec::encode(&expect, &feed),
            bytes,
            "b9: states and baselines are equal"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_what_a_zombie_says_again_is_dropped() {
    let mut world = three_patients().await;
    let stop = CancellationToken::new();
    let first = tokio::spawn(world.detector(stop.clone()).await);
    for second in 0..10 {
        episode(&mut world, second >= 5).await;
    }
    world.until_said().await;
    // The second takes over while the first still runs, and both go on, until the first notices.
    let second = tokio::spawn(world.detector(stop.clone()).await);
    for second in 0..30 {
        episode(&mut world, second % 10 >= 5).await;
    }
    let notices = async {
        while !first.is_finished() {
            world.pass().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), notices)
        .await
        .expect("it notices");
    assert!(matches!(first.await.unwrap(), Err(Error::TakenOver(_))));
    world.until_said().await;
    stop.cancel();
    second.await.unwrap().unwrap();
    world.finish().await;
    assert!(world.taken().await == world.expect().await, "not the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_while_the_detector_of_one_partition_is_dead_the_others_alerts_go_on_and_its_own_follow()
{
    let mut world = World::with_partitions(2).await;
    let (dies, lives) = (Partition(0), Partition(1));
    for number in [1, 101] {
        world.bind(number).await;
    }
    let stop = CancellationToken::new();
    let first = tokio::spawn(world.detector_of(dies, stop.clone()).await);
    let other = tokio::spawn(world.detector_of(lives, stop.clone()).await);
    let both = async |world: &mut World, values| {
        world.pass().await;
        for number in [1, 101] {
            world.send(number, values).await;
        }
    };
    for _ in 0..3 {
        both(&mut world, &ILL).await;
    }
    until_alerts(&world, dies, 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    for _ in 0..3 {
        both(&mut world, &WELL).await;
    }
    until_alerts(&world, lives, 2).await;
    assert_eq!(
        world.alerts_in(lives).await,
        [(101, AlertState::Raised), (101, AlertState::Cleared)]
    );
    assert_eq!(world.alerts_in(dies).await, [(1, AlertState::Raised)]);
    let again = tokio::spawn(world.detector_of(dies, stop.clone()).await);
    until_alerts(&world, dies, 2).await;
    assert_eq!(
        world.alerts_in(dies).await,
        [(1, AlertState::Raised), (1, AlertState::Cleared)]
    );
    stop.cancel();
    for detector in [other, again] {
        detector.await.unwrap().unwrap();
    }
}

async fn until_alerts(world: &World, partition: Partition, count: usize) {
    let said = async {
        while world.alerts_in(partition).await.len() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), said)
        .await
        .expect("it is said");
}

#[tokio::test]
async fn b23_an_entry_that_does_not_open_is_parked_and_the_next_is_judged() {
    let mut world = three_patients().await;
    episode(&mut world, false).await;
    let poison = RawAppend {
        topic: Topic::Feed,
        partition: PARTITION,
        key: None,
        bytes: Bytes::from_static(b"no entry"),
    };
    world
        .backend
        .append(vec![poison], Class::Ingest)
        .await
        .unwrap();
    for _ in 0..3 {
        episode(&mut world, true).await;
    }
    // A second run loads what the first has parked.
    world.finish().await;
    world.finish().await;
    assert!(world.taken().await == world.expect().await, "not the same");
    let parked = world.log.bounds(Topic::Parked, PARTITION).await.unwrap();
    assert_eq!(parked.end.0 - parked.start.0, 1);
}

#[tokio::test]
async fn b20_an_erased_patient_is_forgotten_and_the_others_are_judged() {
    let mut world = World::new().await;
    let key = world.bind(1).await;
    world.bind(2).await;
    world.bind(3).await;
    episode(&mut world, false).await;
    world.finish().await;
    world.keys.erase(&key).await.unwrap();
    world.log.forget(key);
    for _ in 0..3 {
        world.pass().await;
        world.send(2, &ILL).await;
        world.send(3, &WELL).await;
    }
    world.finish().await;
    let alerts = world
        .taken()
        .await
        .into_iter()
        .filter_map(|(_, body)| match body {
            Body::Alert(alert) => Some((alert.pseudonym.0[0], alert.severity, alert.state)),
            _ => None,
        });
    let alerts: Vec<_> = alerts.collect();
    assert_eq!(alerts, [(2, Severity::Emergency, AlertState::Raised)]);
    assert_eq!(
        world
            .states()
            .await
            .keys()
            .map(|patient| patient.0[0])
            .collect::<Vec<_>>(),
        [2, 3]
    );
}

#[tokio::test]
async fn marks_tell_what_has_arrived_and_what_was_signed() {
    let mut world = World::new().await;
    world.bind(1).await;
    for _ in 0..70 {
        world.pass().await;
        world.send(1, &WELL).await;
    }
    world.finish().await;
    let marks = world.log.compacted(Topic::Marks, PARTITION).await.unwrap();
    let mark = marks.entries.into_values().next().unwrap();
    let Content::Body(Body::Mark(mark)) = mark.content else {
        panic!("a mark");
    };
    let queue = &mark.incarnations[0];
    assert_eq!(
        (queue.highest.0, queue.window, queue.missing.len()),
        (69, u64::MAX, 0)
    );
    let newest = world
        .feed()
        .await
        .into_iter()
        .rev()
        .find_map(|entry| match entry.content {
            Content::Batch(batch) => Some(batch.digest()),
            _ => None,
        });
    assert_eq!(queue.digests[69 % 64][..], newest.unwrap().0[..8]);
}

#[tokio::test]
async fn b10_c19_the_detectors_own_clock_finds_that_all_ingests_are_gone_and_the_alarm_tests_itself()
 {
    let mut world = three_patients().await;
    for _ in 0..3 {
        episode(&mut world, false).await;
    }
    let stop = CancellationToken::new();
    let drive = Drive {
        tick_every: Duration::from_millis(2),
        checkpoint_every: Duration::from_millis(5),
        ..Drive::default()
    };
    let registry = Registry::new();
    let running = tokio::spawn(world.detector_with(drive, &registry, stop.clone()).await);
    let tested = async {
        while probed(&registry) < 1.8e9 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), tested)
        .await
        .expect("c19: the alarm tests itself");
    // Nobody else's clock goes on.
    let alerts = async {
        while world
            .log
            .bounds(Topic::Alerts, PARTITION)
            .await
            .unwrap()
            .end
            .0
            == 0
        {
            world.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), alerts)
        .await
        .expect("one alert");
    world.clock.advance(Duration::from_secs(600));
    stop.cancel();
    running.await.unwrap().unwrap();
    world.finish().await;
    let alerts = world
        .taken()
        .await
        .into_iter()
        .filter_map(|(_, body)| match body {
            Body::Alert(alert) => Some((alert.what, alert.state, alert.pseudonym)),
            _ => None,
        });
    let feed_silent = (
        Subject::FeedSilent.number(),
        AlertState::Raised,
        Pseudonym::ZERO,
    );
    assert_eq!(alerts.collect::<Vec<_>>(), [feed_silent]);
}

#[tokio::test]
async fn b21_keys_that_are_not_at_hand_are_waited_for_and_nothing_is_skipped() {
    let mut world = three_patients().await;
    for second in 0..6 {
        episode(&mut world, second >= 3).await;
    }
    let stop = CancellationToken::new();
    // Opened with keys, and left without them before it reads.
    let detector = world.detector(stop.clone()).await;
    world.keys.set_unavailable(true);
    let running = tokio::spawn(detector);
    let waited = tokio::time::timeout(Duration::from_millis(100), world.until_said()).await;
    assert!(waited.is_err(), "it does not go on without the keys");
    assert_eq!(world.taken().await.len(), 0);
    world.keys.set_unavailable(false);
    world.until_said().await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(world.taken().await == world.expect().await, "not the same");
}

#[tokio::test]
async fn a_detector_that_is_asked_to_stop_judges_first_what_the_feed_holds() {
    let mut world = three_patients().await;
    for second in 0..8 {
        episode(&mut world, second >= 4).await;
    }
    let stop = CancellationToken::new();
    stop.cancel();
    world.detector(stop).await.await.unwrap();
    let taken = world.taken().await;
    assert!(
        !taken.is_empty() && taken == world.expect().await,
        "not all"
    );
}

#[tokio::test]
async fn what_lies_behind_is_shown_until_it_is_processed_and_no_tick_longer() {
    let mut world = three_patients().await;
    for _ in 0..3 {
        episode(&mut world, false).await;
    }
    // Its one tick comes before it reads.
    let drive = Drive {
        tick_every: Duration::from_secs(3600),
        checkpoint_every: Duration::from_millis(3),
        read_entries: 1,
        ..Drive::default()
    };
    let (registry, stop) = (Registry::new(), CancellationToken::new());
    let running = tokio::spawn(world.detector_with(drive, &registry, stop.clone()).await);
    world.until_said().await;
    let lag = ["lag_entries", "lag_seconds"].map(|gauge| shown(&registry, gauge));
    assert_eq!(lag, [0.0, 0.0]);
    stop.cancel();
    running.await.unwrap().unwrap();
}

fn probed(registry: &Registry) -> f64 {
    shown(registry, "silence_probe_timestamp_seconds")
}

/// Returns what a gauge of the detector shows.
fn shown(registry: &Registry, gauge: &str) -> f64 {
    let families = registry.gather();
    let name = format!("pulseward_detector_{gauge}");
    let mut found = families.iter().filter(|family| family.name() == name);
    found.next().unwrap().get_metric()[0]
        .get_gauge()
        .get_value()
}

#[tokio::test]
async fn b7_a_state_that_a_zombie_covers_up_is_found_and_built_anew() {
    let mut world = three_patients().await;
    for second in 0..8 {
        episode(&mut world, second >= 4).await;
    }
    world.finish().await;
    let old = world.states().await;
    for second in 0..8 {
        episode(&mut world, second < 4).await;
    }
    world.finish().await;
    // The zombie had this ready, and the last run has ended behind it.
    let zombie = world.fresh_log().await;
    for (patient, bytes) in old.into_iter().take(2) {
        let key = world.key(patient.0[0]);
        let entry = NewEntry::for_patient(SLOT, key, Body::State(bytes));
        let compaction = zombie.compaction_key(&patient.0);
        zombie.append(entry.compacted(compaction)).await.unwrap();
    }
    for second in 0..4 {
        episode(&mut world, second < 2).await;
    }
    world.finish().await;
    assert!(world.taken().await == world.expect().await, "not the same");
    let (state, _) = world.oracle().await;
    for (pseudonym, bytes) in world.states().await {
        let (kept, feed) = codec::decode(&bytes).unwrap();
        let whole = Patient {
            as_of: kept.as_of,
            ..state.patients()[&pseudonym].clone()
        };
        assert_eq!(codec::encode(&whole, &feed), bytes);
    }
}
