//! What must not be lost or doubled when things break.

use std::{collections::BTreeSet, time::Duration};

use pulseward_base::{Clock, Seq};
use pulseward_crypto::frame::Outcome;
use pulseward_device::queue::new_incarnation;
use pulseward_eventlog::testing;
use pulseward_ingest::{
    Settings,
    metrics::{Taken, Wait},
};
use pulseward_proto_pipeline::v1::{down::Message as DownMessage, up::Message as UpMessage};

use crate::{
    balancer::{Balancer, Deed, Passing},
    client::{Client, batch, now},
    house::{House, quick, reading, until},
};

#[tokio::test]
async fn b2_after_retry_on_one_with_eight_behind_it_all_are_stored_once() {
    let house = House::new();
    let settings = Settings {
        // One batch at a time for all: whoever sends two is told to come again.
        total_in_flight: 1,
        ..quick()
    };
    let instance = house.start(settings).await;
    let identity = house.identity(&instance.link).await;
    let name = new_incarnation(now());
    let device = house.device(identity);
    for value in 0..60 {
        device
            .collect(&reading(house.clock.now(), 600 + value))
            .unwrap();
    }
    let stop = house.run(&device, &instance.link);
    until("all is answered", async || device.waiting() == 0).await;
    stop.cancel();
    assert!(instance.metrics.retried(Wait::InFlight) > 0);
    assert!(instance.metrics.retried(Wait::Behind) > 0);
    let stored = house.stored().await;
    let order: Vec<_> = stored
        .iter()
        .map(|batch| batch.contents.place.seq.0)
        .collect();
    assert_eq!(order, (0..60).collect::<Vec<_>>(), "each once, in order");
    assert_ne!(stored[0].contents.place.incarnation, name);
}

#[tokio::test]
async fn b2_what_follows_a_batch_that_must_come_again_is_refused_until_it_does() {
    let house = House::new();
    let settings = Settings {
        total_in_flight: 1,
        ..quick()
    };
    let instance = house.start(settings).await;
    let identity = house.identity(&instance.link).await;
    let name = new_incarnation(now());
    let mut client = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    let payloads: Vec<_> = (0..9)
        .map(|seq| batch(&identity, name, seq, 700).payload)
        .collect();
    client.send(&payloads).await;
    let answers = client.answers(9).await.unwrap();
    let mut told: Vec<_> = answers
        .iter()
        .map(|answer| (answer.seq.0, answer.outcome == Outcome::Durable))
        .collect();
    told.sort_unstable();
    let durable = told.iter().take_while(|(_, durable)| *durable).count();
    assert!(durable >= 1);
    assert!(
        told[durable..].iter().all(|(_, durable)| !durable),
        "{told:?}"
    );
    assert_eq!(house.stored().await.len(), durable);
}

/// Sends through a balancer that swallows every answer, and ends the service when all has been
/// appended: what the device then knows is nothing.
async fn appended_but_never_answered(count: i32) -> (House, pulseward_device::Device, Balancer) {
    let house = House::new();
    let mut first = house.start(quick()).await;
    let device = house.device(house.identity(&first.link).await);
    let balancer = Balancer::start(&house, &first.link).await;
    balancer.rule(|passing| match passing {
        Passing::Down(DownMessage::Frame(_)) => Deed::Drop,
        _ => Deed::Pass,
    });
    for value in 0..count {
        device
            .collect(&reading(house.clock.now(), 600 + value))
            .unwrap();
    }
    house.run(&device, &balancer.link);
    let all = usize::try_from(count).unwrap();
    until("all is appended", async || {
        house.stored().await.len() == all
    })
    .await;
    first.kill();
    assert_eq!(device.waiting(), all, "nothing was answered");
    (house, device, balancer)
}

#[tokio::test]
async fn b3_killed_between_append_and_ack_each_is_one_row_and_answered() {
    let (house, device, balancer) = appended_but_never_answered(20).await;
    let next = house.start(quick()).await;
    balancer.turn_to(&next.link);
    balancer.rule(|_| Deed::Pass);
    device.collect(&reading(house.clock.now(), 900)).unwrap();
    until("all is answered", async || device.waiting() == 0).await;
    assert_eq!(house.stored().await.len(), 21, "each once");
    let counts = device.counts();
    assert_eq!(counts.duplicate, 20);
    assert_eq!(counts.durable, 1);
    assert_eq!(next.metrics.accepted(Taken::Durable), 1);
}

