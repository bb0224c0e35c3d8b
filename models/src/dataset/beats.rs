//! Annotated beats in the format of the MIT-BIH databases.
//!
//! ```text
//! annotation = u16: type << 10 | time since the last
//! type 59 (skip): i32 follows, high half first | 60, 61, 62: a number we do not need
//! type 63 (text): so many bytes follow, padded to even | 28: a rhythm begins, its name in the text
//! ```

use pulseward_base::{Micros, bytes::Reader};

use super::DatasetError;
use crate::features::{Beats, RhythmFeatures, Window};
use pulseward_vitals::Kind;

/// What a rhythm annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rhythm {
    /// Normal, or slow and regular.
    Regular,
    /// Atrial fibrillation.
    Fibrillation,
    /// Atrial flutter.
    Flutter,
    /// A pacemaker's.
    Paced,
    /// Any other.
    Other,
}

/// One record: its beats and where its rhythms begin, in units of its clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeatRecord {
    /// How many units its clock has a second; at least one.
    pub units_a_second: u32,
    /// When each beat came.
    pub beats: Vec<i64>,
    /// When each rhythm began, and which.
    pub rhythms: Vec<(i64, Rhythm)>,
}

/// What half a minute of a record shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RhythmWindow {
    /// What the last 128 beats up to its end look like.
    pub features: RhythmFeatures,
    /// The entropy's interval when every beat is off by as much as its sensor may.
    pub entropy: (f64, f64),
    /// The rhythm that fills most of it.
    pub rhythm: Rhythm,
}

/// Reads the annotations of a record whose clock has so many units a second.
pub fn read_annotations(bytes: &[u8], units_a_second: u32) -> Result<BeatRecord, DatasetError> {
    let mut reader = Reader::new(bytes);
    let mut record = BeatRecord {
        units_a_second: units_a_second.max(1),
        beats: Vec::new(),
        rhythms: Vec::new(),
    };
    let mut time = 0_i64;
    let mut rhythm_begins = false;
    let malformed = |_| DatasetError::Malformed;
    while !reader.rest().is_empty() {
        let word = reader.u16().map_err(malformed)?;
        let (kind, value) = (word >> 10, i64::from(word & 1023));
        match kind {
            0 if value == 0 => break,
            59 => {
                let high = reader.u16().map_err(malformed)?;
                let low = reader.u16().map_err(malformed)?;
                let skip = (u32::from(high) << 16 | u32::from(low)).cast_signed();
                time = time.saturating_add(i64::from(skip));
            }
            60..=62 => {}
            63 => {
                let length = usize::from(word & 1023);
                let text = reader.take(length.next_multiple_of(2)).map_err(malformed)?;
                if rhythm_begins {
                    record.rhythms.push((time, rhythm_named(text)));
                }
            }
            _ => {
                time = time.saturating_add(value);
                rhythm_begins = kind == 28;
                if is_beat(kind) {
                    record.beats.push(time);
                }
            }
        }
    }
    Ok(record)
}

const fn is_beat(kind: u16) -> bool {
    matches!(kind, 1..=13 | 25 | 30 | 31 | 34 | 35 | 38 | 41)
}

fn rhythm_named(text: &[u8]) -> Rhythm {
    let name = text.split(|byte| *byte == 0).next().unwrap_or_default();
    match name {
        b"(N" | b"(SBR" => Rhythm::Regular,
        b"(AFIB" => Rhythm::Fibrillation,
        b"(AFL" => Rhythm::Flutter,
        b"(P" => Rhythm::Paced,
        _ => Rhythm::Other,
    }
}

impl BeatRecord {
    /// Returns each interval between beats in tenths of a millisecond, as a sensor shows it, with the
    /// time at which it ended. A pause is a long interval, not an implausible one.
    pub fn intervals(&self) -> impl Iterator<Item = (i64, i32)> {
        let spec = Kind::BeatInterval.spec();
        let units = i64::from(self.units_a_second.max(1));
        let pairs = self.beats.iter().zip(self.beats.iter().skip(1));
        pairs.map(move |(from, to)| {
            let tenths = to.saturating_sub(*from).saturating_mul(10_000) / units;
            let tenths = i32::try_from(tenths).unwrap_or(i32::MAX);
            (*to, tenths.clamp(spec.lowest, spec.highest))
        })
    }

    /// Returns a window for every half minute. Paced rhythms, and windows before there are enough
    /// beats, are left out.
    #[must_use]
    pub fn windows(&self) -> Vec<RhythmWindow> {
        let half_minute = i64::from(self.units_a_second.max(1)) * 30;
        let mut window = Window::new(Micros(0));
        let mut next = half_minute;
        let mut seen = Vec::new();
        for (to, tenths) in self.intervals() {
            while to > next {
                let rhythm = self.mostly(next - half_minute, next);
                seen.extend(rhythm.and_then(|rhythm| look(window.beats(), rhythm)));
                next += half_minute;
            }
            window.push(Kind::BeatInterval, Micros(to), tenths);
        }
        seen
    }

    /// The rhythm that fills most of the time from `from` to `to`.
    fn mostly(&self, from: i64, to: i64) -> Option<Rhythm> {
        let ends = self
            .rhythms
            .iter()
            .skip(1)
            .map(|rhythm| rhythm.0)
            .chain([i64::MAX]);
        let mut shares: Vec<(Rhythm, i64)> = Vec::new();
        for ((begin, rhythm), end) in self.rhythms.iter().zip(ends) {
            let share = end.min(to) - (*begin).max(from);
            if share <= 0 {
                continue;
            }
            match shares.iter_mut().find(|known| known.0 == *rhythm) {
                Some(known) => known.1 += share,
                None => shares.push((*rhythm, share)),
            }
        }
        shares
            .into_iter()
            .max_by_key(|known| known.1)
            .map(|known| known.0)
    }
}

fn look(beats: &Beats, rhythm: Rhythm) -> Option<RhythmWindow> {
    if rhythm == Rhythm::Paced {
        return None;
    }
    Some(RhythmWindow {
        features: beats.features()?,
        entropy: beats.entropy_within(Kind::BeatInterval.spec().sensor_error)?,
        rhythm,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word(kind: u16, value: u16) -> [u8; 2] {
        (kind << 10 | value).to_le_bytes()
    }

    #[test]
    fn beats_skips_and_rhythms_are_read() {
        let bytes = [
            &word(28, 5)[..],
            &word(63, 3),
            b"(N\0\0",
            &word(1, 10),
            &word(59, 0),
            &[1, 0, 0, 0],
            &word(5, 7),
            &word(28, 0),
            &word(63, 5),
            b"(AFIB\0",
            &word(0, 0),
            b"after the end",
        ]
        .concat();
        let record = read_annotations(&bytes, 360).unwrap();
        assert_eq!(record.beats, [15, 15 + 65_536 + 7]);
        assert_eq!(
            record.rhythms,
            [(5, Rhythm::Regular), (65_558, Rhythm::Fibrillation)]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_record_or_an_error(bytes: Vec<u8>, units: u32) {
            if let Ok(record) = read_annotations(&bytes, units) {
                prop_assume!(record.beats.iter().all(|beat| *beat < 100_000));
                let _seen = record.windows();
            }
        }
    }
}
