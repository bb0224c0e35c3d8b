//! What becomes of single batches.

use pulseward_base::{Incarnation, Reject, Seq};
use pulseward_crypto::{
    SigningKey,
    frame::{Outcome, UpFrame},
};
use pulseward_device::{
    Device, Fate,
    queue::{FileQueue, Queue, QueueLimits, new_incarnation},
};
use pulseward_eventlog::{Body, Topic, body::DeviceStatus};

use crate::{
    client::{Client, batch, batch_at, now},
    house::{House, quick, reading, until},
};

fn queue() -> Incarnation {
    new_incarnation(now())
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_a_duplicate_and_stored_once() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let identity = house.identity(&instance.link).await;
    let name = queue();
    let first = batch(&identity, name, 0, 700);
    for expect in [Outcome::Durable, Outcome::Duplicate] {
        let mut client = Client::enter(&house, &instance.link, &identity, name)
            .await
            .unwrap();
        let answer = client.ask(&first.payload).await.unwrap();
        assert_eq!((answer.d8, answer.outcome), (first.d8(), expect));
    }
    let client = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    let last = client.status.last_durable;
    assert_eq!(
        last,
        Some((Seq(0), first.digest)),
        "the welcome says so too"
    );
    assert_eq!(house.stored().await.len(), 1);
}

#[tokio::test]
async fn a14_of_two_batches_under_one_number_the_first_counts_and_the_device_is_suspended() {
    let house = House::new();
    let (one, other) = (house.start(quick()).await, house.start(quick()).await);
    let identity = house.identity(&one.link).await;
    let name = queue();
    until("the other instance knows the device", async || {
        Client::enter(&house, &other.link, &identity, name)
            .await
            .is_ok()
    })
    .await;
    let (real, cloned) = (
        batch(&identity, name, 0, 700),
        batch(&identity, name, 0, 701),
    );
    let mut device = Client::enter(&house, &one.link, &identity, name)
        .await
        .unwrap();
    assert_eq!(
        device.ask(&real.payload).await.unwrap().outcome,
        Outcome::Durable
    );
    let mut clone = Client::enter(&house, &one.link, &identity, name)
        .await
        .unwrap();
    let answer = clone.ask(&cloned.payload).await.unwrap();
    assert_eq!(answer.outcome, Outcome::Rejected(Reject::Forked));
    assert_eq!(clone.end().await.as_deref(), Some("not_admitted"));

    let stored = house.stored().await;
    let digests: Vec<_> = stored.iter().map(|batch| batch.digest()).collect();
    assert_eq!(digests, [real.digest]);
    let feed = house.bodies(Topic::Feed).await;
    let is_on_record = |body: &Body| matches!(body, Body::Void(void) if void.digest == cloned.digest && void.code == Reject::Forked);
    assert!(feed.iter().any(is_on_record));
    let devices = house.bodies(Topic::Devices).await;
    let Some(Body::Device(value)) = devices.last() else {
        panic!("{devices:?}");
    };
    assert_eq!(value.status, DeviceStatus::Suspended);
    until("it is out everywhere", async || {
        let entered = Client::enter(&house, &other.link, &identity, name).await;
        entered.is_err_and(|error| error.word() == Some("not_admitted"))
    })
    .await;
}

#[tokio::test]
async fn a15_a_device_restored_from_a_copy_loses_nothing_and_forks_nothing() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let identity = house.identity(&instance.link).await;
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let limits = QueueLimits::default();

    let opened = |path: &std::path::Path| {
        let older = FileQueue::open_all(path, limits).unwrap();
        let current = FileQueue::create(path, queue(), limits).unwrap();
        Device::new(
            identity.clone(),
            house.device_clock(),
            older
                .into_iter()
                .map(|queue| Box::new(queue) as Box<dyn Queue>)
                .collect(),
            Box::new(current),
            1000,
        )
    };
    let device = opened(&live);
    for value in 0..5 {
        device.collect(&reading(now(), 700 + value)).unwrap();
    }
    // The copy is made before anything was sent: it holds all five.
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(&live).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let stop = house.run(&device, &instance.link);
    for value in 0..5 {
        device.collect(&reading(now(), 800 + value)).unwrap();
    }
    until("the first life has sent", async || device.waiting() == 0).await;
    stop.cancel();

    let restored = opened(&copy);
    for value in 0..5 {
        restored.collect(&reading(now(), 900 + value)).unwrap();
    }
    let stop = house.run(&restored, &instance.link);
    until("the restored one has sent", async || {
        restored.waiting() == 0
    })
    .await;
    stop.cancel();

    let fates: Vec<_> = restored
        .ledger()
        .entries()
        .map(|entry| entry.fate)
        .collect();
    assert_eq!(
        fates,
        [Some(Fate::Durable); 5],
        "nothing new is called known"
    );
    assert_eq!(house.stored().await.len(), 15);
    assert_eq!(instance.metrics.rejected(Reject::Forked), 0);
}

