//! The bytes of a sealed entry:
//!
//! ```text
//! header = "PWE1" | version u8 = 1 | kind u8 | slot u16 | key id (16) | writer (16) | writer seq u64 | outputs u8 | [cause (16) | previous (16)]
//! entry  = header | ciphertext | tag (16) | mac (16)
//! ```
//! `mac` = HMAC-SHA256(log MAC key, header | tag)[..16] is checked before anything else is believed.
//! The seal is bound to the entry's place: header, log, topic, generation, partition and, on a
//! compacted topic, its key are authenticated with it.

use pulseward_base::{
    Generation, KeyId, Partition, Secret, Slot, WriterId,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{aead, hash};

use crate::{Cause, CompactionKey, Topic};

/// The version that this program writes.
pub(crate) const VERSION: u8 = 1;
const MAGIC: &[u8; 4] = b"PWE1";
const NO_SLOT: u16 = u16::MAX;
const MAC_SIZE: usize = 16;

/// How many bytes sealing adds to a body at most.
pub(crate) const OVERHEAD: usize = 49 + 2 * Cause::SIZE + aead::TAG_SIZE + MAC_SIZE;

/// What stands in the clear before the sealed body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) slot: Option<Slot>,
    pub(crate) key: Option<KeyId>,
    pub(crate) writer: WriterId,
    pub(crate) writer_seq: u64,
    pub(crate) outputs: Option<Outputs>,
}

/// For an output: what caused it, and what caused the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// What caused it.
    pub cause: Cause,
    /// The cause of the output before it in this topic and partition.
    pub previous: Option<Cause>,
}

/// Where an entry stands, which its seal is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) log_id: [u8; 16],
    pub(crate) topic: Topic,
    pub(crate) generation: Generation,
    pub(crate) partition: Partition,
}

/// What the first bytes of an entry say.
pub(crate) enum Parsed<'a> {
    Entry(SealedEntry<'a>),
    Newer(u8),
}

/// An entry whose layout holds and whose MAC is not checked.
pub(crate) struct SealedEntry<'a> {
    header: &'a [u8],
    sealed: &'a [u8],
    mac: &'a [u8; MAC_SIZE],
    fields: Header,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(OVERHEAD);
        writer
            .put(MAGIC)
            .u8(VERSION)
            .u8(self.kind)
            .u16(self.slot.map_or(NO_SLOT, |slot| slot.0))
            .put(self.key.unwrap_or(KeyId::ZERO).as_bytes())
            .put(self.writer.as_bytes())
            .u64(self.writer_seq)
            .u8(u8::from(self.outputs.is_some()));
        if let Some(outputs) = self.outputs {
            Cause::encode_option(Some(outputs.cause), &mut writer);
            Cause::encode_option(outputs.previous, &mut writer);
        }
        writer.into_vec()
    }

    /// Reads the fields behind magic and version.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = reader.u8()?;
        let slot = match reader.u16()? {
            NO_SLOT => None,
            slot if slot < Slot::COUNT => Some(Slot(slot)),
            _ => return Err(Malformed),
        };
        let key = KeyId(reader.array()?);
        let writer = WriterId(reader.array()?);
        let writer_seq = reader.u64()?;
        let outputs = match reader.u8()? {
            0 => None,
            1 => Some(Outputs {
                cause: Cause::decode_option(reader)?.ok_or(Malformed)?,
                previous: Cause::decode_option(reader)?,
            }),
            _ => return Err(Malformed),
        };
        Ok(Self {
            kind,
            slot,
            key: (key != KeyId::ZERO).then_some(key),
            writer,
            writer_seq,
            outputs,
        })
    }
}

impl Place {
    /// Returns the key of one writer here, derived from the patient's key or the log's own.
    pub(crate) fn derive_key(&self, ikm: &Secret<32>, writer: WriterId) -> aead::Key {
        let mut place = Writer::with_capacity(9);
        self.encode(&mut place);
        let info: [&[u8]; 3] = [b"pulseward/v1/entry\0", writer.as_bytes(), place.as_slice()];
        aead::Key::new(&hash::hkdf(&[], ikm.expose(), &info))
    }

    fn encode(&self, writer: &mut Writer) {
        writer
            .u8(self.topic.number())
            .u32(self.generation.0)
            .u32(self.partition.0);
    }

    fn aad(&self, header: &[u8], compaction: Option<CompactionKey>) -> Vec<u8> {
        let mut aad = Writer::with_capacity(header.len() + 41);
        aad.put(header).put(&self.log_id);
        self.encode(&mut aad);
        if let Some(compaction) = compaction {
            aad.put(&compaction);
        }
        aad.into_vec()
    }
}

/// Seals `body` behind `header`.
pub(crate) fn seal(
    header: &Header,
    place: &Place,
    compaction: Option<CompactionKey>,
    keys: (&aead::Key, &Secret<32>),
    mut body: Vec<u8>,
) -> Vec<u8> {
    let (key, mac_key) = keys;
    let mut entry = header.encode();
    let aad = place.aad(&entry, compaction);
    key.seal(aead::nonce(header.writer_seq), &aad, &mut body);
    let tag = body.split_at(body.len().saturating_sub(aead::TAG_SIZE)).1;
    let mac = hash::hmac(mac_key.expose(), &[&entry, tag]);
    entry.extend_from_slice(&body);
    entry.extend(mac.iter().take(MAC_SIZE));
    entry
}

