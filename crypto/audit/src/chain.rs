//! Appending to a chain and checking one.

use pulseward_base::{
    Digest, Micros,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::hash::sha256;

use crate::{Action, head::Head};

/// How many bytes a record has.
pub const SIZE: usize = 115;

const VERSION: u8 = 1;

/// What is to be written down. Actor and subject are digests or kids, never names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was done.
    pub time: Micros,
    /// Who did it.
    pub actor: Digest,
    /// What was done.
    pub action: Action,
    /// What it was done to.
    pub subject: Digest,
}

/// One link of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the chain, from 0.
    pub seq: u64,
    /// The digest of the record before it; zeros for the first.
    pub previous: Digest,
    /// What it says.
    pub entry: Entry,
}

impl Record {
    /// Writes the record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SIZE);
        writer
            .u8(VERSION)
            .u64(self.seq)
            .put(&self.previous.0)
            .i64(self.entry.time.0)
            .put(&self.entry.actor.0)
            .u16(self.entry.action.number())
            .put(&self.entry.subject.0);
        writer.into_vec()
    }

    /// Reads a record; its place in a chain is not checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let record = Self {
            seq: reader.u64()?,
            previous: Digest(reader.array()?),
            entry: Entry {
                time: Micros(reader.i64()?),
                actor: Digest(reader.array()?),
                action: Action::from_number(reader.u16()?).ok_or(Malformed)?,
                subject: Digest(reader.array()?),
            },
        };
        reader.end()?;
        Ok(record)
    }
}

/// The end of a chain, to append to.
#[derive(Debug)]
pub struct Chain {
    head: Head,
}

impl Chain {
    /// Begins a chain.
    #[must_use]
    pub const fn begin() -> Self {
        Self { head: Head::EMPTY }
    }

    /// Goes on behind `head`, which [`verify`] returned for what is kept.
    #[must_use]
    pub const fn resume(head: Head) -> Self {
        Self { head }
    }

    /// Returns the record that says `entry`. A time before the last record's becomes that one's: a
    /// chain does not run backwards. The record counts from now on: a caller that fails to keep it
    /// must not use this chain again.
    pub fn append(&mut self, entry: Entry) -> Vec<u8> {
        let entry = Entry {
            time: entry.time.max(self.head.time),
            ..entry
        };
        let record = Record {
            seq: self.head.count,
            previous: self.head.last,
            entry,
        };
        let bytes = record.encode();
        self.head = self.head.after(&record, &bytes);
        bytes
    }

    /// Returns where the chain stands.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }
}

/// A chain that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A record does not have a record's layout.
    #[error("record {0} is malformed")]
    Malformed(u64),
    /// A record does not follow the one before it.
    #[error("record {0} does not follow the one before it")]
    NotNext(u64),
    /// Records that a signed head counts are missing or others.
    #[error("the chain does not reach the signed head of {0} records")]
    NotReached(u64),
}

/// Checks `records`, which follow `from`, and returns where they end. The number in an error is
/// the broken record's place in the chain.
pub fn verify<'a>(from: Head, records: impl IntoIterator<Item = &'a [u8]>) -> Result<Head, Broken> {
    let mut head = from;
    for bytes in records {
        let place = head.count;
        let record = Record::decode(bytes).map_err(|Malformed| Broken::Malformed(place))?;
        let follows =
            record.seq == place && record.previous == head.last && record.entry.time >= head.time;
        if !follows {
            return Err(Broken::NotNext(place));
        }
        head = head.after(&record, bytes);
    }
    Ok(head)
}

impl Head {
    /// Checks that records from the beginning reach this head unchanged; more may follow.
    pub fn reached_by<'a>(
        &self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Broken> {
        let limit = usize::try_from(self.count).unwrap_or(usize::MAX);
        let reached = verify(Self::EMPTY, records.into_iter().take(limit))?;
        if reached == *self {
            Ok(())
        } else {
            Err(Broken::NotReached(self.count))
        }
    }

    fn after(self, record: &Record, bytes: &[u8]) -> Self {
        Self {
            count: record.seq.saturating_add(1),
            last: sha256(&[b"pulseward/v1/audit", &[0], bytes]),
            time: record.entry.time,
        }
    }
}