#[tokio::test]
async fn b3_killed_again_and_again_while_a_device_sends_nothing_is_lost_or_doubled() {
    let house = House::new();
    let mut instance = house.start(quick()).await;
    let device = house.device(house.identity(&instance.link).await);
    let balancer = Balancer::start(&house, &instance.link).await;
    let stop = house.run(&device, &balancer.link);
    for round in 0..12 {
        for value in 0..25 {
            device
                .collect(&reading(house.clock.now(), 600 + value))
                .unwrap();
        }
        let some = round * 25 + 1 + round % 7;
        until("something is answered", async || {
            let counts = device.counts();
            counts.durable + counts.duplicate >= some
        })
        .await;
        instance.kill();
        instance = house.start(quick()).await;
        balancer.turn_to(&instance.link);
    }
    until("all is answered", async || device.waiting() == 0).await;
    stop.cancel();
    let stored = house.stored().await;
    let seqs: BTreeSet<_> = stored
        .iter()
        .map(|batch| batch.contents.place.seq)
        .collect();
    assert_eq!(seqs.len(), 300, "none lost");
    assert_eq!(stored.len(), 300, "none doubled");
}

#[tokio::test]
async fn b4_what_a_stopped_instance_still_holds_is_no_loss_and_no_fork() {
    let house = House::new();
    let (a, b) = (house.start(quick()).await, house.start(quick()).await);
    let identity = house.identity(&a.link).await;
    let name = new_incarnation(now());
    until("both know the device", async || {
        Client::enter(&house, &b.link, &identity, name)
            .await
            .is_ok()
    })
    .await;
    let batches: Vec<_> = (0..20)
        .map(|seq| batch(&identity, name, seq, 700))
        .collect();
    // To A they are sealed, and held up on the way; the device gives up and finishes at B.
    let mut at_a = Client::enter(&house, &a.link, &identity, name)
        .await
        .unwrap();
    let mut at_b = Client::enter(&house, &b.link, &identity, name)
        .await
        .unwrap();
    for batch in &batches {
        let answer = at_b.ask(&batch.payload).await.unwrap();
        assert_eq!(answer.outcome, Outcome::Durable);
    }
    let payloads: Vec<_> = batches.iter().map(|batch| batch.payload.clone()).collect();
    at_a.send(&payloads).await;
    for answer in at_a.answers(20).await.unwrap() {
        assert!(matches!(
            answer.outcome,
            Outcome::Durable | Outcome::Duplicate
        ));
    }
    // Two instances on one log know of each other's batches only by the log: readers, who drop
    // doubles by number and digest, have each once.
    let stored = house.stored().await;
    let distinct: BTreeSet<_> = stored
        .iter()
        .map(|batch| (batch.contents.place.seq, batch.digest()))
        .collect();
    assert_eq!(distinct.len(), 20);
}

#[tokio::test]
async fn b17_a_full_log_tells_devices_to_wait_and_keeps_what_it_acknowledged() {
    let settings = pulseward_eventlog::embedded::Settings {
        segment_bytes: 256 << 10,
        max_bytes: 512 << 10,
        reserve_bytes: 16 << 10,
        ..testing::settings(1)
    };
    let house = House::with_log(settings);
    let instance = house.start(quick()).await;
    let device = house.device(house.identity(&instance.link).await);
    for value in 0..2000 {
        device
            .collect(&reading(house.clock.now(), 600 + value % 100))
            .unwrap();
    }
    let stop = house.run(&device, &instance.link);
    until("the log is full", async || {
        instance.metrics.retried(Wait::LogFull) > 0
    })
    .await;
    stop.cancel();
    assert_eq!(device.counts().rejected, 0);
    let ledger = device.ledger();
    let acknowledged: BTreeSet<_> = ledger.acknowledged().map(|entry| entry.digest).collect();
    let stored: BTreeSet<_> = house
        .stored()
        .await
        .iter()
        .map(|batch| batch.digest())
        .collect();
    assert!(acknowledged.is_subset(&stored));
    assert_eq!(
        device.waiting() + acknowledged.len(),
        2000,
        "the rest still waits in the device"
    );
}

#[tokio::test]
async fn a_device_that_was_away_drains_its_backlog_from_the_first_unanswered() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let device = house.device(house.identity(&instance.link).await);
    let balancer = Balancer::start(&house, &instance.link).await;
    let stop = house.run(&device, &balancer.link);
    device.collect(&reading(house.clock.now(), 600)).unwrap();
    until("the first is answered", async || device.waiting() == 0).await;
    balancer.rule(|passing| match passing {
        Passing::Up(UpMessage::Hello(_)) => Deed::End(Ok(())),
        Passing::Up(UpMessage::Frame(_)) => Deed::End(Ok(())),
        Passing::Down(_) => Deed::Pass,
    });
    for value in 0..500 {
        device
            .collect(&reading(house.clock.now(), 600 + value % 99))
            .unwrap();
    }
    until("streams are lost", async || device.counts().losses >= 2).await;
    assert_eq!(device.waiting(), 500);
    balancer.rule(|_| Deed::Pass);
    until("all is answered", async || device.waiting() == 0).await;
    stop.cancel();
    let stored = house.stored().await;
    let order: Vec<_> = stored
        .iter()
        .map(|batch| batch.contents.place.seq)
        .collect();
    assert_eq!(order, (0..=500).map(Seq).collect::<Vec<_>>());
    assert!(Duration::from_secs(60) > house.clock.monotonic());
}
