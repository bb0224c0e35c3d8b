//! The stage on a real log: everything once, whatever is repeated, killed or erased.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pulseward_base::{Generation, Incarnation, Kid, Micros, ModelId, Offset, Partition};
use pulseward_custody::{FileKeys, KeyError, KeySource};
use pulseward_eventlog::{
    Body, Cause, LogError, NewEntry, Position,
    body::{Lane, Revoke, Score, ScorePart},
};
use pulseward_history::{
    HistoryError, Settings, chain::ChainError, collect::CollectError, erase_control, rows::Rows,
    schema::FileKind,
};
use tokio_util::sync::CancellationToken;

use crate::world::{Device, ROWS, World, columns, log_on, names, partitions};

async fn send(world: &World, device: &Device, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        world
            .log
            .append_batch(device.batch(seq, &columns(seq)))
            .await
            .unwrap();
    }
}

/// What is stored of every batch is what was sent: once, with all its rows, and proven.
async fn check_stored(world: &World, devices: &[(&Device, u64)]) {
    let store = world.open().await;
    let batches = store.batches().await.unwrap();
    let mut expect: BTreeMap<Kid, u64> = BTreeMap::new();
    for (device, count) in devices.iter().filter(|(_, count)| *count > 0) {
        expect.insert(device.key.kid(), *count);
    }
    let mut found: BTreeMap<Kid, u64> = BTreeMap::new();
    for (name, counted) in &batches {
        assert_eq!((counted.times, counted.rows), (1, ROWS), "{name:?}");
        *found.entry(name.kid).or_default() += 1;
    }
    assert_eq!(found, expect);
    let total: u64 = expect.values().sum();
    assert_eq!(store.stored_rows(), total * ROWS);
    let report = world.verify().await;
    assert_eq!(report.findings, []);
    assert_eq!((report.verified, report.rows), (total, total * ROWS));
}

#[tokio::test]
async fn every_reading_is_stored_once_and_proven() {
    let world = World::new().await;
    let (one, two) = (world.enrol(1).await, world.enrol(2).await);
    send(&world, &one, [0, 1, 1, 2, 0]).await;
    world.store_all(world.settings()).await.unwrap();
    check_stored(&world, &[(&one, 3)]).await;
    // A restart goes on where the chain says; what is repeated stays dropped.
    send(&world, &one, [2, 3]).await;
    send(&world, &two, 0..5).await;
    world.store_all(world.settings()).await.unwrap();
    check_stored(&world, &[(&one, 4), (&two, 5)]).await;
    // Nothing new: nothing but the claim is written.
    let before = world.open().await.files().count();
    world.store_all(world.settings()).await.unwrap();
    assert_eq!(world.open().await.files().count(), before);
}

#[tokio::test]
async fn positions_behind_what_is_stored_are_told() {
    let world = World::new().await;
    let device = world.enrol(1).await;
    send(&world, &device, 0..4).await;
    let progress = world.store_all(world.settings()).await.unwrap();
    let partition = world.log.partition_of(device.admission.slot);
    let committed = progress.of(partition).unwrap();
    assert_eq!(committed.positions.feed, 5, "a bind and four batches");
    assert_eq!(committed.rows, 4 * ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_is_killed_at_any_moment_loses_and_doubles_nothing() {
    let world = World::new().await;
    let device = world.enrol(1).await;
    for round in 0..12_u64 {
        send(&world, &device, round * 5..round * 5 + 5).await;
        let settings = Settings {
            commit_age: Duration::from_millis(1),
            ..world.settings()
        };
        let historian = world.historian(settings);
        let running = tokio::spawn(historian.run(partitions(), CancellationToken::new()));
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        // Its tasks die where they stand; what they had written to the disk stays.
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }
    world.store_all(world.settings()).await.unwrap();
    check_stored(&world, &[(&device, 60)]).await;
}

#[tokio::test]
async fn b12_a_second_history_fences_the_first_and_rows_stay_single() {
    let world = World::new().await;
    let device = world.enrol(1).await;
    send(&world, &device, 0..3).await;
    let first = world.historian(world.settings());
    let progress = first.progress();
    let first = tokio::spawn(first.run(partitions(), CancellationToken::new()));
    let all_claimed = async {
        while progress.all().len() < partitions().len() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_claimed)
        .await
        .unwrap();
    world.store_all(world.settings()).await.unwrap();
    send(&world, &device, 3..6).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), first)
        .await
        .unwrap()
        .unwrap();
    assert!(
        matches!(ended, Err(HistoryError::Chain(ChainError::Fenced))),
        "{ended:?}"
    );
    world.store_all(world.settings()).await.unwrap();
    check_stored(&world, &[(&device, 6)]).await;
}

