//! Identifiers as types of their own, so that one cannot stand in for another.

use std::fmt;

/// Declares an identifier of fixed size. Its `Debug` shows four bytes: enough to tell two apart in
/// a test's message, too few to serve as a key into anything.
macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// How many bytes it has.
            pub const SIZE: usize = $size;
            /// All zeros: "none" where a format says so.
            pub const ZERO: Self = Self([0; $size]);

            /// Returns its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                for byte in self.0.iter().take(4) {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("..)")
            }
        }

        impl From<[u8; $size]> for $name {
            fn from(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }
        }
    };
}

/// Declares a number that names or counts one thing.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

bytes_id!(/** An alert, the same on every delivery of it. */ AlertId, 16);
bytes_id!(/** A SHA-256 digest. */ Digest, 32);
bytes_id!(/** One queue of one device: its start time, then eight random bytes. */ Incarnation, 16);
bytes_id!(/** The random name of a patient's key. */ KeyId, 16);
bytes_id!(/** A signer: SHA-256 of its public key's SPKI. */ Kid, 32);
bytes_id!(/** A model artefact: the first half of its digest. */ ModelId, 16);
bytes_id!(/** A patient, as the pipeline knows one. */ Pseudonym, 16);
bytes_id!(/** One slip that passes between the two programs. */ SlipId, 16);
bytes_id!(/** One ticket, spent once. */ TicketId, 16);
bytes_id!(/** One start of one process that writes to the log. */ WriterId, 16);

number_id!(/** A term of ownership of a shard: a higher one fences a lower one. */ Epoch, u64);
number_id!(/** A life of the log: partitions or back end change only with it. */ Generation, u32);
number_id!(/** A group of patients whose history shares files. */ GroupId, u32);
number_id!(/** A place in one partition of one topic. */ Offset, u64);
number_id!(/** A partition, the same on every topic. */ Partition, u32);
number_id!(/** A batch's number in its device's queue. */ Seq, u64);
number_id!(/** One of the 1,024 places patients are spread over. */ Slot, u16);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u16 = 1024;

    /// Returns the partition of this slot among `partitions`.
    #[must_use]
    pub const fn partition(self, partitions: u32) -> Partition {
        Partition((self.0 as u32 * partitions) / Self::COUNT as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_spread_evenly_and_in_order() {
        for partitions in [1, 3, 4, 64, 1024] {
            let mut counts = vec![0_u32; partitions as usize];
            for slot in 0..Slot::COUNT {
                counts[Slot(slot).partition(partitions).0 as usize] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(
                most - least <= 1,
                "{partitions} partitions: {least}..{most}"
            );
        }
    }

    #[test]
    fn debug_shows_four_bytes_only() {
        assert_eq!(
            format!("{:?}", Pseudonym([0xab; 16])),
            "Pseudonym(abababab..)"
        );
    }
}
