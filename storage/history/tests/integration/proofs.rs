//! What `verify` proves, and that it names whatever does not hold.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use pulseward_base::{Micros, Partition};
use pulseward_batch::digest::{leaf_digest, leaf_salt};
use pulseward_custody::{
    FileKeys,
    dek::{Class, dek},
};
use pulseward_history::{
    Fault, Report, Settings,
    chain::{Chain, ChainReader, Change, manifest_name},
    files::{Files, Patience, Placing},
    manifest::{FileEntry, chain_of},
    rows::{LeafProof, Proof, Reading, Rows, Salts},
    schema::FileKind,
    shelf::Directory,
};
use pulseward_vitals::Kind;

use crate::world::{Device, NOW, World, columns, leaf};

/// Somebody who holds every key of the store and its signing key, and changes what is in it.
struct Forger<'a> {
    world: &'a World,
    partition: Partition,
}

impl Forger<'_> {
    fn path(&self, folder: &str) -> PathBuf {
        self.world
            .home
            .path()
            .join(format!("p{:04}/{folder}", self.partition.0))
    }

    async fn chain(&self) -> Chain {
        let shelf = Directory::existing(&self.path("manifest"));
        let first = std::fs::read(self.path("manifest").join(manifest_name(0))).unwrap();
        let chain = chain_of(&first).unwrap();
        let key = FileKeys::open(self.world.keys.as_ref(), chain)
            .await
            .unwrap();
        let reader = ChainReader {
            shelf: Arc::new(shelf),
            partition: self.partition,
            chain,
            key: dek(&key, Class::Footer),
            root: self.world.root(),
        };
        Chain::claim(reader, Arc::new(self.world.signer()), NOW).unwrap()
    }

    /// Puts other rows in the place of one kind of file's, under good keys, hashes and signatures.
    async fn rewrite(&self, kind: FileKind, change: impl Fn(Rows) -> Rows) {
        let files = Files {
            shelf: Arc::new(Directory::existing(&self.path("data"))),
            keys: self.world.file_keys(),
            partition: self.partition,
            patience: Patience::ONCE,
        };
        let mut chain = self.chain().await;
        let head = chain.head().clone();
        let old: Vec<FileEntry> = head
            .files
            .values()
            .filter(|file| file.name.kind == kind)
            .cloned()
            .collect();
        let mut added = Vec::new();
        for file in &old {
            let rows = change(files.read(file).await.unwrap());
            let placing = Placing {
                epoch: head.epoch,
                commit: file.commit,
                level: file.level,
            };
            if !rows.is_empty() {
                added.push(files.write(rows, placing).await.unwrap());
            }
        }
        let change = Change {
            log: head.log,
            positions: head.positions,
            added,
            removed: old.iter().map(|file| file.name.id).collect(),
            marks: Vec::new(),
        };
        chain.commit(change, NOW).unwrap();
    }
}

async fn stored() -> (World, Device, Device) {
    let world = World::new().await;
    let one = world.enrol(1).await;
    // A second patient of the same partition, so that rows can be moved between them.
    let mut person = 2;
    let two = loop {
        let device = world.enrol(person).await;
        let partition = |device: &Device| world.log.partition_of(device.admission.slot);
        if partition(&device) == partition(&one) {
            break device;
        }
        person += 1;
    };
    for seq in 0..3 {
        world
            .log
            .append_batch(one.batch(seq, &columns(seq)))
            .await
            .unwrap();
        world
            .log
            .append_batch(two.batch(seq, &columns(seq)))
            .await
            .unwrap();
    }
    world.store_all(world.settings()).await.unwrap();
    (world, one, two)
}

fn forger<'a>(world: &'a World, device: &Device) -> Forger<'a> {
    Forger {
        world,
        partition: world.log.partition_of(device.admission.slot),
    }
}

async fn after_readings(change: impl Fn(&mut Vec<Reading>)) -> Report {
    let (world, one, _two) = stored().await;
    let rewrite = |rows| match rows {
        Rows::Readings(mut rows) => {
            change(&mut rows);
            Rows::Readings(rows)
        }
        other => other,
    };
    forger(&world, &one)
        .rewrite(FileKind::Readings, rewrite)
        .await;
    world.verify().await
}

fn faults(report: &Report) -> Vec<&Fault> {
    report
        .findings
        .iter()
        .map(|finding| &finding.fault)
        .collect()
}