/// Takes an entry apart.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(Malformed);
    }
    match reader.u8()? {
        VERSION => {}
        newer if newer > VERSION => return Ok(Parsed::Newer(newer)),
        _ => return Err(Malformed),
    }
    let fields = Header::decode(&mut reader)?;
    let (header, _) = bytes
        .split_at_checked(bytes.len() - reader.rest().len())
        .ok_or(Malformed)?;
    let (sealed, mac) = reader.rest().split_last_chunk().ok_or(Malformed)?;
    if sealed.len() < aead::TAG_SIZE {
        return Err(Malformed);
    }
    Ok(Parsed::Entry(SealedEntry {
        header,
        sealed,
        mac,
        fields,
    }))
}

impl SealedEntry<'_> {
    /// Returns the header, once its MAC holds.
    pub(crate) fn authentic(&self, mac_key: &Secret<32>) -> Option<&Header> {
        let (_, tag) = self
            .sealed
            .split_at_checked(self.sealed.len().checked_sub(aead::TAG_SIZE)?)?;
        hash::hmac_matches(mac_key.expose(), &[self.header, tag], self.mac).then_some(&self.fields)
    }

    /// Opens the body.
    pub(crate) fn open(
        &self,
        place: &Place,
        compaction: Option<CompactionKey>,
        key: &aead::Key,
    ) -> Result<Vec<u8>, aead::OpenError> {
        let mut body = self.sealed.to_vec();
        let aad = place.aad(self.header, compaction);
        key.open(aead::nonce(self.fields.writer_seq), &aad, &mut body)?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulseward_base::Offset;

    use super::*;
    use crate::Position;

    fn header() -> Header {
        let cause = |index| Cause {
            position: Position {
                generation: Generation(1),
                offset: Offset(2),
            },
            index,
        };
        Header {
            kind: 8,
            slot: Some(Slot(3)),
            key: Some(KeyId([4; 16])),
            writer: WriterId([5; 16]),
            writer_seq: 6,
            outputs: Some(Outputs {
                cause: cause(7),
                previous: Some(cause(6)),
            }),
        }
    }

    fn place() -> Place {
        Place {
            log_id: [8; 16],
            topic: Topic::State,
            generation: Generation(9),
            partition: Partition(10),
        }
    }

    fn sealed() -> (Vec<u8>, aead::Key, Secret<32>) {
        let mac = Secret::new([2; 32]);
        let key = place().derive_key(&Secret::new([1; 32]), header().writer);
        let bytes = seal(
            &header(),
            &place(),
            Some([3; 16]),
            (&key, &mac),
            b"body".to_vec(),
        );
        (bytes, key, mac)
    }

    fn open(bytes: &[u8], place: &Place, compaction: Option<CompactionKey>) -> Option<Vec<u8>> {
        let (_, key, mac) = sealed();
        match parse(bytes) {
            Ok(Parsed::Entry(entry)) => {
                entry.authentic(&mac)?;
                entry.open(place, compaction, &key).ok()
            }
            _ => None,
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        let (bytes, ..) = sealed();
        let expect: [&[u8]; 9] = [
            b"PWE1",
            &[1, 8, 3, 0],
            &[4; 16],
            &[5; 16],
            &[6, 0, 0, 0, 0, 0, 0, 0],
            &[1],
            &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0],
            &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0],
            &[],
        ];
        let expect = expect.concat();
        assert_eq!(bytes[..expect.len()], expect);
        assert_eq!(bytes.len(), expect.len() + 4 + 16 + 16);
        assert_eq!(bytes.len(), OVERHEAD + 4);
    }

    #[test]
    fn a24_an_entry_opens_nowhere_but_in_its_own_place() {
        let (bytes, ..) = sealed();
        let home = place();
        assert_eq!(open(&bytes, &home, Some([3; 16])), Some(b"body".to_vec()));
        let moved = [
            Place {
                log_id: [0; 16],
                ..home
            },
            Place {
                topic: Topic::Marks,
                ..home
            },
            Place {
                generation: Generation(8),
                ..home
            },
            Place {
                partition: Partition(11),
                ..home
            },
        ];
        for place in moved {
            assert_eq!(open(&bytes, &place, Some([3; 16])), None, "{place:?}");
        }
        assert_eq!(open(&bytes, &home, Some([4; 16])), None);
        assert_eq!(open(&bytes, &home, None), None);
    }

    #[test]
    fn no_flipped_bit_opens() {
        let (bytes, ..) = sealed();
        for place_of_bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[place_of_bit / 8] ^= 1 << (place_of_bit % 8);
            assert_eq!(
                open(&flipped, &place(), Some([3; 16])),
                None,
                "bit {place_of_bit}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_told_from_garbage() {
        let (mut bytes, ..) = sealed();
        bytes[4] = 2;
        assert!(matches!(parse(&bytes), Ok(Parsed::Newer(2))));
        bytes[4] = 0;
        assert!(parse(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_taken_apart_or_refused(bytes: Vec<u8>) {
            prop_assert!(open(&bytes, &place(), None).is_none());
            let with_magic = [&b"PWE1\x01"[..], &bytes].concat();
            prop_assert!(open(&with_magic, &place(), None).is_none());
        }
    }
}
