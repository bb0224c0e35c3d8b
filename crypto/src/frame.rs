//! What passes inside a session: frames padded to powers of two, and the payloads the service sends.
//!
//! `plaintext = type u8 | length u32 | payload | zeros`; with its tag a frame is a power of two of
//! 256 bytes or more. Any other padding is refused, so a payload has one spelling.

use pulseward_base::{
    Digest, Micros, Reject, Seq,
    bytes::{Malformed, Reader, Writer},
};

use crate::{
    aead::TAG_SIZE,
    certificate::{self, CertificateBytes},
    slips::record,
};

/// The smallest frame.
pub const MIN_FRAME: usize = 256;

/// The largest frame either side opens or seals.
pub const MAX_FRAME: usize = 1 << 20;

/// The largest payload that fits a frame.
pub const MAX_PAYLOAD: usize = MAX_FRAME - TAG_SIZE - HEAD;

/// The most admission tokens one status carries.
pub const MAX_TOKENS: usize = 64;

const HEAD: usize = 1 + 4;
const NO_SEQ: u64 = u64::MAX;

/// Leave to be heard when hellos are many; spent by its first use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdmissionToken(pub [u8; 16]);

impl AdmissionToken {
    /// All zeros: none.
    pub const NONE: Self = Self([0; 16]);
}

impl std::fmt::Debug for AdmissionToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdmissionToken(..)")
    }
}

/// Where the service stands and what it can bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The service's time.
    pub time: Micros,
    /// The last batch known to be durable: a lower bound, with its D.
    pub last_durable: Option<(Seq, Digest)>,
    /// How many batches may wait for their answers.
    pub max_in_flight: u16,
    /// How large a batch's payload may be.
    pub max_batch_bytes: u32,
    /// How old a reading may be, in seconds.
    pub max_backlog_age_seconds: u32,
    /// Tokens for later hellos, each good once.
    pub tokens: Vec<AdmissionToken>,
}

impl Status {
    fn encode(&self) -> Result<Vec<u8>, Reject> {
        if self.tokens.len() > MAX_TOKENS {
            return Err(Reject::TooLarge);
        }
        let mut writer = Writer::new();
        writer.i64(self.time.0);
        encode_last(self.last_durable, &mut writer);
        writer
            .u16(self.max_in_flight)
            .u32(self.max_batch_bytes)
            .u32(self.max_backlog_age_seconds)
            .u8(u8::try_from(self.tokens.len()).map_err(|_| Reject::TooLarge)?);
        for token in &self.tokens {
            writer.put(&token.0);
        }
        Ok(writer.into_vec())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let time = Micros(reader.i64()?);
        let last_durable = decode_last(&mut reader)?;
        let max_in_flight = reader.u16()?;
        let max_batch_bytes = reader.u32()?;
        let max_backlog_age_seconds = reader.u32()?;
        let count = usize::from(reader.u8()?);
        if count > MAX_TOKENS {
            return Err(Malformed);
        }
        let tokens = (0..count)
            .map(|_| reader.array().map(AdmissionToken))
            .collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self {
            time,
            last_durable,
            max_in_flight,
            max_batch_bytes,
            max_backlog_age_seconds,
            tokens,
        })
    }
}

/// Reads `seq u64 | D`, both "none" or neither.
pub(crate) fn decode_last(reader: &mut Reader<'_>) -> Result<Option<(Seq, Digest)>, Malformed> {
    let (seq, digest) = (reader.u64()?, Digest(reader.array()?));
    match (seq, digest) {
        (NO_SEQ, Digest::ZERO) => Ok(None),
        (NO_SEQ, _) => Err(Malformed),
        (seq, digest) => Ok(Some((Seq(seq), digest))),
    }
}

/// Writes what [`decode_last`] reads.
pub(crate) fn encode_last(last: Option<(Seq, Digest)>, writer: &mut Writer) {
    let (Seq(seq), digest) = last.unwrap_or((Seq(NO_SEQ), Digest::ZERO));
    writer.u64(seq).put(&digest.0);
}

/// The first eight bytes of a batch's D: enough to tell a re-sent batch from another.
pub type D8 = [u8; 8];

/// Returns the first eight bytes of `digest`.
#[must_use]
pub const fn d8(digest: &Digest) -> D8 {
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    [a, b, c, d, e, f, g, h]
}

/// What became of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log and will stay there.
    Durable,
    /// A checkpoint that covers it is in the log.
    Proven,
    /// It was durable already: same number, same D.
    Duplicate,
    /// It is refused for good.
    Rejected(Reject),
    /// It was not taken; it and all that followed must be sent again.
    RetryAfter {
        /// How long to wait, in milliseconds.
        ms: u32,
        /// The limit that was met, if it is the device's own.
        limit: Option<Reject>,
    },
}

/// The service's answer to one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The batch's number.
    pub seq: Seq,
    /// The start of the batch's D.
    pub d8: D8,
    /// What became of it.
    pub outcome: Outcome,
}

impl Answer {
    /// How many bytes it has.
    pub const SIZE: usize = 24;

