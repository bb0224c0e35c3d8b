//! The bytes of a manifest: signed as they lie on the disk, sealed inside.
//!
//! A manifest holds what changed since the one before it, or, every [`CHECKPOINT`]th, everything.
//! It names the one before it by the hash of its bytes, so that the newest fixes all.
//! Layout: `docs/formats/history.md`.

use pulseward_base::{
    Digest, Epoch, Kid, Micros, Partition, Reject, Secret,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{
    NO_CONTEXT, Role, Signature, SigningKey, aead,
    certificate::{self, Use},
    hash, random,
};

use crate::{file::FileName, marks::DeviceMark, rows::CausedBy, schema::FileKind};

/// Every how many manifests one holds everything.
pub const CHECKPOINT: u64 = 256;

/// How large a manifest may be.
pub const MAX_BYTES: u64 = 64 << 20;

const MAGIC: &[u8; 4] = b"PWM1";
const VERSION: u8 = 1;
const NONCE: usize = 12;

/// A manifest that is not one, or not one of this chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The layout is not a manifest's.
    #[error("malformed manifest")]
    Malformed,
    /// It was written by a newer version.
    #[error("a manifest of version {0}, which is newer than this program")]
    Newer(u8),
    /// It does not open under the chain's key.
    #[error("a manifest's seal does not open")]
    Seal,
    /// The certificate or the signature does not hold.
    #[error("a manifest's signature does not hold")]
    Signature(#[source] Reject),
}

impl From<Malformed> for ManifestError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Who signs manifests and heads.
#[derive(Debug)]
pub struct Signer {
    /// The root's word for the key, use *history*.
    pub certificate: [u8; certificate::SIZE],
    /// The key.
    pub key: SigningKey,
}

/// What stands in the clear, so that a chain can be checked without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose chain.
    pub partition: Partition,
    /// The manifest's number in the chain, from 0.
    pub number: u64,
    /// The owner's term.
    pub epoch: Epoch,
    /// SHA-256 of the manifest before this one; zeros for number 0.
    pub previous: Digest,
    /// The chain's random name, under which the registry keeps its key.
    pub chain: [u8; 16],
    /// When it was written.
    pub time: Micros,
}

/// What a manifest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Takes the chain over, with a new epoch.
    Claim,
    /// Commits files and positions.
    Commit,
}

/// Where in the log the next entries to be stored are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// The log's generation.
    pub generation: u32,
    /// The next offset of `feed`.
    pub feed: u64,
    /// The next offset of `scores`.
    pub scores: u64,
    /// The next offset of `alerts`.
    pub alerts: u64,
    /// The cause of the last score taken.
    pub score_cause: Option<CausedBy>,
    /// The cause of the last alert taken.
    pub alert_cause: Option<CausedBy>,
}

/// One file of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name.
    pub name: FileName,
    /// 0: written by a commit; 1: compacted.
    pub level: u8,
    /// The term it was written in.
    pub epoch: Epoch,
    /// The commit it belongs to: its readings and proofs number their batches together.
    pub commit: [u8; 16],
    /// How many rows it has.
    pub rows: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The first time in it; equal to `last` and zero where rows have no time.
    pub first: Micros,
    /// The last time in it.
    pub last: Micros,
}

impl FileEntry {
    /// Returns what it is called in the directory.
    #[must_use]
    pub fn file_name(&self) -> String {
        file_name(self.epoch, &self.name)
    }
}

/// Returns what a file is called in the directory. Never anything of a patient.
#[must_use]
pub fn file_name(epoch: Epoch, name: &FileName) -> String {
    format!(
        "{:016x}-{}.{}.parquet",
        epoch.0,
        pulseward_base::bytes::hex(&name.id),
        name.kind
    )
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// What it does.
    pub deed: Deed,
    /// Whether it holds everything and not only what changed.
    pub checkpoint: bool,
    /// The log that it follows; zeros before it is known.
    pub log: [u8; 16],
    /// Where to go on.
    pub positions: Positions,
    /// Files that are new, or all of them.
    pub added: Vec<FileEntry>,
    /// Files that are no longer part of the store.
    pub removed: Vec<[u8; 16]>,
    /// Marks that changed, or all of them.
    pub marks: Vec<(Kid, DeviceMark)>,
}

