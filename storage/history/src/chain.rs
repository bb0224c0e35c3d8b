//! A partition's chain of manifests, and the one rule that keeps it one: number n is created if
//! and only if nobody has, by an owner whose epoch nobody has passed.
//!
//! Several writers may run, by mistake or during a take-over. Each claims before it commits; a
//! later claim fences all earlier owners, who learn of it at their next commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use pulseward_base::{Digest, Epoch, Kid, Micros, Partition, Secret};

use crate::{
    manifest::{
        self, Body, CHECKPOINT, Deed, FileEntry, Header, MAX_BYTES, ManifestError, Positions,
        Signer,
    },
    marks::{DeviceMark, Marks},
    shelf::{self, Created, Shelf},
};

/// How often a claim is tried while others claim, too.
const CLAIMS: u32 = 16;

/// What can be wrong with a chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A number is missing, or one manifest does not follow the other.
    #[error("the chain is broken at manifest {number}")]
    Broken {
        /// Where.
        number: u64,
    },
    /// Somebody else owns the chain now.
    #[error("another writer has taken the chain over")]
    Fenced,
    /// The shelf failed. What it holds is not known: the process must end and load again.
    #[error("the chain's shelf failed")]
    Io(#[from] io::Error),
    /// A manifest is not what it must be.
    #[error("manifest {number} does not hold")]
    Manifest {
        /// Which.
        number: u64,
        /// Why.
        #[source]
        error: ManifestError,
    },
}

/// What a chain says up to its newest manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest manifest's number.
    pub number: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The owner's term.
    pub epoch: Epoch,
    /// The log that is followed.
    pub log: [u8; 16],
    /// Where to go on in it.
    pub positions: Positions,
    /// The files, by their random ids.
    pub files: BTreeMap<[u8; 16], FileEntry>,
    /// Which batches have been counted.
    pub marks: Marks,
}

/// What a commit changes.
#[derive(Clone, Debug)]
pub struct Change {
    /// The log that is followed.
    pub log: [u8; 16],
    /// Where to go on in it.
    pub positions: Positions,
    /// New files, durable already.
    pub added: Vec<FileEntry>,
    /// Files that are part of the store no longer.
    pub removed: Vec<[u8; 16]>,
    /// Marks that changed.
    pub marks: Vec<(Kid, DeviceMark)>,
}

/// What reading a chain takes.
#[derive(Clone)]
pub struct ChainReader {
    /// Where the manifests lie.
    pub shelf: Arc<dyn Shelf>,
    /// Whose chain it is.
    pub partition: Partition,
    /// The chain's name.
    pub chain: [u8; 16],
    /// The chain's key.
    pub key: Secret<32>,
    /// The root under which histories sign.
    pub root: Kid,
}

impl ChainReader {
    /// Returns the head, read from the newest checkpoint on; none of an empty chain.
    pub fn load(&self) -> Result<Option<Head>, ChainError> {
        let Some(newest) = numbers(self.shelf.as_ref())?.last().copied() else {
            return Ok(None);
        };
        let mut head = None;
        let mut number = newest - newest % CHECKPOINT;
        while self.follow(&mut head, number)? {
            number += 1;
        }
        // What was listed must have been read: a number in between that is missing is a hole.
        if number <= newest {
            return Err(ChainError::Broken { number });
        }
        Ok(head)
    }

    /// Returns the head, read from the very first manifest, with the digest of every one.
    pub fn load_all(&self) -> Result<Option<(Head, Vec<Digest>)>, ChainError> {
        let newest = numbers(self.shelf.as_ref())?.last().copied();
        let (mut head, mut digests) = (None, Vec::new());
        while self.follow(&mut head, u64::try_from(digests.len()).unwrap_or(u64::MAX))? {
            digests.extend(head.as_ref().map(|head: &Head| head.digest));
        }
        let number = u64::try_from(digests.len()).unwrap_or(u64::MAX);
        if newest.is_some_and(|newest| number <= newest) {
            return Err(ChainError::Broken { number });
        }
        Ok(head.map(|head| (head, digests)))
    }

