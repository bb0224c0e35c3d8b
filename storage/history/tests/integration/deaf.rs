//! A log that does not answer for a while, and what history shows of that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus::Registry;
use pulseward_base::{Clock as _, Partition, WriterId};
use pulseward_custody::KeySource;
use pulseward_eventlog::{
    Body, LogError, NewEntry,
    body::{Role, Tick},
    testing,
};
use pulseward_history::{Historian, HistorianTools, Metrics};
use tokio_util::sync::CancellationToken;

use crate::world::{World, partitions};

async fn tick(world: &World) {
    let tick = Tick {
        source: WriterId([1; 16]),
        role: Role::Ingest,
        time: world.clock.now(),
    };
    let entry = NewEntry::for_log(Partition(0), Body::Tick(tick));
    world.log.append(entry).await.unwrap();
}

/// Waits until the registry shows a lag that `holds`, doing `meanwhile` again and again.
async fn lag_shown(registry: &Registry, holds: impl Fn(f64) -> bool, meanwhile: impl AsyncFn()) {
    let shown = async {
        loop {
            let families = registry.gather();
            let mut lags = families
                .iter()
                .filter(|family| family.name() == "pulseward_history_lag_seconds");
            let lag = lags.next().unwrap().get_metric()[0].get_gauge().get_value();
            if holds(lag) {
                return;
            }
            meanwhile().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, shown).await.unwrap();
}

#[tokio::test]
async fn b1_a_log_that_answers_again_ends_the_lag_also_where_nothing_waits_to_be_stored() {
    let mut world = World::new().await;
    let is_deaf = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&is_deaf);
    let deaf = testing::Filtered {
        inner: Arc::clone(world.log.backend()),
        filter: Box::new(move |read| {
            let answers = !heard.load(Ordering::SeqCst);
            answers.then_some(read).ok_or(LogError::Deadline)
        }),
    };
    let keys = Arc::clone(&world.keys) as Arc<dyn KeySource>;
    world.log = testing::log_on(Arc::new(deaf), keys).await;
    let registry = Registry::new();
    let tools = HistorianTools {
        log: world.log.clone(),
        keys: world.file_keys(),
        signer: world.signer(),
        root: world.root(),
        clock: Arc::clone(&world.clock) as _,
        metrics: Metrics::new(&registry).unwrap(),
    };
    let historian = Historian::new(world.settings(), tools);
    let progress = historian.progress();
    let stop = CancellationToken::new();
    let running = tokio::spawn(historian.run(partitions(), stop.clone()));
    while progress.all().len() < partitions().len() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    is_deaf.store(true, Ordering::SeqCst);
    tick(&world).await;
    let time_goes_on = async || world.clock.advance(Duration::from_secs(1));
    lag_shown(&registry, |lag| lag >= 90.0, time_goes_on).await;
    is_deaf.store(false, Ordering::SeqCst);
    lag_shown(&registry, |lag| lag < 1.0, async || tick(&world).await).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}