#[tokio::test]
async fn what_a_dead_owner_left_behind_is_removed_after_its_grace_with_its_key() {
    let world = World::new().await;
    let device = world.enrol(1).await;
    send(&world, &device, 0..3).await;
    world.store_all(world.settings()).await.unwrap();
    let partition = world.log.partition_of(device.admission.slot);
    let data = world.home.path().join(format!("p{:04}/data", partition.0));
    let id = [0x5a; 16];
    FileKeys::create(world.keys.as_ref(), id).await.unwrap();
    let garbage = data.join(format!("{:016x}-{}.readings.parquet", 1, "5a".repeat(16)));
    std::fs::write(&garbage, b"never committed").unwrap();
    let settings = |grace| Settings {
        garbage_grace: grace,
        ..world.settings()
    };
    // Within the grace its owner may still be about to learn that it is fenced.
    world
        .store_all(settings(Duration::from_secs(400 * 365 * 24 * 3600)))
        .await
        .unwrap();
    assert!(garbage.exists());
    world.store_all(settings(Duration::ZERO)).await.unwrap();
    assert!(!garbage.exists());
    let key = FileKeys::open(world.keys.as_ref(), id).await;
    assert_eq!(key.map(drop), Err(KeyError::Erased));
    check_stored(&world, &[(&device, 3)]).await;
}

#[tokio::test]
async fn commits_are_merged_and_every_batch_can_still_be_proven() {
    let world = World::new().await;
    let (one, two) = (world.enrol(1).await, world.enrol(2).await);
    let settings = || Settings {
        compact_commits: 3,
        ..world.settings()
    };
    for seq in 0..12 {
        send(&world, &one, [seq]).await;
        send(&world, &two, [seq]).await;
        world.store_all(settings()).await.unwrap();
    }
    check_stored(&world, &[(&one, 12), (&two, 12)]).await;
    let store = world.open().await;
    let levels: Vec<_> = store.files().map(|(_, file)| file.level).collect();
    assert!(levels.iter().any(|level| *level > 1), "{levels:?}");
    // Of a dozen commits in each partition few are left, and no more files than they name.
    for partition in partitions() {
        let named = store
            .files()
            .filter(|(found, _)| *found == partition)
            .count();
        let data = world.home.path().join(format!("p{:04}/data", partition.0));
        assert_eq!(names(&data).len(), named);
        assert!(named <= 20, "{named}");
    }
}

#[tokio::test]
async fn b20_an_erased_patient_is_in_no_file_and_the_others_are_unchanged() {
    let world = World::new().await;
    let (gone, stays) = (world.enrol(1).await, world.enrol(2).await);
    for seq in 0..4 {
        send(&world, &gone, [seq]).await;
        send(&world, &stays, [seq]).await;
        world.store_all(world.settings()).await.unwrap();
    }
    check_stored(&world, &[(&gone, 4), (&stays, 4)]).await;
    let before: Vec<_> = {
        let store = world.open().await;
        store
            .files()
            .map(|(partition, file)| (partition, file.clone()))
            .collect()
    };
    // Batches still in the log, then the key dies, then the stages are told.
    send(&world, &gone, [4]).await;
    send(&world, &stays, [4]).await;
    world.keys.erase(&gone.admission.key).await.unwrap();
    let partition = world.log.partition_of(gone.admission.slot);
    order_erasure(&world, &gone).await;
    world.store_all(world.settings()).await.unwrap();
    check_stored(&world, &[(&gone, 0), (&stays, 5)]).await;
    let store = world.open().await;
    for kind in FileKind::ALL {
        let (pseudonym, kid) = (gone.admission.pseudonym, gone.key.kid());
        let binding = gone.admission.binding;
        let seen = |_, rows| match rows {
            Rows::Readings(rows) => assert!(rows.iter().all(|row| row.pseudonym != pseudonym)),
            Rows::Proofs(rows) => assert!(rows.iter().all(|row| row.kid != kid)),
            Rows::Enrolments(rows) => assert!(rows.iter().all(|row| row.binding != binding)),
            Rows::Scores(_) | Rows::Alerts(_) => {}
        };
        store.rows(*kind, seen).await.unwrap();
    }
    // Old copies of the rewritten files are unreadable, wherever they may lie.
    let kept: Vec<_> = store.files().map(|(_, file)| file.name.id).collect();
    for (home, file) in before {
        let key = FileKeys::open(world.keys.as_ref(), file.name.id).await;
        if home == partition && !kept.contains(&file.name.id) {
            assert_eq!(key.map(drop), Err(KeyError::Erased));
        } else {
            assert!(key.is_ok());
        }
    }
}