    /// Reads manifest `number` on top of `head`. Returns false when there is none.
    fn follow(&self, head: &mut Option<Head>, number: u64) -> Result<bool, ChainError> {
        let Some(bytes) = self.shelf.read(&manifest_name(number), MAX_BYTES)? else {
            return Ok(false);
        };
        let opened = manifest::verify(&bytes, &self.root)
            .and_then(|signed| Ok((signed.header, signed.open(&self.key)?)))
            .map_err(|error| ChainError::Manifest { number, error });
        let (header, body) = opened?;
        let follows = header.partition == self.partition
            && header.number == number
            && header.chain == self.chain
            && body.checkpoint == number.is_multiple_of(CHECKPOINT)
            && succeeds(head.as_ref(), &header, body.deed);
        if !follows {
            return Err(ChainError::Broken { number });
        }
        apply(head, &header, body, manifest::digest(&bytes));
        Ok(true)
    }
}

/// Whether a manifest may stand behind `head`. At a checkpoint that a reading starts with there is
/// nothing to compare with; at number 0 there is nothing before.
fn succeeds(head: Option<&Head>, header: &Header, deed: Deed) -> bool {
    let Some(head) = head else {
        return header.number != 0
            || (header.previous == Digest::ZERO && deed == Deed::Claim && header.epoch.0 == 1);
    };
    let epoch = match deed {
        Deed::Claim => header.epoch.0 == head.epoch.0.saturating_add(1),
        Deed::Commit => header.epoch == head.epoch,
    };
    epoch && header.previous == head.digest
}

fn apply(head: &mut Option<Head>, header: &Header, body: Body, digest: Digest) {
    let (mut files, mut marks) = match head.take() {
        Some(head) if !body.checkpoint => (head.files, head.marks),
        _ => (BTreeMap::new(), Marks::default()),
    };
    for id in &body.removed {
        files.remove(id);
    }
    files.extend(body.added.into_iter().map(|file| (file.name.id, file)));
    for (kid, mark) in body.marks {
        marks.set(kid, mark);
    }
    *head = Some(Head {
        number: header.number,
        digest,
        epoch: header.epoch,
        log: body.log,
        positions: body.positions,
        files,
        marks,
    });
}

/// A chain that this writer has claimed.
pub struct Chain {
    reader: ChainReader,
    signer: Arc<Signer>,
    head: Head,
}

impl Chain {
    /// Claims the chain: from here on whoever claimed before is fenced. An empty chain is begun
    /// under the name and key of `reader`; if somebody else begins it first, under another name,
    /// that is [`ChainError::Broken`] or a seal that does not open, and the caller starts over.
    pub fn claim(
        reader: ChainReader,
        signer: Arc<Signer>,
        now: Micros,
    ) -> Result<Self, ChainError> {
        for _ in 0..CLAIMS {
            let before = reader.load()?;
            let header = Header {
                partition: reader.partition,
                number: before.as_ref().map_or(0, |head| head.number + 1),
                epoch: Epoch(before.as_ref().map_or(0, |head| head.epoch.0) + 1),
                previous: before.as_ref().map_or(Digest::ZERO, |head| head.digest),
                chain: reader.chain,
                time: now,
            };
            let claimed = before.unwrap_or_else(empty);
            let change = Change {
                log: claimed.log,
                positions: claimed.positions,
                added: Vec::new(),
                removed: Vec::new(),
                marks: Vec::new(),
            };
            let body = body_of(Deed::Claim, header.number, &claimed, &change);
            if let Some(digest) = put(&reader, &signer, &header, &body)? {
                let (number, epoch) = (header.number, header.epoch);
                let head = Head {
                    number,
                    digest,
                    epoch,
                    ..claimed
                };
                return Ok(Self {
                    reader,
                    signer,
                    head,
                });
            }
        }
        Err(ChainError::Fenced)
    }

