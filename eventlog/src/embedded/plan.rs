//! Where the next append goes, decided when it is taken in: so that one that finds no room is
//! refused before it has a number, and one that was taken always fits.
//!
//! Room is what is left in the segment planned last, in the segments prepared beyond it, and in
//! those that may still be made. Each class of appends must leave the room that is kept for the
//! classes after it.

use crate::Class;

/// What there is room for.
#[derive(Debug)]
pub(super) struct Plan {
    /// How many bytes of a segment frames may use.
    usable: u64,
    segment_bytes: u64,
    max_bytes: u64,
    /// How much room each class leaves to the next.
    reserve: u64,
    /// The segment that appends are planned into, and what is left of it.
    segment: u64,
    free: u64,
    /// Segments prepared beyond it.
    spares: u64,
    /// All segments there are.
    existing: u64,
    table_bytes: u64,
    /// The last try to make a segment failed: there is no room but what is prepared.
    stuck: bool,
}

/// Where an append goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// Into this segment.
    In(u64),
    /// Nowhere yet: a segment is about to be prepared.
    Later,
    /// Nowhere.
    Full,
}

/// The sizes a plan works with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) usable: u64,
    pub(super) segment_bytes: u64,
    pub(super) max_bytes: u64,
    pub(super) reserve: u64,
}

impl Plan {
    /// Starts in `segment`, of which `used` bytes are taken, with as many segments as exist.
    pub(super) const fn new(
        sizes: Sizes,
        segment: u64,
        used: u64,
        existing: u64,
        table_bytes: u64,
    ) -> Self {
        Self {
            usable: sizes.usable,
            segment_bytes: sizes.segment_bytes,
            max_bytes: sizes.max_bytes,
            reserve: sizes.reserve,
            segment,
            free: sizes.usable.saturating_sub(used),
            spares: 0,
            existing,
            table_bytes,
            stuck: false,
        }
    }

    /// Finds room for `size` bytes of `class` and takes it.
    pub(super) fn place(&mut self, size: u64, class: Class) -> Placed {
        if size > self.usable || self.room() < size.saturating_add(self.kept_from(class)) {
            return Placed::Full;
        }
        if size <= self.free {
            self.free -= size;
        } else if self.spares > 0 {
            self.spares -= 1;
            self.segment += 1;
            self.free = self.usable - size;
        } else if self.growable() > 0 {
            return Placed::Later;
        } else {
            return Placed::Full;
        }
        Placed::In(self.segment)
    }

    /// Returns the number of the segment to be prepared, if one should be.
    pub(super) const fn wanted(&self) -> Option<u64> {
        if self.spares == 0 && self.allowed() > 0 {
            Some(self.segment + 1)
        } else {
            None
        }
    }

    /// A segment was prepared.
    pub(super) const fn grew(&mut self) {
        self.spares += 1;
        self.existing += 1;
        self.stuck = false;
    }

    /// A segment could not be prepared.
    pub(super) const fn stuck(&mut self) {
        self.stuck = true;
    }

    /// Returns whether another try to prepare a segment is due.
    pub(super) const fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Segments were removed and tables written.
    pub(super) const fn trimmed(&mut self, segments: u64, table_bytes: u64) {
        self.existing = self.existing.saturating_sub(segments);
        self.table_bytes = table_bytes;
    }

    /// Returns how many bytes all files take.
    pub(super) const fn used(&self) -> u64 {
        self.existing * self.segment_bytes + self.table_bytes
    }

    const fn room(&self) -> u64 {
        self.free + (self.spares + self.growable()) * self.usable
    }

    const fn growable(&self) -> u64 {
        if self.stuck { 0 } else { self.allowed() }
    }

    /// Returns how many more segments the bound on all files allows.
    const fn allowed(&self) -> u64 {
        self.max_bytes.saturating_sub(self.used()) / self.segment_bytes
    }

    const fn kept_from(&self, class: Class) -> u64 {
        let classes = match class {
            Class::Ingest => 3,
            Class::History => 2,
            Class::Stage => 1,
            Class::Erasure => 0,
        };
        classes * self.reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes {
        usable: 100,
        segment_bytes: 110,
        max_bytes: 330,
        reserve: 20,
    };

    #[test]
    fn what_does_not_fit_goes_into_the_next_segment_once_there_is_one() {
        let mut plan = Plan::new(SIZES, 5, 30, 1, 0);
        assert_eq!(plan.place(70, Class::Ingest), Placed::In(5));
        assert_eq!(plan.place(70, Class::Ingest), Placed::Later);
        assert_eq!(plan.wanted(), Some(6));
        plan.grew();
        assert_eq!(plan.wanted(), None);
        assert_eq!(plan.place(70, Class::Ingest), Placed::In(6));
        assert_eq!(plan.wanted(), Some(7));
        assert_eq!(plan.used(), 220);
    }

    #[test]
    fn b17_each_class_leaves_room_for_the_ones_after_it() {
        let mut plan = Plan::new(SIZES, 5, 0, 3, 0);
        let classes = [Class::Ingest, Class::History, Class::Stage, Class::Erasure];
        let mut placed = Vec::new();
        for class in classes {
            let mut count = 0;
            while plan.place(10, class) == Placed::In(5) {
                count += 1;
            }
            assert_eq!(plan.place(10, class), Placed::Full);
            placed.push(count);
        }
        assert_eq!(placed, [4, 2, 2, 2]);
        plan.trimmed(1, 0);
        assert_eq!(plan.place(10, Class::Ingest), Placed::Later);
    }

    #[test]
    fn b17_a_disk_that_is_full_stops_appends_until_it_is_not() {
        let mut plan = Plan::new(SIZES, 5, 0, 1, 0);
        plan.stuck();
        assert_eq!(plan.place(30, Class::Ingest), Placed::In(5));
        assert_eq!(plan.place(30, Class::Ingest), Placed::Full);
        assert!(plan.is_stuck());
        assert_eq!(plan.wanted(), Some(6));
        plan.grew();
        assert_eq!(plan.place(90, Class::Ingest), Placed::In(6));
    }

    #[test]
    fn what_no_segment_holds_is_refused() {
        let mut plan = Plan::new(SIZES, 5, 0, 1, 0);
        assert_eq!(plan.place(101, Class::Erasure), Placed::Full);
    }
}