#[tokio::test]
async fn b20_what_was_opened_before_the_erasure_in_front_of_it_was_known_is_not_stored() {
    let world = World::new().await;
    let (gone, stays) = (world.enrol(1).await, world.enrol(2).await);
    send(&world, &gone, 0..3).await;
    world.keys.erase(&gone.admission.key).await.unwrap();
    order_erasure(&world, &gone).await;
    // Whoever appends this has the patient's derived key in memory still, and so has the reader.
    send(&world, &gone, 3..6).await;
    send(&world, &stays, 0..3).await;
    world.store_all(world.settings()).await.unwrap();
    check_stored(&world, &[(&gone, 0), (&stays, 3)]).await;
}

async fn order_erasure(world: &World, of: &Device) {
    let partition = world.log.partition_of(of.admission.slot);
    let erase = Body::Control(erase_control(of.admission.key));
    let order = NewEntry::for_log(partition, erase);
    world.log.append(order).await.unwrap();
}

/// Sends until the last number, or until the device's patient is erased.
async fn load(world: Arc<World>, device: Arc<Device>, count: u64, erased_at: Option<u64>) {
    for seq in 0..count {
        if erased_at == Some(seq) {
            world.keys.erase(&device.admission.key).await.unwrap();
            order_erasure(&world, &device).await;
        }
        let sent = world.log.append_batch(device.batch(seq, &columns(seq)));
        match sent.await {
            Ok(_) => tokio::task::yield_now().await,
            Err(LogError::KeyErased) if erased_at.is_some() => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b13_erasing_and_compacting_a_running_store_under_load_fence_nobody_and_rows_reconcile() {
    let count = if std::env::var_os("PULSEWARD_CAMPAIGN").is_some() {
        600
    } else {
        60
    };
    let world = Arc::new(World::new().await);
    let mut devices = Vec::new();
    for person in 0..6 {
        devices.push(Arc::new(world.enrol(person).await));
    }
    let settings = Settings {
        commit_age: Duration::from_millis(1),
        commit_rows: 5 * usize::try_from(ROWS).unwrap(),
        compact_commits: 3,
        ..world.settings()
    };
    let historian = world.historian(settings);
    let stop = CancellationToken::new();
    let running = tokio::spawn(historian.run(partitions(), stop.clone()));
    // Every other patient is erased, each at another moment, while all go on.
    let erased_at = |person: usize| {
        let at = count * (person as u64 + 1) / 7;
        person.is_multiple_of(2).then_some(at)
    };
    let mut loads = tokio::task::JoinSet::new();
    for (person, device) in devices.iter().enumerate() {
        let (world, device) = (Arc::clone(&world), Arc::clone(device));
        loads.spawn(load(world, device, count, erased_at(person)));
    }
    while let Some(ended) = loads.join_next().await {
        ended.unwrap();
    }
    stop.cancel();
    running.await.unwrap().expect("nobody was fenced");
    let left = |person| {
        if erased_at(person).is_some() {
            0
        } else {
            count
        }
    };
    let expect: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(person, device)| (&**device, left(person)))
        .collect();
    check_stored(&world, &expect).await;
    let store = world.open().await;
    assert!(store.files().any(|(_, file)| file.level > 0), "compacted");
}

#[tokio::test]
async fn b15_no_row_of_a_revoked_device_is_stored_behind_the_revocation() {
    let world = World::new().await;
    let device = world.enrol(1).await;
    send(&world, &device, 0..3).await;
    let partition = world.log.partition_of(device.admission.slot);
    let revoke = Revoke {
        device: device.key.kid(),
        time: Micros(0),
    };
    let entry = NewEntry::for_log(partition, Body::Revoke(revoke));
    world.log.append(entry).await.unwrap();
    send(&world, &device, 3..6).await;
    world.store_all(world.settings()).await.unwrap();
    send(&world, &device, 6..7).await;
    world.store_all(world.settings()).await.unwrap();
    check_stored(&world, &[(&device, 3)]).await;
}

#[tokio::test]
async fn a15_a_new_queue_of_a_device_starts_its_own_count() {
    let world = World::new().await;
    let mut device = world.enrol(1).await;
    send(&world, &device, 0..3).await;
    device.incarnation = Incarnation([2; 16]);
    send(&world, &device, 0..2).await;
    world.store_all(world.settings()).await.unwrap();
    check_stored(&world, &[(&device, 5)]).await;
}

fn score(device: &Device, offset: u64, previous: Option<u64>) -> NewEntry {
    let cause = |offset| Cause {
        position: Position {
            generation: Generation(0),
            offset: Offset(offset),
        },
        index: 0,
    };
    let score = Score {
        pseudonym: device.admission.pseudonym,
        at: Micros(7),
        lane: Lane::Rules,
        model: ModelId([1; 16]),
        low: 2,
        high: 5,
        flags: 1,
        parts: vec![ScorePart {
            kind: 1,
            low: 2,
            high: 5,
        }],
    };
    let admission = &device.admission;
    NewEntry::for_patient(admission.slot, admission.key, Body::Score(score))
        .caused_by(cause(offset), previous.map(cause))
}

async fn scores(world: &World) -> Vec<u64> {
    let mut causes = Vec::new();
    let store = world.open().await;
    let see = |_: Partition, rows| {
        if let Rows::Scores(rows) = rows {
            causes.extend(rows.iter().map(|row| row.cause.offset));
        }
    };
    store.rows(FileKind::Scores, see).await.unwrap();
    causes.sort_unstable();
    causes
}

#[tokio::test]
async fn b7_outputs_are_stored_once_also_when_a_second_detector_repeats_them() {
    let world = World::new().await;
    let device = world.enrol(1).await;
    for (offset, previous) in [
        (1, None),
        (2, Some(1)),
        (1, None),
        (2, Some(1)),
        (5, Some(2)),
    ] {
        world
            .log
            .append(score(&device, offset, previous))
            .await
            .unwrap();
    }
    world.store_all(world.settings()).await.unwrap();
    assert_eq!(scores(&world).await, [1, 2, 5]);
    world.log.append(score(&device, 5, Some(2))).await.unwrap();
    world.log.append(score(&device, 6, Some(5))).await.unwrap();
    world.store_all(world.settings()).await.unwrap();
    assert_eq!(scores(&world).await, [1, 2, 5, 6]);
}

#[tokio::test]
async fn a24_an_output_that_a_broker_removed_stops_the_partition() {
    let world = World::new().await;
    let device = world.enrol(1).await;
    world.log.append(score(&device, 1, None)).await.unwrap();
    world.log.append(score(&device, 3, Some(2))).await.unwrap();
    let ended = world.store_all(world.settings()).await;
    let missing = matches!(
        ended,
        Err(HistoryError::Collect(CollectError::OutputMissing {
            topic: "scores",
            ..
        }))
    );
    assert!(missing, "{ended:?}");
}

#[tokio::test]
async fn b21_unavailable_keys_hold_history_up_and_lose_nothing() {
    let world = Arc::new(World::new().await);
    let device = world.enrol(1).await;
    send(&world, &device, 0..3).await;
    let historian = world.historian(world.settings());
    let progress = historian.progress();
    world.keys.set_unavailable(true);
    let stop = CancellationToken::new();
    let running = tokio::spawn(historian.run(partitions(), stop.clone()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!running.is_finished() && progress.all().is_empty());
    world.keys.set_unavailable(false);
    let partition = world.log.partition_of(device.admission.slot);
    let stored = async {
        while progress
            .of(partition)
            .is_none_or(|committed| committed.rows < 3 * ROWS)
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), stored)
        .await
        .unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
    check_stored(&world, &[(&device, 3)]).await;
}

#[tokio::test]
async fn a_store_that_follows_another_log_is_refused() {
    let world = World::new().await;
    let device = world.enrol(1).await;
    send(&world, &device, 0..1).await;
    world.store_all(world.settings()).await.unwrap();
    let mut other = World::new().await;
    other.home = world.home;
    other.keys = Arc::clone(&world.keys);
    let ended = other.store_all(other.settings()).await;
    assert!(
        matches!(ended, Err(HistoryError::ForeignLog(_))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn b16_a_log_that_went_back_behind_the_store_is_refused_by_name() {
    let mut world = World::new().await;
    let device = world.enrol(1).await;
    let before = world.fs.duplicate();
    send(&world, &device, 0..3).await;
    world.store_all(world.settings()).await.unwrap();
    // The log's disk is restored from a copy that is older than the store.
    world.log = log_on(&before, &world.keys).await;
    let ended = world.store_all(world.settings()).await;
    let went_back = matches!(ended, Err(HistoryError::Log(LogError::WentBack { .. })));
    assert!(went_back, "{ended:?}");
}
