//! Frames: the one unit that the journal's files are made of.
//!
//! ```text
//! frame   = "PWJ1" | version u8 = 1 | kind u8 | 0 u16 | length u32 | crc32c u32 | payload (length)
//! identity (kind 1) = log id (16) | generation u32 | partitions u32
//! opening  (kind 2) = log id (16) | segment u64 | next frame's number u64 | count u32 | { topic u8 | partition u32 | next offset u64 }…
//! group    (kind 3) = number u64 | records
//! head     (kind 4) = log id (16) | topic u8 | table u64
//! rows     (kind 5) = number u64 | records
//! foot     (kind 6) = rows u64
//! start    (kind 7) = log id (16) | oldest segment u64 | count u8 | { topic u8 | table u64 }…
//! records  = count u32 | { topic u8 | partition u32 | offset u64 | has key u8 | [key (16)] | length u32 | bytes }…
//! ```
//! All little-endian. The CRC-32C is over `version … length` and the payload, as they were read.
//! A group is what one sync made durable: it is whole or it is not there.

use bytes::Bytes;
use pulseward_base::{
    Generation, Offset, Partition,
    bytes::{Malformed, Reader, Writer},
};

use crate::{CompactionKey, Topic};

pub(super) const MAGIC: &[u8; 4] = b"PWJ1";
pub(super) const VERSION: u8 = 1;
/// How many bytes stand before a payload.
pub(super) const HEADER_SIZE: usize = 16;
/// The largest payload there can be: a bound on what a reader allocates.
pub(super) const MAX_PAYLOAD: usize = 32 << 20;
/// How many bytes a record has beside its entry, at most.
pub(super) const RECORD_OVERHEAD: usize = 1 + 4 + 8 + 1 + 16 + 4;
/// How many bytes a group has beside its records.
pub(super) const GROUP_OVERHEAD: usize = HEADER_SIZE + 8 + 4;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Identity,
    Opening,
    Group,
    Head,
    Rows,
    Foot,
    Start,
}

impl FrameKind {
    const ALL: [Self; 7] = [
        Self::Identity,
        Self::Opening,
        Self::Group,
        Self::Head,
        Self::Rows,
        Self::Foot,
        Self::Start,
    ];

    const fn number(self) -> u8 {
        match self {
            Self::Identity => 1,
            Self::Opening => 2,
            Self::Group => 3,
            Self::Head => 4,
            Self::Rows => 5,
            Self::Foot => 6,
            Self::Start => 7,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// The first bytes of a frame, before its checksum is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    kind: u8,
    version: u8,
    length: usize,
    crc: u32,
}

impl FrameHeader {
    /// Reads a header. None: these bytes do not begin a frame.
    pub(super) fn decode(bytes: &[u8; HEADER_SIZE]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let read = |reader: &mut Reader<'_>| -> Result<Option<Self>, Malformed> {
            if &reader.array()? != MAGIC {
                return Ok(None);
            }
            let (version, kind) = (reader.u8()?, reader.u8()?);
            let reserved = reader.u16()?;
            let length = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
            let crc = reader.u32()?;
            let header = Self {
                kind,
                version,
                length,
                crc,
            };
            Ok((reserved == 0 && length <= MAX_PAYLOAD).then_some(header))
        };
        read(&mut reader).ok().flatten()
    }

    /// Returns how long the payload is.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// Returns the frame's kind when `payload` is what was written.
    pub(super) fn check(&self, payload: &[u8]) -> Option<FrameKind> {
        let crc = checksum(self.version, self.kind, payload);
        if self.version != VERSION || payload.len() != self.length || crc != self.crc {
            return None;
        }
        FrameKind::from_number(self.kind)
    }

    /// Returns whether `payload` is a whole frame of a version that is not ours.
    pub(super) fn is_newer(&self, payload: &[u8]) -> bool {
        self.version > VERSION && checksum(self.version, self.kind, payload) == self.crc
    }
}

/// Puts a frame together.
pub(super) fn encode(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut writer = Writer::with_capacity(HEADER_SIZE + payload.len());
    writer
        .put(MAGIC)
        .u8(VERSION)
        .u8(kind.number())
        .u16(0)
        .u32(length)
        .u32(checksum(VERSION, kind.number(), payload))
        .put(payload);
    writer.into_vec()
}

/// Returns the kind, payload and size of the whole frame that `bytes` begin with.
pub(super) fn decode(bytes: &[u8]) -> Option<(FrameKind, &[u8], usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_SIZE>()?;
    let header = FrameHeader::decode(header)?;
    let (payload, _) = rest.split_at_checked(header.length)?;
    let kind = header.check(payload)?;
    Some((kind, payload, HEADER_SIZE + header.length))
}

/// Returns where in `bytes` a whole frame begins, if one does.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(bytes, MAGIC).find(|at| decode(bytes.split_at(*at).1).is_some())
}

