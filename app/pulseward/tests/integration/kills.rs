//! The pipeline's process is killed as a power cut kills it, over and over, and nothing that it
//! acknowledged is lost or takes effect twice.
//!
//! `PULSEWARD_CAMPAIGN` makes it a campaign: its number of kills, or 200 where it says 1.

use std::{sync::Arc, time::Duration};

use pulseward::{
    config::Config,
    demo::reconcile::{Reconciled, reconcile},
    home::Home,
};
use pulseward_app::SystemClock;
use pulseward_base::Kid;
use pulseward_device::{Fleet, FleetSettings, Ledger, dice::Dice};
use zeroize::Zeroizing;

use crate::{
    demo::Demo,
    ward::{PATIENCE, Ward},
};

/// How many kills each of the two tests makes.
fn kills() -> u32 {
    match std::env::var("PULSEWARD_CAMPAIGN").as_deref() {
        Err(_) => 20,
        Ok("1") => 200,
        Ok(number) => number.parse().expect("PULSEWARD_CAMPAIGN is a number"),
    }
}

#[test]
fn the_demo_loses_and_doubles_nothing_through_its_kills() {
    let kills = kills();
    let seconds = 8 + 2 * kills;
    let arguments = [
        "--for",
        &format!("{seconds}s"),
        "--kills",
        &kills.to_string(),
        "--interval",
        "250ms",
    ];
    let patience = Duration::from_secs(120 + 3 * u64::from(seconds));
    let demo = Demo::run(&arguments, patience);
    demo.assert_whole();
    let made = demo.logged("killed and restarted", "kill");
    assert_eq!(made.len(), kills as usize, "of {kills} kills");
}

/// The demo kills a pipeline that is up; here death comes at any moment, so also while it starts,
/// replays or takes its files over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b3_kills_at_any_moment_lose_and_double_nothing() {
    let ward = Ward::with("[detector]\ncheckpoint_every = \"300ms\"\n");
    let vault = ward.serve();
    let mut pipeline = ward.up();
    let mut settings = FleetSettings::new(ward.link(), ward.tickets(4));
    settings.interval = Duration::from_millis(50);
    settings.longest_wait = Duration::from_millis(200);
    let fleet = Fleet::start(settings, Arc::new(SystemClock::start()));
    let mut dice = Dice::new(0xdead);
    let kills = kills();
    for _ in 0..kills {
        let life = Duration::from_secs_f64(dice.between(0.02, 1.5));
        tokio::time::sleep(life).await;
        pipeline.kill();
        pipeline = ward.pipeline.start(&["up"]);
    }
    let pipeline = pipeline.ready(ward.admin);
    let ledgers = fleet.stop(PATIENCE).await;
    ward.caught_up();
    pipeline.drain();
    drop(vault);

    let sent: usize = ledgers.iter().map(|ledger| ledger.entries().count()).sum();
    let acknowledged: usize = ledgers.iter().map(|l| l.acknowledged().count()).sum();
    assert_eq!((ledgers.len(), acknowledged), (4, sent));
    assert!(sent > 100, "{sent} batches");
    println!("{kills} kills, {sent} batches");
    // The measure is no blind one: what a device claims that never sent is missed in the stores.
    let mut claim = ledgers[0].clone();
    claim.device = Kid([7; 32]);
    let claimed = [ledgers.clone(), vec![claim]].concat();
    let never_sent = ledgers[0].entries().count() as u64;
    let found = reconciled(&ward, &claimed).await;
    assert_eq!(
        (found.lost, found.doubled, found.foreign),
        (never_sent, 0, 0)
    );
    assert!(found.verified);
    let rows = ledgers
        .iter()
        .flat_map(Ledger::entries)
        .map(|e| e.rows as u64);
    assert_eq!(found.stored_rows, rows.sum::<u64>());
}

pub(crate) async fn reconciled(ward: &Ward, ledgers: &[Ledger]) -> Reconciled {
    let directory = ward.pipeline.directory.clone();
    let config = Config::read(&directory, None).unwrap();
    let passphrase = Zeroizing::new(ward.pipeline.passphrase().to_owned());
    let home = Home { directory, config };
    reconcile(&home, &passphrase, ledgers).await.unwrap()
}
