//! The bytes of each model's parameters. Decoding goes through the same constructors as fitting, so
//! what loads is as sound as what was fitted.

use pulseward_base::bytes::{Malformed, Reader, Writer};

use super::Parameters;
use crate::{
    additive::{Additive, Curve, Looks, MOST_KNOTS},
    anchor::{Anchor, Bracket, Constancy, MOST_RADIUS, TERMS},
    partition::{Gaussians, Part},
    rhythm::RhythmModel,
};

/// The most parts of an ensemble.
const MOST_PARTS: u32 = 4096;

/// Quantiles in parts of a step stay below this: no plausible reading is near.
const FARTHEST: i64 = 1 << 40;

impl Parameters {
    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Anchor(anchor) => encode_anchor(anchor, writer),
            Self::Gaussians(gaussians) => encode_gaussians(gaussians, writer),
            Self::Additive(additive) => encode_additive(additive, writer),
            Self::Rhythm(rhythm) => {
                writer.u8(4);
                for number in rhythm
                    .weights
                    .into_iter()
                    .chain([rhythm.intercept, rhythm.threshold])
                {
                    double(writer, number);
                }
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            1 => decode_anchor(reader).map(Self::Anchor),
            2 => decode_gaussians(reader).map(Self::Gaussians),
            3 => decode_additive(reader).map(Self::Additive),
            4 => Ok(Self::Rhythm(RhythmModel {
                weights: [finite(reader)?, finite(reader)?],
                intercept: finite(reader)?,
                threshold: finite(reader)?,
            })),
            _ => Err(Malformed),
        }
    }
}

fn encode_anchor(anchor: &Anchor, writer: &mut Writer) {
    writer.u8(1).u8(anchor.constancy().as_percent());
    double(writer, anchor.threshold());
    count(writer, anchor.brackets().len());
    for bracket in anchor.brackets().iter().flatten() {
        for quantile in bracket.near.into_iter().chain(bracket.far) {
            writer.i64(quantile);
        }
    }
}

fn decode_anchor(reader: &mut Reader<'_>) -> Result<Anchor, Malformed> {
    let constancy = Constancy::percent(reader.u8()?).ok_or(Malformed)?;
    let threshold = finite(reader)?;
    let levels = reader.u32()?;
    if levels == 0 || levels > MOST_RADIUS + 1 {
        return Err(Malformed);
    }
    let mut brackets: Vec<[Bracket; TERMS]> = Vec::new();
    for _ in 0..levels {
        let mut terms = [Bracket::default(); TERMS];
        for (term, slot) in terms.iter_mut().enumerate() {
            let inner = brackets.last().and_then(|level| level.get(term));
            *slot = decode_bracket(reader, inner)?;
        }
        brackets.push(terms);
    }
    let anchor = Anchor::new(constancy, threshold, brackets).ok_or(Malformed)?;
    // A level that could not be used is one that no fit wrote.
    if anchor.brackets().len() == levels as usize {
        Ok(anchor)
    } else {
        Err(Malformed)
    }
}

/// Brackets nest and do not cross; without that no radius would be true.
fn decode_bracket(reader: &mut Reader<'_>, inner: Option<&Bracket>) -> Result<Bracket, Malformed> {
    let mut quantile = || {
        let value = reader.i64()?;
        if value.abs() <= FARTHEST {
            Ok(value)
        } else {
            Err(Malformed)
        }
    };
    let bracket = Bracket {
        near: [quantile()?, quantile()?],
        far: [quantile()?, quantile()?],
    };
    let [near_least, near_most] = bracket.near;
    let [far_least, far_most] = bracket.far;
    let ordered = near_least <= near_most && near_most < far_least && far_least <= far_most;
    let nested = inner.is_none_or(|inner| {
        near_least <= inner.near[0]
            && inner.near[1] <= near_most
            && far_least <= inner.far[0]
            && inner.far[1] <= far_most
    });
    // The first level is the score itself: a point.
    let point = inner.is_some() || (near_least == near_most && far_least == far_most);
    if ordered && nested && point {
        Ok(bracket)
    } else {
        Err(Malformed)
    }
}

fn encode_gaussians(gaussians: &Gaussians, writer: &mut Writer) {
    writer.u8(2).u32(gaussians.threshold().to_bits());
    count(writer, gaussians.parts().len());
    for part in gaussians.parts() {
        match part {
            Part::Constant => {
                writer.u8(0);
            }
            Part::Fitted { mean, precision } => {
                writer.u8(1);
                for number in mean.iter().chain(precision) {
                    writer.u32(number.to_bits());
                }
            }
        }
    }
}

fn decode_gaussians(reader: &mut Reader<'_>) -> Result<Gaussians, Malformed> {
    let threshold = f32::from_bits(reader.u32()?);
    let count = reader.u32()?;
    if count > MOST_PARTS {
        return Err(Malformed);
    }
    let mut parts = Vec::new();
    for _ in 0..count {
        parts.push(match reader.u8()? {
            0 => Part::Constant,
            1 => {
                let mut numbers = [[0.0; TERMS]; 2];
                for number in numbers.iter_mut().flatten() {
                    *number = f32::from_bits(reader.u32()?);
                }
                let [mean, precision] = numbers;
                Part::Fitted { mean, precision }
            }
            _ => return Err(Malformed),
        });
    }
    Gaussians::new(threshold, parts).ok_or(Malformed)
}

fn encode_additive(additive: &Additive, writer: &mut Writer) {
    writer.u8(3);
    double(writer, additive.intercept());
    double(writer, additive.threshold());
    count(writer, additive.curves().len());
    for curve in additive.curves() {
        let looks = Looks::ALL.iter().position(|looks| *looks == curve.looks);
        // Unwrap safety: vitals and looks are few.
        writer.u8(u8::try_from(curve.vital).unwrap_or(u8::MAX));
        writer.u8(looks
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(u8::MAX));
        double(writer, curve.missing);
        count(writer, curve.knots.len());
        for (knot, height) in &curve.knots {
            double(writer, *knot);
            double(writer, *height);
        }
    }
}

fn decode_additive(reader: &mut Reader<'_>) -> Result<Additive, Malformed> {
    let (intercept, threshold) = (finite(reader)?, finite(reader)?);
    let count = reader.u32()? as usize;
    let mut left = MOST_KNOTS;
    let mut curves = Vec::new();
    for _ in 0..count {
        let vital = usize::from(reader.u8()?);
        let looks = *Looks::ALL.get(usize::from(reader.u8()?)).ok_or(Malformed)?;
        let missing = finite(reader)?;
        let knots = reader.u32()? as usize;
        left = left.checked_sub(knots).ok_or(Malformed)?;
        let knots = (0..knots)
            .map(|_| Ok((finite(reader)?, finite(reader)?)))
            .collect::<Result<_, _>>()?;
        curves.push(Curve {
            vital,
            looks,
            knots,
            missing,
        });
    }
    Additive::new(curves, intercept, threshold).ok_or(Malformed)
}

fn count(writer: &mut Writer, count: usize) {
    // Unwrap safety: more than a u32 does not fit memory; it would not load anyway.
    writer.u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn double(writer: &mut Writer, number: f64) {
    writer.u64(number.to_bits());
}

fn finite(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    let number = f64::from_bits(reader.u64()?);
    if number.is_finite() {
        Ok(number)
    } else {
        Err(Malformed)
    }
}
