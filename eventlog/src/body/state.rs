//! The partition record in `state`. A patient's state is the detector's own bytes.

use pulseward_base::{
    Micros,
    bytes::{Malformed, Reader, Writer},
};

use super::{blind_debug, take_opaque};
use crate::{Cause, Position};

/// To where every patient's state of a partition is complete: where a take-over replays from.
#[derive(Clone, PartialEq, Eq)]
pub struct PartitionRecord {
    /// The first position in `feed` that some patient's state may lack.
    pub as_of: Position,
    /// The log's time there.
    pub log_time: Micros,
    /// The cause of the last score before it.
    pub last_score: Option<Cause>,
    /// The cause of the last alert before it.
    pub last_alert: Option<Cause>,
    /// The sources of ticks, in the detector's own layout.
    pub sources: Vec<u8>,
}

impl PartitionRecord {
    pub(super) fn encode(&self, writer: &mut Writer) {
        self.as_of.encode(writer);
        writer.i64(self.log_time.0);
        Cause::encode_option(self.last_score, writer);
        Cause::encode_option(self.last_alert, writer);
        writer.put(&self.sources);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            as_of: Position::decode(reader)?,
            log_time: Micros(reader.i64()?),
            last_score: Cause::decode_option(reader)?,
            last_alert: Cause::decode_option(reader)?,
            sources: take_opaque(reader)?,
        })
    }
}

blind_debug!(PartitionRecord);