/// Returns a manifest's bytes.
#[must_use]
pub fn seal(header: &Header, body: &Body, key: &Secret<32>, signer: &Signer) -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .put(MAGIC)
        .u8(VERSION)
        .u32(header.partition.0)
        .u64(header.number)
        .u64(header.epoch.0);
    writer
        .put(&header.previous.0)
        .put(&header.chain)
        .i64(header.time.0)
        .put(&signer.certificate);
    let mut sealed = encode_body(body, header.partition);
    let nonce = random::bytes::<NONCE>();
    aead::Key::new(key).seal(nonce, writer.as_slice(), &mut sealed);
    writer.put(&nonce).prefixed(&sealed);
    let signature = signer
        .key
        .sign(Role::Manifest, &NO_CONTEXT, &[writer.as_slice()]);
    writer.put(&signature.0);
    writer.into_vec()
}

/// A manifest whose signature holds, not yet opened.
#[derive(Clone, Debug)]
pub struct Signed<'a> {
    /// What stands in the clear.
    pub header: Header,
    before: &'a [u8],
    nonce: [u8; NONCE],
    sealed: &'a [u8],
}

/// Reads a manifest and checks that a history under `root` signed it.
pub fn verify<'a>(bytes: &'a [u8], root: &Kid) -> Result<Signed<'a>, ManifestError> {
    let split = |size: usize| {
        bytes
            .len()
            .checked_sub(size)
            .and_then(|at| bytes.split_at_checked(at))
    };
    let (signed, signature) = split(Signature::SIZE).ok_or(Malformed)?;
    let (header, certificate, mut reader) = decode_header(signed)?;
    let before = signed.len() - reader.rest().len();
    let nonce = reader.array()?;
    let sealed = reader.prefixed(signed.len())?;
    reader.end()?;
    let signature = Signature::from_slice(signature).map_err(ManifestError::Signature)?;
    certificate::verify(&certificate, root, Use::History, header.time)
        .and_then(|key| key.verify(Role::Manifest, &NO_CONTEXT, &[signed], &signature))
        .map_err(ManifestError::Signature)?;
    Ok(Signed {
        header,
        before: signed.get(..before).ok_or(Malformed)?,
        nonce,
        sealed,
    })
}

/// Returns the name of the chain that a manifest says it belongs to; nothing is checked.
pub fn chain_of(bytes: &[u8]) -> Result<[u8; 16], ManifestError> {
    Ok(decode_header(bytes)?.0.chain)
}

/// Returns SHA-256 of a manifest, by which the next one and the heads name it.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    hash::sha256(&[bytes])
}

impl Signed<'_> {
    /// Opens it with its chain's key.
    pub fn open(&self, key: &Secret<32>) -> Result<Body, ManifestError> {
        let mut body = self.sealed.to_vec();
        aead::Key::new(key)
            .open(self.nonce, self.before, &mut body)
            .map_err(|_| ManifestError::Seal)?;
        Ok(decode_body(&body, self.header.partition)?)
    }
}

type HeaderParts<'a> = (Header, [u8; certificate::SIZE], Reader<'a>);

fn decode_header(bytes: &[u8]) -> Result<HeaderParts<'_>, ManifestError> {
    let mut reader = Reader::new(bytes);
    if reader.array::<4>()? != *MAGIC {
        return Err(ManifestError::Malformed);
    }
    match reader.u8()? {
        VERSION => {}
        newer if newer > VERSION => return Err(ManifestError::Newer(newer)),
        _ => return Err(ManifestError::Malformed),
    }
    let header = Header {
        partition: Partition(reader.u32()?),
        number: reader.u64()?,
        epoch: Epoch(reader.u64()?),
        previous: Digest(reader.array()?),
        chain: reader.array()?,
        time: Micros(reader.i64()?),
    };
    Ok((header, reader.array()?, reader))
}