    /// Returns what the chain says.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Commits `change`. After any error the chain is not to be used again: load and claim anew.
    pub fn commit(&mut self, change: Change, now: Micros) -> Result<(), ChainError> {
        let header = Header {
            partition: self.reader.partition,
            number: self.head.number + 1,
            epoch: self.head.epoch,
            previous: self.head.digest,
            chain: self.reader.chain,
            time: now,
        };
        let body = body_of(Deed::Commit, header.number, &self.head, &change);
        let digest = put(&self.reader, &self.signer, &header, &body)?.ok_or(ChainError::Fenced)?;
        let head = &mut self.head;
        (head.number, head.digest) = (header.number, digest);
        (head.log, head.positions) = (change.log, change.positions);
        for id in &change.removed {
            head.files.remove(id);
        }
        head.files
            .extend(change.added.into_iter().map(|file| (file.name.id, file)));
        for (kid, mark) in change.marks {
            head.marks.set(kid, mark);
        }
        Ok(())
    }
}

/// Creates a manifest. None: somebody else's lies there. A create that answered "exists" may have
/// been ours, tried twice below us, so what lies there is read back.
fn put(
    reader: &ChainReader,
    signer: &Signer,
    header: &Header,
    body: &Body,
) -> Result<Option<Digest>, ChainError> {
    let bytes = manifest::seal(header, body, &reader.key, signer);
    let name = manifest_name(header.number);
    let ours = match reader.shelf.create(&name, &bytes)? {
        Created::New => true,
        Created::Exists => reader.shelf.read(&name, MAX_BYTES)?.as_deref() == Some(&bytes[..]),
    };
    Ok(ours.then(|| manifest::digest(&bytes)))
}

/// What changes, or at a checkpoint what `head` is once that has changed.
fn body_of(deed: Deed, number: u64, head: &Head, change: &Change) -> Body {
    let mut body = Body {
        deed,
        checkpoint: number.is_multiple_of(CHECKPOINT),
        log: change.log,
        positions: change.positions,
        added: change.added.clone(),
        removed: change.removed.clone(),
        marks: change.marks.clone(),
    };
    if body.checkpoint {
        let removed: BTreeSet<_> = std::mem::take(&mut body.removed).into_iter().collect();
        let kept = head
            .files
            .values()
            .filter(|file| !removed.contains(&file.name.id));
        body.added.extend(kept.cloned());
        let changed: BTreeSet<_> = change.marks.iter().map(|(kid, _)| *kid).collect();
        let kept = head.marks.all().filter(|(kid, _)| !changed.contains(*kid));
        body.marks
            .extend(kept.map(|(kid, mark)| (*kid, mark.clone())));
    }
    body
}

/// What there is before there is anything.
fn empty() -> Head {
    Head {
        number: 0,
        digest: Digest::ZERO,
        epoch: Epoch(0),
        log: [0; 16],
        positions: Positions::default(),
        files: BTreeMap::new(),
        marks: Marks::default(),
    }
}

/// Returns the numbers of the manifests that lie on a shelf, ascending.
pub(crate) fn numbers(shelf: &dyn Shelf) -> io::Result<Vec<u64>> {
    shelf::numbers(shelf, ".manifest", manifest_name)
}

/// Returns the name of the chain that lies on a shelf; none of an empty one.
pub(crate) fn chain_on(shelf: &dyn Shelf) -> Result<Option<[u8; 16]>, ChainError> {
    let Some(number) = numbers(shelf)?.first().copied() else {
        return Ok(None);
    };
    let bytes = shelf.read(&manifest_name(number), MAX_BYTES)?;
    let bytes = bytes.ok_or(ChainError::Broken { number })?;
    let chain =
        manifest::chain_of(&bytes).map_err(|error| ChainError::Manifest { number, error })?;
    Ok(Some(chain))
}

/// Returns what a manifest is called.
#[must_use]
pub fn manifest_name(number: u64) -> String {
    format!("{number:020}.manifest")
}
