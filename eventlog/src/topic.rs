//! The topics of the log, and how a place in one of them is named.

use pulseward_base::{
    Generation, Offset,
    bytes::{Malformed, Reader, Writer},
};

/// How long a topic's entries stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Until every stage is past them.
    Trimmed,
    /// The newest of each key, for ever.
    Compacted,
    /// All of them, for ever.
    Kept,
}

/// Declares the topics: number, name, retention.
macro_rules! topics {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal, $retention:ident;)*) => {
        /// A topic of the log. Its number and name are frozen: stored entries count on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Topic {
            $($(#[$doc])* $name,)*
        }

        impl Topic {
            /// All topics, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns its number in entries and frames.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number),* }
            }

            /// Returns its name in metrics and on Kafka.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// Returns how long its entries stay.
            #[must_use]
            pub const fn retention(self) -> Retention {
                match self { $(Self::$name => Retention::$retention),* }
            }

            /// Returns the topic of this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

topics! {
    /// Whatever may change an outcome: batches, ticks, controls.
    Feed = 1, "feed", Trimmed;
    /// What the detector scored.
    Scores = 2, "scores", Trimmed;
    /// What the detector raises, lifts and clears.
    Alerts = 3, "alerts", Trimmed;
    /// The detector's state per patient, and its partition's record.
    State = 4, "state", Compacted;
    /// What has arrived from each device.
    Marks = 5, "marks", Compacted;
    /// Each device's enrolment and status.
    Devices = 6, "devices", Compacted;
    /// What was delivered to whom.
    Deliveries = 7, "deliveries", Compacted;
    /// Spent tickets, layout, write version.
    Control = 8, "control", Kept;
    /// The audit chain.
    Audit = 9, "audit", Kept;
    /// Positions that are passed over because they could not be processed.
    Parked = 10, "parked", Kept;
}

impl Topic {
    /// Returns whether what is still needed of a trimmed topic moves out of segments that nobody
    /// else needs. So it is where few and small entries are needed for long: an alert that stays
    /// open must not keep every reading since.
    pub(crate) const fn moves(self) -> bool {
        matches!(self, Self::Alerts)
    }
}

/// A place in one partition of one topic, in one life of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The life of the log.
    pub generation: Generation,
    /// The place within it.
    pub offset: Offset,
}

impl Position {
    /// How many bytes it has where it is written down.
    pub const SIZE: usize = 12;

    /// Returns the position right behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            generation: self.generation,
            offset: Offset(self.offset.0 + 1),
        }
    }

    /// Writes `generation u32 ‖ offset u64`.
    pub fn encode(self, writer: &mut Writer) {
        writer.u32(self.generation.0).u64(self.offset.0);
    }

    /// Reads what [`Position::encode`] wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            generation: Generation(reader.u32()?),
            offset: Offset(reader.u64()?),
        })
    }
}

/// What made an output: a place in `feed`, and which of that entry's outputs this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// The place in `feed`, in the output's own partition.
    pub position: Position,
    /// The output's number among those of that entry, in its topic.
    pub index: u32,
}

impl Cause {
    /// How many bytes it has where it is written down.
    pub const SIZE: usize = 16;

    /// Writes `generation u32 ‖ offset u64 ‖ index u32`; all ones say that there is none.
    pub fn encode_option(cause: Option<Self>, writer: &mut Writer) {
        match cause {
            Some(cause) => {
                cause.position.encode(writer);
                writer.u32(cause.index);
            }
            None => {
                writer.put(&[0xff; Self::SIZE]);
            }
        }
    }

    /// Reads what [`Cause::encode_option`] wrote.
    pub fn decode_option(reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        let bytes = reader.array::<{ Self::SIZE }>()?;
        if bytes == [0xff; Self::SIZE] {
            return Ok(None);
        }
        let mut reader = Reader::new(&bytes);
        Ok(Some(Self {
            position: Position::decode(&mut reader)?,
            index: reader.u32()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_go_both_ways() {
        let mut names: Vec<_> = Topic::ALL.iter().map(|topic| topic.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Topic::ALL.len());
        for topic in Topic::ALL {
            assert_eq!(Topic::from_number(topic.number()), Some(*topic));
        }
        assert_eq!(Topic::from_number(0), None);
    }

    #[test]
    fn causes_order_by_position_then_index() {
        let cause = |generation, offset, index| Cause {
            position: Position {
                generation: Generation(generation),
                offset: Offset(offset),
            },
            index,
        };
        assert!(cause(0, 9, 9) < cause(1, 0, 0));
        assert!(cause(1, 1, 0) < cause(1, 1, 1));
        for expect in [None, Some(cause(1, 2, 3))] {
            let mut writer = Writer::new();
            Cause::encode_option(expect, &mut writer);
            let decoded = Cause::decode_option(&mut Reader::new(writer.as_slice()));
            assert_eq!(decoded, Ok(expect));
        }
    }
}