#[tokio::test]
async fn a20_a_flipped_bit_of_any_signed_column_is_named_with_its_batch() {
    let flips: [fn(&mut Reading); 5] = [
        |row| row.raw ^= 1,
        |row| row.time = Micros(row.time.0 ^ 1),
        |row| row.quality ^= 1,
        |row| row.channel ^= 1,
        |row| row.kind = Kind::Glucose,
    ];
    for flip in flips {
        let report = after_readings(|rows| flip(&mut rows[3])).await;
        assert_eq!(faults(&report), [&Fault::NotSigned]);
        assert!(report.findings[0].batch.is_some() && report.findings[0].file.is_some());
        assert_eq!(report.verified, 5, "the other batches still hold");
    }
}

#[tokio::test]
async fn a20_a_row_moved_to_another_patient_or_batch_or_left_out_or_doubled_is_named() {
    let report = after_readings(|rows| {
        let other = rows
            .iter()
            .find(|row| row.pseudonym != rows[2].pseudonym)
            .unwrap()
            .pseudonym;
        rows[2].pseudonym = other;
    })
    .await;
    assert_eq!(faults(&report), [&Fault::MovedRow { row: 2 }]);

    let report = after_readings(|rows| {
        let (batch, pseudonym) = {
            let other = rows.iter().find(|row| row.batch != rows[0].batch).unwrap();
            (other.batch, other.pseudonym)
        };
        rows[0].batch = batch;
        rows[0].pseudonym = pseudonym;
    })
    .await;
    assert_eq!(faults(&report), [&Fault::NotSigned, &Fault::NotSigned]);

    let report = after_readings(|rows| {
        rows.remove(5);
    })
    .await;
    assert_eq!(faults(&report), [&Fault::NotSigned]);

    let report = after_readings(|rows| rows.push(rows[5])).await;
    assert_eq!(faults(&report), [&Fault::NotSigned]);

    let report = after_readings(|rows| {
        let stray = Reading {
            batch: 99,
            ..rows[0]
        };
        rows.push(stray);
    })
    .await;
    assert_eq!(faults(&report), [&Fault::NoProof]);
}

#[tokio::test]
async fn a8_a_batch_shown_under_another_device_enrolment_patient_or_number_is_named() {
    type Change = fn(&mut Proof, &Proof);
    let changes: [(Change, Fault); 5] = [
        (|proof, other| proof.kid = other.kid, Fault::NotBound),
        (
            |proof, other| proof.record_digest = other.record_digest,
            Fault::NotBound,
        ),
        (|proof, _| proof.seq.0 += 10, Fault::NotSigned),
        (|proof, _| proof.time.0 += 1, Fault::NotSigned),
        (
            |proof, other| proof.signature = other.signature,
            Fault::NotSigned,
        ),
    ];
    for (change, fault) in changes {
        let (world, one, two) = stored().await;
        let rewrite = |rows| {
            let Rows::Proofs(mut rows) = rows else {
                return rows;
            };
            let other = rows
                .iter()
                .find(|row| row.kid == two.key.kid())
                .unwrap()
                .clone();
            let mine = rows
                .iter_mut()
                .find(|row| row.kid == one.key.kid())
                .unwrap();
            change(mine, &other);
            Rows::Proofs(rows)
        };
        forger(&world, &one)
            .rewrite(FileKind::Proofs, rewrite)
            .await;
        let report = world.verify().await;
        assert!(
            faults(&report).contains(&&fault),
            "{fault:?}: {:?}",
            report.findings
        );
        assert_eq!(report.verified, 5);
    }
}

#[tokio::test]
async fn a20_a_batch_moved_whole_to_another_patient_is_named() {
    let (world, one, two) = stored().await;
    let (from, to) = (one.admission.pseudonym, two.admission.pseudonym);
    let forger = forger(&world, &one);
    let readings = |rows| {
        let Rows::Readings(mut rows) = rows else {
            return rows;
        };
        rows.iter_mut()
            .filter(|row| row.pseudonym == from)
            .for_each(|row| row.pseudonym = to);
        Rows::Readings(rows)
    };
    let proofs = |rows| {
        let Rows::Proofs(mut rows) = rows else {
            return rows;
        };
        rows.iter_mut()
            .filter(|row| row.pseudonym == from)
            .for_each(|row| row.pseudonym = to);
        Rows::Proofs(rows)
    };
    forger.rewrite(FileKind::Readings, readings).await;
    forger.rewrite(FileKind::Proofs, proofs).await;
    let report = world.verify().await;
    assert_eq!(faults(&report), [&Fault::NotBound; 3]);
}

#[tokio::test]
async fn a_batch_stored_twice_is_named() {
    let (world, one, _two) = stored().await;
    let rewrite = |rows| {
        let Rows::Proofs(mut rows) = rows else {
            return rows;
        };
        let again = rows[0].clone();
        rows.push(again);
        Rows::Proofs(rows)
    };
    forger(&world, &one)
        .rewrite(FileKind::Proofs, rewrite)
        .await;
    assert!(faults(&world.verify().await).contains(&&Fault::Twice));
}