    fn encode(&self, writer: &mut Writer) {
        let (status, code, argument) = match self.outcome {
            Outcome::Durable => (1, 0, 0),
            Outcome::Proven => (2, 0, 0),
            Outcome::Duplicate => (3, 0, 0),
            Outcome::Rejected(reject) => (4, reject.number(), 0),
            Outcome::RetryAfter { ms, limit } => (5, limit.map_or(0, Reject::number), ms),
        };
        writer.u64(self.seq.0).put(&self.d8);
        writer.u8(status).u8(0).u16(code).u32(argument);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (seq, d8) = (Seq(reader.u64()?), reader.array()?);
        let (status, zero) = (reader.u8()?, reader.u8()?);
        let (code, argument) = (reader.u16()?, reader.u32()?);
        let outcome = match (status, zero, code, argument) {
            (1, 0, 0, 0) => Outcome::Durable,
            (2, 0, 0, 0) => Outcome::Proven,
            (3, 0, 0, 0) => Outcome::Duplicate,
            (4, 0, code, 0) => Outcome::Rejected(Reject::from_number(code).ok_or(Malformed)?),
            (5, 0, 0, ms) => Outcome::RetryAfter { ms, limit: None },
            (5, 0, code, ms) => Outcome::RetryAfter {
                ms,
                limit: Some(Reject::from_number(code).ok_or(Malformed)?),
            },
            _ => return Err(Malformed),
        };
        Ok(Self { seq, d8, outcome })
    }
}

/// Answers to batches, in the order in which they became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The service's time.
    pub time: Micros,
    /// One answer a batch.
    pub answers: Vec<Answer>,
}

impl Answers {
    fn encode(&self) -> Result<Vec<u8>, Reject> {
        let count = u16::try_from(self.answers.len()).map_err(|_| Reject::TooLarge)?;
        let mut writer = Writer::with_capacity(10 + self.answers.len() * Answer::SIZE);
        writer.i64(self.time.0).u16(count);
        for answer in &self.answers {
            answer.encode(&mut writer);
        }
        Ok(writer.into_vec())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let time = Micros(reader.i64()?);
        let count = usize::from(reader.u16()?);
        if reader.rest().len() != count * Answer::SIZE {
            return Err(Malformed);
        }
        let answers = (0..count)
            .map(|_| Answer::decode(&mut reader))
            .collect::<Result<_, _>>()?;
        Ok(Self { time, answers })
    }
}

/// A frame from the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownFrame {
    /// Where the service stands.
    Status(Status),
    /// What became of batches.
    Answers(Answers),
    /// The answer to an enrolment.
    Record {
        /// The registry's certificate.
        certificate: CertificateBytes,
        /// The enrolment record.
        record: record::RecordBytes,
    },
}

impl DownFrame {
    pub(crate) fn encode(&self) -> Result<(u8, Vec<u8>), Reject> {
        Ok(match self {
            Self::Status(status) => (1, status.encode()?),
            Self::Answers(answers) => (2, answers.encode()?),
            Self::Record {
                certificate,
                record,
            } => (3, [&certificate[..], record].concat()),
        })
    }

    pub(crate) fn decode(kind: u8, payload: &[u8]) -> Result<Self, Reject> {
        let record = |payload| -> Result<Self, Malformed> {
            let mut reader = Reader::new(payload);
            let frame = Self::Record {
                certificate: reader.array::<{ certificate::SIZE }>()?,
                record: reader.array::<{ record::SIZE }>()?,
            };
            reader.end()?;
            Ok(frame)
        };
        match kind {
            1 => Status::decode(payload).map(Self::Status),
            2 => Answers::decode(payload).map(Self::Answers),
            3 => record(payload),
            _ => Err(Malformed),
        }
        .map_err(|Malformed| Reject::Malformed)
    }
}

/// A frame from a device, as the device holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum UpFrame {
    /// A signed batch.
    Batch(Vec<u8>),
    /// A signed wish to enrol.
    Enrol(Vec<u8>),
}

impl UpFrame {
    pub(crate) const BATCH: u8 = 1;
    pub(crate) const ENROL: u8 = 2;

    pub(crate) fn parts(&self) -> (u8, &[u8]) {
        match self {
            Self::Batch(payload) => (Self::BATCH, payload),
            Self::Enrol(payload) => (Self::ENROL, payload),
        }
    }
}

impl std::fmt::Debug for UpFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Batch(_) => "Batch(..)",
            Self::Enrol(_) => "Enrol(..)",
        })
    }
}

/// Returns the plaintext of a frame, padded so that with its tag it is a power of two.
pub(crate) fn pad(kind: u8, payload: &[u8]) -> Result<Vec<u8>, Reject> {
    let size = frame_size(payload.len()).ok_or(Reject::TooLarge)?;
    // Room for the tag, so that sealing does not move it.
    let mut writer = Writer::with_capacity(size);
    writer.u8(kind).prefixed(payload);
    let mut plain = writer.into_vec();
    plain.resize(size - TAG_SIZE, 0);
    Ok(plain)
}

/// Takes off what [`pad`] put on.
pub(crate) fn unpad(plain: &[u8]) -> Result<(u8, &[u8]), Reject> {
    let fields = |plain| -> Result<_, Malformed> {
        let mut reader = Reader::new(plain);
        let kind = reader.u8()?;
        let payload = reader.prefixed(MAX_PAYLOAD)?;
        Ok((kind, payload, reader.rest()))
    };
    let (kind, payload, zeros) = fields(plain).map_err(|Malformed| Reject::Malformed)?;
    let shortest = frame_size(payload.len()) == Some(plain.len() + TAG_SIZE);
    if shortest && zeros.iter().all(|zero| *zero == 0) {
        Ok((kind, payload))
    } else {
        Err(Reject::Malformed)
    }
}

/// Refuses a sealed frame whose size no frame has, before any work is done on it.
pub(crate) const fn check_size(sealed: &[u8]) -> Result<(), Reject> {
    let size = sealed.len();
    if size > MAX_FRAME {
        Err(Reject::TooLarge)
    } else if size < MIN_FRAME || !size.is_power_of_two() {
        Err(Reject::Malformed)
    } else {
        Ok(())
    }
}

const fn frame_size(payload: usize) -> Option<usize> {
    if payload > MAX_PAYLOAD {
        return None;
    }
    let size = (HEAD + payload + TAG_SIZE).next_power_of_two();
    Some(if size < MIN_FRAME { MIN_FRAME } else { size })
}
