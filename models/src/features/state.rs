//! The bytes of a window, for the record that a detector keeps of each patient.
//!
//! ```text
//! window = version u8 (1) | hour i64 | lane × 7 | count u8 | newest beat i64 | interval u16 × count
//! lane   = (sum i64, count u32) × 12 | carried u8 (0, 1) [hour i64, mean i64] | baseline u8 (0, 1) [mean i64]
//! ```

use pulseward_base::{
    Micros,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_vitals::Kind;

use super::{BEATS, Beats, Bucket, HOURS, Lane, PARTS, VITALS, Window};

const VERSION: u8 = 1;

/// Hours beyond these (±100,000 years) are no times.
const FARTHEST_HOUR: i64 = 1 << 30;

impl Window {
    /// Writes the window.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u8(VERSION).i64(self.hour);
        for lane in &self.lanes {
            for bucket in &lane.hours {
                writer.i64(bucket.sum).u32(bucket.count);
            }
            writer.u8(u8::from(lane.carried.is_some()));
            if let Some((hour, mean)) = lane.carried {
                writer.i64(hour).i64(mean);
            }
            writer.u8(u8::from(lane.baseline.is_some()));
            if let Some(mean) = lane.baseline {
                writer.i64(mean);
            }
        }
        // Unwrap safety: there are at most BEATS intervals.
        writer.u8(u8::try_from(self.beats.intervals.len()).unwrap_or(u8::MAX));
        writer.i64(self.beats.newest.0);
        for interval in &self.beats.intervals {
            writer.u16(*interval);
        }
    }

    /// Reads what [`Window::encode`] wrote. Numbers that no reading could have left behind are
    /// refused, so nothing later can overflow.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let hour = checked_hour(reader.i64()?)?;
        let mut lanes = [Lane::default(); VITALS.len()];
        for (lane, kind) in lanes.iter_mut().zip(VITALS) {
            *lane = decode_lane(reader, kind)?;
        }
        let count = usize::from(reader.u8()?);
        if count > BEATS {
            return Err(Malformed);
        }
        let newest = Micros(reader.i64()?);
        let intervals = (0..count).map(|_| reader.u16()).collect::<Result<_, _>>()?;
        let beats = Beats { intervals, newest };
        Ok(Self { hour, lanes, beats })
    }
}

fn decode_lane(reader: &mut Reader<'_>, kind: Kind) -> Result<Lane, Malformed> {
    let mut hours = [Bucket::default(); HOURS];
    for bucket in &mut hours {
        let (sum, count) = (reader.i64()?, reader.u32()?);
        let least = i64::from(kind.spec().lowest) * i64::from(count);
        let most = i64::from(kind.spec().highest) * i64::from(count);
        if !(least..=most).contains(&sum) {
            return Err(Malformed);
        }
        *bucket = Bucket { sum, count };
    }
    let carried = if flag(reader)? {
        let hour = checked_hour(reader.i64()?)?;
        Some((hour, checked_mean(reader.i64()?, kind)?))
    } else {
        None
    };
    let baseline = if flag(reader)? {
        Some(checked_mean(reader.i64()?, kind)?)
    } else {
        None
    };
    Ok(Lane {
        hours,
        carried,
        baseline,
    })
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

fn checked_hour(hour: i64) -> Result<i64, Malformed> {
    (-FARTHEST_HOUR..=FARTHEST_HOUR)
        .contains(&hour)
        .then_some(hour)
        .ok_or(Malformed)
}

fn checked_mean(mean: i64, kind: Kind) -> Result<i64, Malformed> {
    let least = i64::from(kind.spec().lowest) * PARTS;
    let most = i64::from(kind.spec().highest) * PARTS;
    (least..=most)
        .contains(&mean)
        .then_some(mean)
        .ok_or(Malformed)
}
