//! What happens to a device that does everything right.

use std::{sync::Arc, time::Duration};

use pulseward_base::Clock;
use pulseward_device::{Fate, Fleet, FleetSettings};
use pulseward_eventlog::{Body, Topic};
use pulseward_ingest::metrics::Taken;

use crate::house::{House, PATIENCE, quick, reading, until};

#[tokio::test]
async fn what_a_device_collects_is_in_the_log_as_it_was_signed() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let device = house.device(house.identity(&instance.link).await);
    for value in 0..100 {
        device
            .collect(&reading(house.clock.now(), 600 + value))
            .unwrap();
    }
    let stop = house.run(&device, &instance.link);
    until("all is answered", async || device.waiting() == 0).await;
    stop.cancel();

    let ledger = device.ledger();
    let mut acknowledged: Vec<_> = ledger.acknowledged().map(|entry| entry.digest).collect();
    let stored = house.stored().await;
    let mut kept: Vec<_> = stored.iter().map(|batch| batch.digest()).collect();
    let order: Vec<_> = stored
        .iter()
        .map(|batch| batch.contents.place.seq.0)
        .collect();
    assert_eq!(order, (0..100).collect::<Vec<_>>(), "in the device's order");
    acknowledged.sort();
    kept.sort();
    assert_eq!(acknowledged, kept);
    let key = device.identity().key.verifying_key();
    let context = device.identity().context();
    for batch in &stored {
        batch.verify(&key, &context).unwrap();
    }
    assert_eq!(instance.metrics.accepted(Taken::Durable), 100);
    instance.drain().await.unwrap();
}

#[tokio::test]
async fn enrolling_writes_the_bind_before_the_device_and_spends_the_ticket() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let identity = house.identity(&instance.link).await;
    let feed = house.bodies(Topic::Feed).await;
    let binds = feed.iter().filter(|body| matches!(body, Body::Bind(_)));
    assert_eq!(binds.count(), 1);
    let devices = house.bodies(Topic::Devices).await;
    let [Body::Device(device)] = &devices[..] else {
        panic!("one device: {devices:?}");
    };
    assert_eq!(device.device, identity.kid());
    assert_eq!(device.record, identity.context());
    assert_eq!(house.bodies(Topic::Control).await.len(), 1);
}

#[tokio::test]
async fn every_partition_gets_ticks_whose_times_rise() {
    let house = House::new();
    let settings = pulseward_ingest::Settings {
        tick_interval: Duration::from_millis(20),
        ..quick()
    };
    let instance = house.start(settings).await;
    let ticks = async || {
        let feed = house.bodies(Topic::Feed).await;
        let time = |body: Body| match body {
            Body::Tick(tick) => Some(tick.time),
            _ => None,
        };
        feed.into_iter().filter_map(time).collect::<Vec<_>>()
    };
    until("there are ticks", async || ticks().await.len() >= 12).await;
    instance.drain().await.unwrap();
    let ticks = ticks().await;
    let partitions = 4;
    let each = ticks.len() / partitions;
    for of_one in ticks.chunks(each).take(partitions) {
        assert!(of_one.is_sorted());
    }
}

#[tokio::test]
async fn a_fleet_loses_and_doubles_nothing() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let tickets = (0..8).map(|_| house.ticket()).collect();
    let settings = FleetSettings {
        interval: Duration::from_millis(50),
        silent_after: Duration::from_millis(500),
        ..FleetSettings::new(instance.link.clone(), tickets)
    };
    let fleet = Fleet::start(settings, Arc::clone(&house.clock) as Arc<dyn Clock>);
    until("each has sent", async || {
        let snapshot = fleet.snapshot();
        fleet.is_enrolled() && snapshot.devices.iter().all(|view| view.counts.durable >= 3)
    })
    .await;
    let ledgers = fleet.stop(PATIENCE).await;
    instance.drain().await.unwrap();

    let made: usize = ledgers.iter().map(|ledger| ledger.entries().count()).sum();
    let mut sent: Vec<_> = ledgers
        .iter()
        .flat_map(|ledger| ledger.entries())
        .inspect(|entry| assert_eq!(entry.fate, Some(Fate::Durable)))
        .map(|entry| entry.digest)
        .collect();
    let stored = house.stored().await;
    let mut kept: Vec<_> = stored.iter().map(|batch| batch.digest()).collect();
    sent.sort();
    kept.sort();
    assert_eq!(sent.len(), made);
    assert_eq!(sent, kept);
}