fn checksum(version: u8, kind: u8, payload: &[u8]) -> u32 {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut head = Writer::with_capacity(8);
    head.u8(version).u8(kind).u16(0).u32(length);
    crc32c::crc32c_append(crc32c::crc32c(head.as_slice()), payload)
}

/// Which log a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) log_id: [u8; 16],
    pub(super) generation: Generation,
    pub(super) partitions: u32,
}

impl Identity {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(24);
        writer
            .put(&self.log_id)
            .u32(self.generation.0)
            .u32(self.partitions);
        encode(FrameKind::Identity, writer.as_slice())
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let identity = Self {
            log_id: reader.array()?,
            generation: Generation(reader.u32()?),
            partitions: reader.u32()?,
        };
        reader.end()?;
        Ok(identity)
    }
}

/// What stands at the start of a segment: where everything was when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) log_id: [u8; 16],
    pub(super) segment: u64,
    pub(super) next_number: u64,
    /// The next offset of every stream that has had an entry.
    pub(super) ends: Vec<(Topic, Partition, Offset)>,
}

const END_SIZE: usize = 1 + 4 + 8;

impl Opening {
    /// Returns how large an opening can be.
    pub(super) const fn largest(partitions: u32) -> u64 {
        let ends = partitions as u64 * Topic::ALL.len() as u64;
        (HEADER_SIZE + 16 + 8 + 8 + 4) as u64 + ends * END_SIZE as u64
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(36 + self.ends.len() * END_SIZE);
        writer
            .put(&self.log_id)
            .u64(self.segment)
            .u64(self.next_number)
            .u32(u32::try_from(self.ends.len()).unwrap_or(u32::MAX));
        for (topic, partition, offset) in &self.ends {
            writer.u8(topic.number()).u32(partition.0).u64(offset.0);
        }
        encode(FrameKind::Opening, writer.as_slice())
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let log_id = reader.array()?;
        let segment = reader.u64()?;
        let next_number = reader.u64()?;
        let count = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
        if reader.rest().len() != count.checked_mul(END_SIZE).ok_or(Malformed)? {
            return Err(Malformed);
        }
        let ends = (0..count)
            .map(|_| {
                let topic = Topic::from_number(reader.u8()?).ok_or(Malformed)?;
                Ok((topic, Partition(reader.u32()?), Offset(reader.u64()?)))
            })
            .collect::<Result<_, Malformed>>()?;
        Ok(Self {
            log_id,
            segment,
            next_number,
            ends,
        })
    }
}

/// What stands at the start of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) log_id: [u8; 16],
    pub(super) topic: Topic,
    pub(super) table: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(25);
        writer
            .put(&self.log_id)
            .u8(self.topic.number())
            .u64(self.table);
        encode(FrameKind::Head, writer.as_slice())
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let head = Self {
            log_id: reader.array()?,
            topic: Topic::from_number(reader.u8()?).ok_or(Malformed)?,
            table: reader.u64()?,
        };
        reader.end()?;
        Ok(head)
    }
}

/// Where a trimmed log starts: what came before is in these tables, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) log_id: [u8; 16],
    pub(super) oldest: u64,
    pub(super) tables: Vec<(Topic, u64)>,
}

impl Start {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(96);
        writer
            .put(&self.log_id)
            .u64(self.oldest)
            .u8(u8::try_from(self.tables.len()).unwrap_or(u8::MAX));
        for (topic, table) in &self.tables {
            writer.u8(topic.number()).u64(*table);
        }
        encode(FrameKind::Start, writer.as_slice())
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let log_id = reader.array()?;
        let oldest = reader.u64()?;
        let tables = (0..reader.u8()?)
            .map(|_| {
                let topic = Topic::from_number(reader.u8()?).ok_or(Malformed)?;
                Ok((topic, reader.u64()?))
            })
            .collect::<Result<_, Malformed>>()?;
        reader.end()?;
        Ok(Self {
            log_id,
            oldest,
            tables,
        })
    }
}

/// Returns the frame that ends a table of `rows` rows.
pub(super) fn encode_foot(rows: u64) -> Vec<u8> {
    encode(FrameKind::Foot, &rows.to_le_bytes())
}

/// Returns how many rows a table's last frame says it has.
pub(super) fn decode_foot(payload: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(payload);
    let rows = reader.u64()?;
    reader.end()?;
    Ok(rows)
}

/// One entry in a group or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) topic: Topic,
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) key: Option<CompactionKey>,
    pub(super) bytes: Bytes,
}

impl Record {
    /// Returns how many bytes it takes in a frame, at most.
    pub(super) const fn size(entry_bytes: usize) -> usize {
        RECORD_OVERHEAD + entry_bytes
    }
}