#[tokio::test]
async fn a20_a_file_altered_on_the_disk_swapped_or_lost_is_named() {
    let (world, one, _two) = stored().await;
    let data = forger(&world, &one).path("data");
    let files: Vec<_> = crate::world::names(&data)
        .into_iter()
        .map(|name| data.join(name))
        .collect();
    let file = files
        .iter()
        .find(|file| file.to_string_lossy().contains("readings"))
        .unwrap();
    let good = std::fs::read(file).unwrap();
    let mut altered = good.clone();
    altered[good.len() / 2] ^= 1;
    std::fs::write(file, altered).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let report = world.verify().await;
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.file.as_ref() == Some(&name))
    );
    let other = files
        .iter()
        .find(|other| other.to_string_lossy().contains("proofs"))
        .unwrap();
    std::fs::write(file, std::fs::read(other).unwrap()).unwrap();
    assert!(!world.verify().await.holds());
    std::fs::remove_file(file).unwrap();
    assert!(!world.verify().await.holds());
    std::fs::write(file, good).unwrap();
    assert!(world.verify().await.holds());
}

#[tokio::test]
async fn a_chain_that_was_rolled_back_behind_signed_heads_is_named() {
    let (world, one, _two) = stored().await;
    assert!(world.verify().await.holds());
    let manifests = forger(&world, &one).path("manifest");
    let newest = crate::world::names(&manifests).pop().unwrap();
    std::fs::remove_file(manifests.join(newest)).unwrap();
    let report = world.verify().await;
    assert!(
        matches!(faults(&report)[..], [Fault::RolledBack(_)]),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn a19_what_retention_drops_is_gone_beyond_guessing_and_the_rest_is_still_proven() {
    let (world, one, two) = stored().await;
    let seed_of = |proofs: &[Proof]| -> BTreeMap<_, _> {
        let seed = |proof: &Proof| match &proof.salts {
            Salts::Seed(seed) => *seed,
            Salts::Leaves(_) => panic!("nothing was withheld yet"),
        };
        proofs
            .iter()
            .map(|proof| ((proof.kid, proof.seq), seed(proof)))
            .collect()
    };
    let seeds = seed_of(&proofs(&world).await);
    // Heart rates are kept for a minute; merging happens with the next commit.
    world.clock.advance(Duration::from_secs(600));
    let settings = Settings {
        compact_commits: 2,
        retention: [(Kind::HeartRate, Duration::from_secs(60))].into(),
        ..world.settings()
    };
    for device in [&one, &two] {
        world
            .log
            .append_batch(device.batch(3, &columns(3)))
            .await
            .unwrap();
    }
    world.store_all(settings).await.unwrap();
    let report = world.verify().await;
    assert_eq!(report.findings, []);
    assert_eq!(
        (report.verified, report.withheld),
        (8, 8),
        "verified, one series withheld of each"
    );
    let see = |_: Partition, rows| {
        let Rows::Readings(rows) = rows else { return };
        assert!(rows.iter().all(|row| row.kind != Kind::HeartRate));
    };
    world
        .open()
        .await
        .rows(FileKind::Readings, see)
        .await
        .unwrap();
    for proof in proofs(&world).await {
        if let Some(seed) = seeds.get(&(proof.kid, proof.seq)) {
            check_beyond_guessing(&proof, seed);
        }
    }
}

/// Who knows the very rows cannot confirm them with anything that is stored, but could have with
/// the seed.
fn check_beyond_guessing(proof: &Proof, seed: &[u8; 32]) {
    let Salts::Leaves(leaves) = &proof.salts else {
        panic!("the seed is still there")
    };
    let [
        LeafProof::Withheld(digest),
        LeafProof::Kept(_),
        LeafProof::Kept(_),
    ] = leaves[..]
    else {
        panic!("the heart rates come first")
    };
    let at = i64::try_from(proof.seq.0).unwrap() * 1_000_000;
    let guess = leaf(
        Kind::HeartRate,
        0,
        &[(at, 720), (at + 1, 730), (at + 2, -1)],
    );
    for stored in leaves {
        if let LeafProof::Kept(salt) = stored {
            assert_ne!(leaf_digest(salt, &guess), digest);
        }
    }
    assert_eq!(leaf_digest(&leaf_salt(seed, 0), &guess), digest);
}

async fn proofs(world: &World) -> Vec<Proof> {
    let mut proofs = Vec::new();
    let see = |_: Partition, rows| {
        if let Rows::Proofs(rows) = rows {
            proofs.extend(rows);
        }
    };
    world
        .open()
        .await
        .rows(FileKind::Proofs, see)
        .await
        .unwrap();
    proofs
}
