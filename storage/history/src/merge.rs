//! The files of several commits become those of one, without the patients that were erased and the
//! series that are no longer kept. What stays can still be proven.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{Kid, Micros, Pseudonym, bytes::Malformed};
use pulseward_batch::digest::{leaf_digest, leaf_salt};
use pulseward_vitals::{Kind, Leaf, Row};

use crate::rows::{AlertRow, Enrolment, LeafProof, Proof, Reading, Rows, Salts, ScoreRow};

/// What is left out.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// Patients that were erased.
    pub patients: BTreeSet<Pseudonym>,
    /// Series of a kind whose every row is older than this.
    pub older: BTreeMap<Kind, Micros>,
}

/// Merges the files of commits, one list of files for each commit.
pub fn merge(commits: Vec<Vec<Rows>>, left_out: &LeftOut) -> Result<Vec<Rows>, Malformed> {
    let mut merged = Merged::default();
    for files in commits {
        merged.add(files, left_out)?;
    }
    Ok(merged.into_files())
}

#[derive(Default)]
struct Merged {
    readings: Vec<Reading>,
    proofs: Vec<Proof>,
    enrolments: Vec<Enrolment>,
    scores: Vec<ScoreRow>,
    alerts: Vec<AlertRow>,
    devices: BTreeMap<Kid, u32>,
}

impl Merged {
    fn add(&mut self, files: Vec<Rows>, left_out: &LeftOut) -> Result<(), Malformed> {
        let mut batches: BTreeMap<u32, Vec<Reading>> = BTreeMap::new();
        let mut proofs = Vec::new();
        let stays = |pseudonym: &Pseudonym| !left_out.patients.contains(pseudonym);
        for rows in files {
            match rows {
                Rows::Readings(rows) => {
                    for row in rows {
                        batches.entry(row.batch).or_default().push(row);
                    }
                }
                Rows::Proofs(rows) => proofs.extend(rows),
                Rows::Enrolments(rows) => self.enrolments.extend(
                    rows.into_iter()
                        .filter(|row| pseudonym_of(row).is_none_or(|one| stays(&one))),
                ),
                Rows::Scores(rows) => {
                    self.scores
                        .extend(rows.into_iter().filter(|row| stays(&row.pseudonym)));
                }
                Rows::Alerts(rows) => {
                    self.alerts
                        .extend(rows.into_iter().filter(|row| stays(&row.score.pseudonym)));
                }
            }
        }
        for proof in proofs {
            let readings = batches.remove(&proof.batch).unwrap_or_default();
            if stays(&proof.pseudonym) {
                self.add_batch(proof, readings, left_out)?;
            }
        }
        // Rows without a proof are not ours to drop; a merge must not make a fault disappear.
        if batches.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn add_batch(
        &mut self,
        mut proof: Proof,
        readings: Vec<Reading>,
        left_out: &LeftOut,
    ) -> Result<(), Malformed> {
        let devices = number(self.devices.len());
        proof.device = *self.devices.entry(proof.kid).or_insert(devices);
        proof.batch = number(self.proofs.len());
        let kept = withhold(&mut proof, readings, left_out)?;
        proof.rows = number(kept.len());
        let (device, batch) = (proof.device, proof.batch);
        self.readings.extend(kept.into_iter().map(|row| Reading {
            device,
            batch,
            ..row
        }));
        self.proofs.push(proof);
        Ok(())
    }

    /// Rows are put in the order in which they are smallest and soonest found.
    fn into_files(mut self) -> Vec<Rows> {
        self.readings
            .sort_by_key(|row| (row.pseudonym, row.kind, row.channel, row.time));
        let all = [
            Rows::Readings(self.readings),
            Rows::Proofs(self.proofs),
            Rows::Enrolments(self.enrolments),
            Rows::Scores(self.scores),
            Rows::Alerts(self.alerts),
        ];
        all.into_iter().filter(|rows| !rows.is_empty()).collect()
    }
}

/// Takes out the leaves that are no longer kept. Their digests stay, and of the others' salts only
/// those themselves: with the seed, or with a dropped leaf's salt, its readings could be guessed.
fn withhold(
    proof: &mut Proof,
    readings: Vec<Reading>,
    left_out: &LeftOut,
) -> Result<Vec<Reading>, Malformed> {
    let mut leaves: BTreeMap<(u16, u8), Vec<Reading>> = BTreeMap::new();
    for row in readings {
        leaves
            .entry((row.kind.spec().number, row.channel))
            .or_default()
            .push(row);
    }
    let goes = |rows: &[Reading]| {
        let before = rows.first().and_then(|row| left_out.older.get(&row.kind));
        before.is_some_and(|before| rows.iter().all(|row| row.time < *before))
    };
    if !leaves.values().any(|rows| goes(rows)) {
        return Ok(leaves.into_values().flatten().collect());
    }
    let known = match &proof.salts {
        Salts::Seed(seed) => (0..number(leaves.len()))
            .map(|index| LeafProof::Kept(leaf_salt(seed, index)))
            .collect(),
        Salts::Leaves(known) => known.clone(),
    };
    let mut leaves = leaves.into_values();
    let mut kept = Vec::new();
    let mut proofs = Vec::with_capacity(known.len());
    for leaf in known {
        let LeafProof::Kept(salt) = leaf else {
            proofs.push(leaf);
            continue;
        };
        let rows = leaves.next().ok_or(Malformed)?;
        if goes(&rows) {
            let leaf = leaf_of(&rows).ok_or(Malformed)?;
            proofs.push(LeafProof::Withheld(leaf_digest(&salt, &leaf)));
        } else {
            proofs.push(leaf);
            kept.extend(rows);
        }
    }
    if leaves.next().is_some() {
        return Err(Malformed);
    }
    proof.salts = Salts::Leaves(proofs);
    Ok(kept)
}

/// Returns the leaf that rows of one kind and channel make; none of no rows.
pub(crate) fn leaf_of(rows: &[Reading]) -> Option<Leaf> {
    let first = rows.first()?;
    let mut leaf = Leaf {
        kind: first.kind,
        channel: first.channel,
        rows: Vec::new(),
    };
    leaf.rows.extend(rows.iter().map(|row| Row {
        time: row.time,
        value: row.raw,
        quality: row.quality,
    }));
    leaf.rows.sort_by_key(|row| row.time);
    Some(leaf)
}

/// Returns whom an enrolment binds; what it says is not checked here.
pub(crate) fn pseudonym_of(enrolment: &Enrolment) -> Option<Pseudonym> {
    // version, kid, record digest, then the pseudonym: docs/formats/slips.md.
    let bytes = enrolment.binding.get(65..81)?;
    Some(Pseudonym(bytes.try_into().ok()?))
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
