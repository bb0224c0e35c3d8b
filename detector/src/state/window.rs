//! What is remembered of one kind of vital: buckets that grow coarser with age.
//!
//! Ten seconds for a minute, a minute for a quarter of an hour, an hour for half a day. Sums are
//! integers, so the order in which readings arrive changes nothing but which of them came too late
//! for their bucket. Only plausible values enter.

use pulseward_base::Micros;

const SECOND: i64 = 1_000_000;

/// One reading or many, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many readings.
    pub count: u32,
    /// Their sum, in steps of the kind's unit.
    pub sum: i64,
    /// The least of them.
    pub min: i32,
    /// The greatest of them.
    pub max: i32,
}

impl Summary {
    const fn of(value: i32) -> Self {
        Self {
            count: 1,
            sum: value as i64,
            min: value,
            max: value,
        }
    }

    fn join(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            sum: self.sum.saturating_add(other.sum),
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// A span that is remembered, and how finely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// One minute by ten seconds.
    Minute,
    /// A quarter of an hour by minutes.
    Quarter,
    /// Twelve hours by hours.
    HalfDay,
}

impl Span {
    /// All of them, finest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Quarter, Self::HalfDay];

    /// Returns how long one bucket is.
    #[must_use]
    pub const fn width(self) -> i64 {
        match self {
            Self::Minute => 10 * SECOND,
            Self::Quarter => 60 * SECOND,
            Self::HalfDay => 3600 * SECOND,
        }
    }

    /// Returns how many buckets there are at most.
    #[must_use]
    pub const fn buckets(self) -> i64 {
        match self {
            Self::Minute => 6,
            Self::Quarter => 15,
            Self::HalfDay => 12,
        }
    }
}

/// The buckets of one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    span: Span,
    /// Ascending by number of bucket since the epoch; none older than the span, none empty.
    pub(crate) buckets: Vec<(i64, Summary)>,
}

impl Ring {
    pub(crate) const fn new(span: Span) -> Self {
        Self {
            span,
            buckets: Vec::new(),
        }
    }

    pub(crate) const fn span(&self) -> Span {
        self.span
    }

    /// The most readings one bucket counts; what comes after is not summed.
    pub(crate) const FULL: u32 = u16::MAX as u32;

    fn add(&mut self, at: Micros, value: i32) {
        let number = at.0.div_euclid(self.span.width());
        let newest = self.buckets.last().map_or(number, |(newest, _)| *newest);
        if number <= newest.saturating_sub(self.span.buckets()) {
            return;
        }
        match self
            .buckets
            .binary_search_by_key(&number, |(number, _)| *number)
        {
            Ok(found) => {
                if let Some((_, summary)) = self.buckets.get_mut(found)
                    && summary.count < Self::FULL
                {
                    *summary = summary.join(Summary::of(value));
                }
            }
            Err(place) => self.buckets.insert(place, (number, Summary::of(value))),
        }
        let oldest = newest.max(number).saturating_sub(self.span.buckets());
        self.buckets.retain(|(number, _)| *number > oldest);
    }

    fn summary(&self, at: Micros) -> Option<Summary> {
        let last = at.0.div_euclid(self.span.width());
        let first = last.saturating_sub(self.span.buckets());
        self.buckets
            .iter()
            .filter(|(number, _)| *number > first && *number <= last)
            .map(|(_, summary)| *summary)
            .reduce(Summary::join)
    }
}

/// All spans of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    pub(crate) rings: [Ring; 3],
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            rings: Span::ALL.map(Ring::new),
        }
    }
}

impl Windows {
    /// Takes a reading into every span that still reaches back to it.
    pub fn add(&mut self, at: Micros, value: i32) {
        for ring in &mut self.rings {
            ring.add(at, value);
        }
    }

    /// Sums up the span that ends with the bucket of `at`; none when it holds no reading.
    #[must_use]
    pub fn summary(&self, span: Span, at: Micros) -> Option<Summary> {
        self.rings
            .iter()
            .find(|ring| ring.span == span)?
            .summary(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same from the list of readings, as slowly and plainly as can be.
    fn naive(readings: &[(i64, i32)], span: Span, at: i64) -> Option<Summary> {
        let number = |time: i64| time.div_euclid(span.width());
        let mut newest = i64::MIN;
        let mut kept = Vec::new();
        for &(time, value) in readings {
            if newest == i64::MIN || number(time) > newest - span.buckets() {
                kept.push((time, value));
            }
            newest = newest.max(number(time));
        }
        let inside = |time: i64| {
            number(time) > number(at) - span.buckets()
                && number(time) <= number(at)
                && number(time) > newest - span.buckets()
        };
        let values: Vec<i32> = kept
            .into_iter()
            .filter(|(time, _)| inside(*time))
            .map(|(_, value)| value)
            .collect();
        Some(Summary {
            count: u32::try_from(values.len()).unwrap(),
            sum: values.iter().map(|value| i64::from(*value)).sum(),
            min: *values.iter().min()?,
            max: *values.iter().max()?,
        })
    }

    proptest! {
        #[test]
        fn windows_equal_a_naive_recomputation(
            steps in prop::collection::vec((-40_i64..200, any::<i32>()), 1..120),
            scale in prop::sample::select(vec![1_i64, 60, 1800]),
            ask in -100_i64..4000,
        ) {
            let mut time = 1_000_000 * SECOND;
            let mut windows = Windows::default();
            let mut readings = Vec::new();
            for (step, value) in steps {
                time += step * scale * SECOND;
                windows.add(Micros(time), value);
                readings.push((time, value));
            }
            for span in Span::ALL {
                for at in [time, time + ask * SECOND] {
                    prop_assert_eq!(windows.summary(span, Micros(at)), naive(&readings, span, at));
                }
            }
        }
    }

    #[test]
    fn a_full_bucket_counts_no_further() {
        let mut windows = Windows::default();
        for _ in 0..Ring::FULL + 10 {
            windows.add(Micros(0), 3);
        }
        let summary = windows.summary(Span::Minute, Micros(0)).unwrap();
        assert_eq!(
            (summary.count, summary.sum),
            (Ring::FULL, 3 * i64::from(Ring::FULL))
        );
    }

    #[test]
    fn times_at_the_ends_of_time_do_no_harm() {
        let mut windows = Windows::default();
        for at in [i64::MIN, i64::MAX, 0, i64::MIN] {
            windows.add(Micros(at), 1);
            assert!(
                Span::ALL
                    .iter()
                    .all(|span| windows.summary(*span, Micros(at)).is_some())
                    || at != i64::MAX
            );
        }
    }
}
