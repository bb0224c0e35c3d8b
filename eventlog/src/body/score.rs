//! What stands in `scores`.

use pulseward_base::{
    Micros, ModelId, Pseudonym,
    bytes::{Malformed, Reader, Writer},
};

use super::{blind_debug, byte_enum, count_u8};

byte_enum! {
    /// The detector's lanes. Their union alerts.
    Lane {
        /// Silence, guards, drift, skew.
        Integrity = 0,
        /// Clinical rules.
        Rules = 1,
        /// Unlike the healthy pool.
        Anomaly = 2,
        /// Rhythm and deterioration.
        Events = 3,
    }
}

impl Lane {
    /// Returns the word that is counted.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Rules => "rules",
            Self::Anomaly => "anomaly",
            Self::Events => "events",
        }
    }
}

/// One lane's judgement of one patient at one time.
#[derive(Clone, PartialEq, Eq)]
pub struct Score {
    /// The patient.
    pub pseudonym: Pseudonym,
    /// The end of the window that was judged.
    pub at: Micros,
    /// The lane.
    pub lane: Lane,
    /// The model, or the rules' version.
    pub model: ModelId,
    /// The least the score can be, given what is missing or uncertain.
    pub low: i32,
    /// The most it can be.
    pub high: i32,
    /// The lane's own flags.
    pub flags: u16,
    /// What each vital contributes; at most 255 are stored.
    pub parts: Vec<ScorePart>,
}

/// What one vital contributes to a score.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScorePart {
    /// The number of the vital's kind.
    pub kind: u16,
    /// The least it contributes.
    pub low: i32,
    /// The most it contributes.
    pub high: i32,
}

impl Score {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .put(self.pseudonym.as_bytes())
            .i64(self.at.0)
            .u8(self.lane.number())
            .put(self.model.as_bytes())
            .i32(self.low)
            .i32(self.high)
            .u16(self.flags)
            .u8(count_u8(&self.parts));
        for part in self.parts.iter().take(usize::from(u8::MAX)) {
            writer.u16(part.kind).i32(part.low).i32(part.high);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            pseudonym: Pseudonym(reader.array()?),
            at: Micros(reader.i64()?),
            lane: Lane::decode(reader)?,
            model: ModelId(reader.array()?),
            low: reader.i32()?,
            high: reader.i32()?,
            flags: reader.u16()?,
            parts: decode_parts(reader)?,
        })
    }
}

fn decode_parts(reader: &mut Reader<'_>) -> Result<Vec<ScorePart>, Malformed> {
    (0..reader.u8()?)
        .map(|_| {
            Ok(ScorePart {
                kind: reader.u16()?,
                low: reader.i32()?,
                high: reader.i32()?,
            })
        })
        .collect()
}

blind_debug!(Score, ScorePart);