/// Returns the frame of `records`: a group of the journal, or rows of a table.
pub(super) fn encode_records(kind: FrameKind, number: u64, records: &[Record]) -> Vec<u8> {
    let size = records
        .iter()
        .map(|record| Record::size(record.bytes.len()))
        .sum::<usize>();
    let mut writer = Writer::with_capacity(12 + size);
    writer
        .u64(number)
        .u32(u32::try_from(records.len()).unwrap_or(u32::MAX));
    for record in records {
        writer
            .u8(record.topic.number())
            .u32(record.partition.0)
            .u64(record.offset.0);
        match &record.key {
            Some(key) => writer.u8(1).put(key),
            None => writer.u8(0),
        };
        writer.prefixed(&record.bytes);
    }
    encode(kind, writer.as_slice())
}

/// Returns the number and the records of a group or of rows. The records share `payload`'s memory.
pub(super) fn decode_records(payload: &Bytes) -> Result<(u64, Vec<Record>), Malformed> {
    let mut reader = Reader::new(payload);
    let number = reader.u64()?;
    let count = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
    let least = RECORD_OVERHEAD - 16;
    if count > reader.rest().len() / least {
        return Err(Malformed);
    }
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = Topic::from_number(reader.u8()?).ok_or(Malformed)?;
        let partition = Partition(reader.u32()?);
        let offset = Offset(reader.u64()?);
        let key = match reader.u8()? {
            0 => None,
            1 => Some(reader.array()?),
            _ => return Err(Malformed),
        };
        let bytes = reader.prefixed(MAX_PAYLOAD)?;
        records.push(Record {
            topic,
            partition,
            offset,
            key,
            bytes: payload.slice_ref(bytes),
        });
    }
    reader.end()?;
    Ok((number, records))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> Vec<Record> {
        let record = |offset, key| Record {
            topic: Topic::Marks,
            partition: Partition(3),
            offset: Offset(offset),
            key,
            bytes: Bytes::from_static(b"entry"),
        };
        vec![record(4, None), record(5, Some([6; 16]))]
    }

    #[test]
    fn the_layout_is_frozen() {
        let frame = encode_records(FrameKind::Group, 7, &records());
        let expect: [&[u8]; 12] = [
            b"PWJ1",
            &[1, 3, 0, 0],
            &[74, 0, 0, 0],
            &[0x6a, 0x99, 0x22, 0x6c],
            &[7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0],
            &[5, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0],
            &[5, 0, 0, 0],
            b"entry",
            &[5, 3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1],
            &[6; 16],
            &[5, 0, 0, 0],
            b"entry",
        ];
        assert_eq!(frame, expect.concat());
    }

    #[test]
    fn every_payload_is_read_back() {
        let frame = encode_records(FrameKind::Rows, 9, &records());
        let (kind, payload, size) = decode(&frame).unwrap();
        assert_eq!((kind, size), (FrameKind::Rows, frame.len()));
        let payload = Bytes::copy_from_slice(payload);
        assert_eq!(decode_records(&payload), Ok((9, records())));

        let identity = Identity {
            log_id: [1; 16],
            generation: Generation(2),
            partitions: 3,
        };
        let frame = identity.encode();
        assert_eq!(Identity::decode(decode(&frame).unwrap().1), Ok(identity));

        let opening = Opening {
            log_id: [1; 16],
            segment: 2,
            next_number: 3,
            ends: vec![(Topic::Feed, Partition(4), Offset(5))],
        };
        let frame = opening.encode();
        assert_eq!(Opening::decode(decode(&frame).unwrap().1), Ok(opening));

        let head = Head {
            log_id: [1; 16],
            topic: Topic::Audit,
            table: 2,
        };
        let frame = head.encode();
        assert_eq!(Head::decode(decode(&frame).unwrap().1), Ok(head));
        assert_eq!(decode_foot(decode(&encode_foot(8)).unwrap().1), Ok(8));

        let start = Start {
            log_id: [1; 16],
            oldest: 2,
            tables: vec![(Topic::State, 3), (Topic::Audit, 4)],
        };
        let frame = start.encode();
        assert_eq!(Start::decode(decode(&frame).unwrap().1), Ok(start));
    }

    #[test]
    fn no_flipped_bit_is_a_frame() {
        let frame = encode_records(FrameKind::Group, 7, &records());
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_is_found_wherever_it_stands() {
        let frame = encode_foot(1);
        for before in 0..40 {
            let bytes = [&b"PWJ1PWJ".repeat(6)[..before], &frame[..], &[0; 9]].concat();
            assert_eq!(find(&bytes), Some(before));
        }
        assert_eq!(find(&frame[..frame.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&bytes), None);
            let _identity = Identity::decode(&bytes);
            let _opening = Opening::decode(&bytes);
            let _head = Head::decode(&bytes);
            let _foot = decode_foot(&bytes);
            let _start = Start::decode(&bytes);
            let _records = decode_records(&Bytes::from(bytes));
        }
    }
}
