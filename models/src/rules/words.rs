//! What the rules say to a clinician.

use std::fmt;

use super::news2::{Abstention, Contribution, Measured, Parameter, Score, Severity};

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Respiration => "respiratory rate",
            Self::Saturation => "oxygen saturation",
            Self::Oxygen => "air or oxygen",
            Self::Pressure => "systolic blood pressure",
            Self::Pulse => "pulse",
            Self::Consciousness => "consciousness",
            Self::Temperature => "temperature",
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low risk: ward-based response",
            Self::SingleThree => "low to medium risk, 3 in one parameter: urgent ward review",
            Self::Medium => "medium risk: urgent response",
            Self::High => "high risk: emergency response",
        })
    }
}

impl fmt::Display for Abstention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooYoung => "NEWS2 is not for children under 16: use a paediatric score",
            Self::Pregnant => "NEWS2 is not for use in pregnancy: use an obstetric score",
        })
    }
}

/// "respiratory rate 26 /min (+3)", "temperature stale (+0 to 3)".
impl fmt::Display for Contribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.parameter)?;
        match self.measured {
            Measured::Stale => f.write_str("stale")?,
            Measured::Missing => f.write_str("not measured")?,
            Measured::Between(low, high) if low == high => write_value(f, self.parameter, low)?,
            Measured::Between(low, high) => {
                write_value(f, self.parameter, low)?;
                f.write_str(" to ")?;
                write_value(f, self.parameter, high)?;
            }
        }
        if self.low == self.high {
            write!(f, " (+{})", self.low)
        } else {
            write!(f, " (+{} to {})", self.low, self.high)
        }
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, parameter: Parameter, value: i32) -> fmt::Result {
    match parameter {
        Parameter::Oxygen => f.write_str(if value == 0 { "air" } else { "oxygen" }),
        Parameter::Consciousness => f.write_str(match value {
            0 => "alert",
            1 => "newly confused",
            2 => "responds to voice",
            3 => "responds to pain",
            _ => "unresponsive",
        }),
        _ => {
            let kind = parameter.kind();
            let unit = match kind.spec().ucum {
                "Cel" => "°C",
                "mm[Hg]" => "mmHg",
                other => other,
            };
            write!(f, "{} {unit}", kind.to_unit(value))
        }
    }
}

/// "NEWS2 7 (high risk: emergency response): respiratory rate 26 /min (+3), …": what adds comes
/// first; what is known and adds nothing is left out.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "NEWS2 {}", self.low)?;
        } else {
            write!(f, "NEWS2 {} to {}", self.low, self.high)?;
        }
        if self.at_least == self.at_most {
            write!(f, " ({})", self.at_least)?;
        } else {
            write!(f, " (at least {}; at most {})", self.at_least, self.at_most)?;
        }
        let mut adding: Vec<_> = self.contributions.iter().filter(|c| c.high > 0).collect();
        adding.sort_by_key(|c| std::cmp::Reverse((c.low, c.high)));
        for (index, contribution) in adding.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { ", " })?;
            write!(f, "{contribution}")?;
        }
        if !self.confirmed {
            f.write_str("; age or pregnancy not known")?;
        }
        Ok(())
    }
}