#[tokio::test]
async fn a16_bad_signatures_move_no_window_and_end_the_session() {
    let house = House::new();
    let settings = pulseward_ingest::Settings {
        faults: 3,
        ..quick()
    };
    let instance = house.start(settings).await;
    let identity = house.identity(&instance.link).await;
    let name = queue();
    let mut forger = identity.clone();
    forger.key = std::sync::Arc::new(SigningKey::generate());
    let mut client = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    for seq in [u64::MAX - 1, 500, 70, 0] {
        let forged = batch(&forger, name, seq, 700);
        let answer = client.ask(&forged.payload).await.unwrap();
        assert_eq!(answer.outcome, Outcome::Rejected(Reject::BadSignature));
        assert_ne!(answer.d8, [0; 8]);
    }
    assert_eq!(client.end().await.as_deref(), Some("over_limit"));

    let mut client = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    let last = batch(&identity, name, u64::MAX, 700);
    let answer = client.ask(&last.payload).await.unwrap();
    assert_eq!(answer.outcome, Outcome::Rejected(Reject::Malformed));
    for seq in [0, 1] {
        let real = batch(&identity, name, seq, 700);
        let answer = client.ask(&real.payload).await.unwrap();
        assert_eq!(answer.outcome, Outcome::Durable);
    }
    assert_eq!(house.stored().await.len(), 2);
}

#[tokio::test]
async fn a17_a_batch_in_any_other_spelling_is_rejected_whole() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let identity = house.identity(&instance.link).await;
    let name = queue();
    let good = batch(&identity, name, 0, 700).payload;
    // incarnation 16, seq 8, time 8, seed 32, mode 1, signature 64; then the count of leaves.
    let columns = 129;
    let changed = |at: usize, bytes: &[u8]| {
        let mut payload = good.clone();
        payload.splice(at..at + bytes.len(), bytes.iter().copied());
        payload
    };
    let cases = [
        (changed(64, &[2]), Reject::Malformed),
        (changed(columns, &[0, 0]), Reject::Malformed),
        (changed(columns, &[255, 255]), Reject::TooLarge),
        (changed(columns + 2, &[9]), Reject::UnknownKind),
        (changed(columns + 3, &[0xff, 0x7f]), Reject::UnknownKind),
        (changed(columns + 6, &[0, 0, 0, 0]), Reject::Malformed),
        (
            changed(columns + 6, &[255, 255, 255, 255]),
            Reject::TooLarge,
        ),
        ([&good[..], &[0]].concat(), Reject::Malformed),
        (good[..good.len() - 1].to_vec(), Reject::Malformed),
    ];
    let mut client = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    for (payload, reject) in cases {
        let answer = client.ask(&payload).await.unwrap();
        assert_eq!(answer.outcome, Outcome::Rejected(reject));
        assert_eq!(answer.seq, Seq(0));
    }
    assert!(house.stored().await.is_empty());
    assert_eq!(client.ask(&good).await.unwrap().outcome, Outcome::Durable);
    // One that does not even have a number cannot be answered.
    client.send(&[vec![0; 10]]).await;
    assert_eq!(client.end().await.as_deref(), Some("malformed"));
}

#[tokio::test]
async fn a_kind_outside_the_scope_and_a_time_outside_the_backlog_are_rejected() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let key = std::sync::Arc::new(SigningKey::generate());
    // Oxygen only.
    let ticket = house.ticket_for(&house.root.kid(), 1 << 2);
    let narrow = pulseward_device::enrol(&instance.link, &house.device_clock(), key, &ticket, &[])
        .await
        .unwrap();
    let name = queue();
    let mut client = Client::enter(&house, &instance.link, &narrow, name)
        .await
        .unwrap();
    let outside = batch(&narrow, name, 0, 700);
    let answer = client.ask(&outside.payload).await.unwrap();
    assert_eq!(answer.outcome, Outcome::Rejected(Reject::OutOfScope));
    assert_eq!(answer.d8, outside.d8());

    let wide = house.identity(&instance.link).await;
    let mut client = Client::enter(&house, &instance.link, &wide, name)
        .await
        .unwrap();
    let day = std::time::Duration::from_hours(24);
    let cases = [
        (now().minus(31 * day), Outcome::Rejected(Reject::TooOld)),
        (now().minus(29 * day), Outcome::Durable),
        (now().plus(day), Outcome::Durable),
    ];
    for ((time, expect), seq) in cases.into_iter().zip(0..) {
        let late = batch_at(&wide, name, seq, 700, time);
        assert_eq!(client.ask(&late.payload).await.unwrap().outcome, expect);
    }
}

#[tokio::test]
async fn a_batch_of_one_device_is_refused_in_the_session_of_another() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let (one, other) = (
        house.identity(&instance.link).await,
        house.identity(&instance.link).await,
    );
    let name = queue();
    let mut client = Client::enter(&house, &instance.link, &other, name)
        .await
        .unwrap();
    let answer = client
        .ask(&batch(&one, name, 0, 700).payload)
        .await
        .unwrap();
    assert_eq!(answer.outcome, Outcome::Rejected(Reject::BadSignature));
    let sealed = client.session.seal(&UpFrame::Enrol(vec![0; 500])).unwrap();
    client.link.send_frame(sealed).await.unwrap();
    assert_eq!(client.end().await.as_deref(), Some("wrong_session"));
    assert!(house.stored().await.is_empty());
}