pub(crate) fn encode_body(body: &Body, partition: Partition) -> Vec<u8> {
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut writer = Writer::new();
    writer.u8(match body.deed {
        Deed::Claim => 1,
        Deed::Commit => 2,
    });
    writer.u8(u8::from(body.checkpoint)).put(&body.log);
    encode_positions(&body.positions, &mut writer);
    writer.u32(count(body.added.len()));
    for file in &body.added {
        debug_assert_eq!(file.name.partition, partition);
        encode_file(file, &mut writer);
    }
    writer.u32(count(body.removed.len()));
    for id in &body.removed {
        writer.put(id);
    }
    writer.u32(count(body.marks.len()));
    for (kid, mark) in &body.marks {
        writer.put(&kid.0);
        mark.encode(&mut writer);
    }
    writer.into_vec()
}

pub(crate) fn decode_body(bytes: &[u8], partition: Partition) -> Result<Body, Malformed> {
    let mut reader = Reader::new(bytes);
    let deed = match reader.u8()? {
        1 => Deed::Claim,
        2 => Deed::Commit,
        _ => return Err(Malformed),
    };
    let checkpoint = flag(&mut reader)?;
    let log = reader.array()?;
    let positions = decode_positions(&mut reader)?;
    let added = decode_list(&mut reader, |reader| decode_file(reader, partition))?;
    let removed = decode_list(&mut reader, Reader::array)?;
    let marks = decode_list(&mut reader, |reader| {
        Ok((Kid(reader.array()?), DeviceMark::decode(reader)?))
    })?;
    reader.end()?;
    Ok(Body {
        deed,
        checkpoint,
        log,
        positions,
        added,
        removed,
        marks,
    })
}

/// Nothing is set aside by a length that a file claims: each member takes at least a byte.
fn decode_list<'a, T>(
    reader: &mut Reader<'a>,
    member: impl Fn(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    (0..reader.u32()?)
        .map(|_| member(reader))
        .collect::<Result<Vec<_>, _>>()
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

fn encode_positions(positions: &Positions, writer: &mut Writer) {
    writer.u32(positions.generation);
    writer
        .u64(positions.feed)
        .u64(positions.scores)
        .u64(positions.alerts);
    for cause in [positions.score_cause, positions.alert_cause] {
        match cause {
            Some(cause) => writer
                .u32(cause.generation)
                .u64(cause.offset)
                .u32(cause.index),
            None => writer.put(&[0xff; 16]),
        };
    }
}

fn decode_positions(reader: &mut Reader<'_>) -> Result<Positions, Malformed> {
    let cause = |reader: &mut Reader<'_>| {
        let cause = CausedBy {
            generation: reader.u32()?,
            offset: reader.u64()?,
            index: reader.u32()?,
        };
        let none = CausedBy {
            generation: u32::MAX,
            offset: u64::MAX,
            index: u32::MAX,
        };
        Ok::<_, Malformed>((cause != none).then_some(cause))
    };
    Ok(Positions {
        generation: reader.u32()?,
        feed: reader.u64()?,
        scores: reader.u64()?,
        alerts: reader.u64()?,
        score_cause: cause(reader)?,
        alert_cause: cause(reader)?,
    })
}

fn encode_file(file: &FileEntry, writer: &mut Writer) {
    writer
        .put(&file.name.id)
        .u8(file.name.kind.number())
        .u8(file.level)
        .u64(file.epoch.0);
    writer
        .put(&file.commit)
        .u64(file.rows)
        .u64(file.bytes)
        .put(&file.digest.0);
    writer.i64(file.first.0).i64(file.last.0);
}

fn decode_file(reader: &mut Reader<'_>, partition: Partition) -> Result<FileEntry, Malformed> {
    let id = reader.array()?;
    let kind = FileKind::from_number(reader.u8()?).ok_or(Malformed)?;
    Ok(FileEntry {
        name: FileName {
            id,
            partition,
            kind,
        },
        level: reader.u8()?,
        epoch: Epoch(reader.u64()?),
        commit: reader.array()?,
        rows: reader.u64()?,
        bytes: reader.u64()?,
        digest: Digest(reader.array()?),
        first: Micros(reader.i64()?),
        last: Micros(reader.i64()?),
    })
}
