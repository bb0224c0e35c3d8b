//! Holds what devices know against what the pipeline stored, once both programs have ended: every
//! acknowledged batch must stand in the log, in the scores and in the history, each with one effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Context as _;
use pulseward_base::{AlertId, Incarnation, Kid, Offset, Partition, Seq};
use pulseward_custody::Passphrase;
use pulseward_device::{Fate, Ledger};
use pulseward_eventlog::{Body, Content, Entry, Log, ReadLimits, Topic};
use pulseward_history::{Store, store::BatchName};
use zeroize::Zeroizing;

use crate::{foundation::Foundation, home::Home};

/// What was found.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Acknowledged batches that log, scores or history miss.
    pub lost: u64,
    /// Batches that took effect more than once, in scores or history.
    pub doubled: u64,
    /// Batches in the store that no ledger knows: wrongly accepted.
    pub foreign: u64,
    /// Alerts raised, each counted once.
    pub alerts: u64,
    /// Rows of readings in the history.
    pub stored_rows: u64,
    /// Whether every stored row is what its device signed.
    pub verified: bool,
}

type Name = (Kid, Incarnation, Seq);

/// Where one batch stands.
#[derive(Debug, Default)]
struct Seen {
    /// In the log: a device that lost an answer may have sent it twice.
    logged: u32,
    /// Positions of it that were scored.
    scored: u32,
    /// Times it is stored, and its rows.
    stored: u32,
    rows: u64,
}

/// Reads both programs' stores and compares them with `ledgers`.
pub async fn reconcile(
    home: &Home,
    passphrase: &Zeroizing<String>,
    ledgers: &[Ledger],
) -> anyhow::Result<Reconciled> {
    let passphrase = Passphrase::new(passphrase.as_str().to_owned());
    let (foundation, _) = Foundation::open_with(home, &passphrase)?;
    let log = foundation
        .log(home)
        .await
        .context("couldn't open the log to reconcile")?;
    let mut seen: BTreeMap<Name, Seen> = BTreeMap::new();
    let mut alerts = BTreeSet::new();
    for partition in (0..log.partitions()).map(Partition) {
        read_partition(&log, partition, &mut seen, &mut alerts).await?;
    }
    let directory = home.history();
    let keys = Arc::new(foundation.registry.clone());
    let store = Store::open(&directory, Arc::clone(&keys) as _, foundation.root).await?;
    for (
        BatchName {
            kid,
            incarnation,
            seq,
        },
        counted,
    ) in store.batches().await?
    {
        let entry = seen.entry((kid, incarnation, seq)).or_default();
        entry.stored = counted.times;
        entry.rows = counted.rows;
    }
    let report = pulseward_history::verify(&directory, keys, foundation.root).await?;
    for finding in &report.findings {
        tracing::error!(partition = finding.partition.0, fault = %finding.fault, "the history does not hold");
    }
    let mut reconciled = compare(&seen, ledgers);
    reconciled.alerts = alerts.len() as u64;
    reconciled.stored_rows = store.stored_rows();
    reconciled.verified = report.holds();
    Ok(reconciled)
}

async fn read_partition(
    log: &Log,
    partition: Partition,
    seen: &mut BTreeMap<Name, Seen>,
    alerts: &mut BTreeSet<AlertId>,
) -> anyhow::Result<()> {
    let mut at: BTreeMap<Offset, Name> = BTreeMap::new();
    each(log, Topic::Feed, partition, |entry| {
        if let Content::Batch(batch) = entry.content {
            let name = (
                batch.device,
                batch.contents.place.incarnation,
                batch.contents.place.seq,
            );
            seen.entry(name).or_default().logged += 1;
            at.insert(entry.position.offset, name);
        }
    })
    .await?;
    let mut scored = BTreeSet::new();
    each(log, Topic::Scores, partition, |entry| {
        if let Some(outputs) = entry.outputs {
            scored.insert(outputs.cause.position.offset);
        }
    })
    .await?;
    for name in scored.iter().filter_map(|offset| at.get(offset)) {
        seen.entry(*name).or_default().scored += 1;
    }
    each(log, Topic::Alerts, partition, |entry| {
        if let Content::Body(Body::Alert(alert)) = entry.content {
            alerts.insert(alert.id);
        }
    })
    .await
}

async fn each(
    log: &Log,
    topic: Topic,
    partition: Partition,
    mut show: impl FnMut(Entry),
) -> anyhow::Result<()> {
    let mut from = log.bounds(topic, partition).await?.start;
    loop {
        let entries = log
            .read(topic, partition, from, ReadLimits::default())
            .await?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        from = Offset(last.position.offset.0 + 1);
        entries.into_iter().for_each(&mut show);
    }
}

fn compare(seen: &BTreeMap<Name, Seen>, ledgers: &[Ledger]) -> Reconciled {
    let mut reconciled = Reconciled::default();
    let mut known = BTreeSet::new();
    for ledger in ledgers {
        for entry in ledger.entries() {
            let name = (ledger.device, entry.incarnation, entry.seq);
            known.insert(name);
            let found = seen.get(&name);
            let (logged, scored, stored, rows) = found.map_or((0, 0, 0, 0), |seen| {
                (seen.logged, seen.scored, seen.stored, seen.rows)
            });
            let acknowledged = matches!(entry.fate, Some(Fate::Durable | Fate::Duplicate));
            let whole = logged >= 1 && scored >= 1 && stored >= 1 && rows >= entry.rows as u64;
            if acknowledged && !whole {
                tracing::error!(
                    logged,
                    scored,
                    stored,
                    rows,
                    expected = entry.rows,
                    "a batch is lost"
                );
                reconciled.lost += 1;
            }
            if scored > 1 || stored > 1 || rows > entry.rows as u64 {
                tracing::error!(
                    logged,
                    scored,
                    stored,
                    rows,
                    expected = entry.rows,
                    "a batch is doubled"
                );
                reconciled.doubled += 1;
            }
        }
    }
    reconciled.foreign = seen.keys().filter(|name| !known.contains(*name)).count() as u64;
    reconciled
}
