//! What stands in `control` and `parked`.

use pulseward_base::{
    Kid, Micros,
    bytes::{Malformed, Reader, Writer},
};

use super::blind_debug;
use crate::{Position, Topic};

/// A ticket was spent: the first of its MAC in the log counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Redemption {
    /// The ticket's MAC under the registry's key; the ticket's id is not kept.
    pub ticket_mac: [u8; 32],
    /// The device that spent it.
    pub device: Kid,
    /// When.
    pub time: Micros,
}

impl Redemption {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .put(&self.ticket_mac)
            .put(self.device.as_bytes())
            .i64(self.time.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            ticket_mac: reader.array()?,
            device: Kid(reader.array()?),
            time: Micros(reader.i64()?),
        })
    }
}

/// A position that every reader passes over, so that replays agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The topic, in this record's own partition.
    pub topic: Topic,
    /// The position.
    pub position: Position,
    /// Why, by the parking stage's own numbers.
    pub reason: u16,
}

impl Parked {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(self.topic.number());
        self.position.encode(writer);
        writer.u16(self.reason);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            topic: Topic::from_number(reader.u8()?).ok_or(Malformed)?,
            position: Position::decode(reader)?,
            reason: reader.u16()?,
        })
    }
}

blind_debug!(Redemption);
