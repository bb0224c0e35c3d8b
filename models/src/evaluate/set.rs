//! The set that candidates are judged on: frozen under an operator's signature.

use pulseward_base::{
    Digest, Micros, Pseudonym,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_vitals::training::{About, Event};

use super::{Decider, HELD, Judged, QUARTERS, Row};
use crate::{
    anchor::Radius,
    artefact::{ArtefactError, Form, Signer, Trust, seal},
    dataset::Hour,
    features::{Hours, PARTS, RhythmFeatures, VITALS, Window, hour_of, vital},
    rhythm::RhythmModel,
    rules::news2::{Eligibility, Measured, Parameter, SaturationScale, Score, Vitals, assess},
    train::{Pool, Stay},
};

const MOST_BYTES: usize = 64 << 20;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

const FORM: Form = Form {
    magic: *b"PWEVALS\0",
    most_bytes: MOST_BYTES,
    skip: |reader| reader.prefixed(MOST_BYTES).map(|_| ()),
};

/// One patient to judge on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Who.
    pub patient: Pseudonym,
    /// For groups.
    pub about: About,
    /// In order of time.
    pub hours: Vec<Hour>,
}

/// One subject's rhythm windows to judge on.
#[derive(Clone, Debug, PartialEq)]
pub struct RhythmCase {
    /// Who.
    pub patient: Pseudonym,
    /// What the windows look like, and whether the rhythm is irregular.
    pub windows: Vec<(RhythmFeatures, bool)>,
}

/// A frozen set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluationSet {
    /// What people call it.
    pub name: String,
    /// Patients with hours.
    pub cases: Vec<Case>,
    /// Subjects with beats.
    pub rhythm: Vec<RhythmCase>,
}

impl EvaluationSet {
    /// Makes a set of everybody in a pool.
    #[must_use]
    pub fn of(name: &str, pool: &Pool) -> Self {
        let mut set = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        for (patient, stay) in pool.stays() {
            let windows = stay.rhythm_windows();
            if !windows.is_empty() {
                set.rhythm.push(RhythmCase {
                    patient: *patient,
                    windows,
                });
            }
            let case = Case::of(*patient, stay);
            if !case.hours.is_empty() {
                set.cases.push(case);
            }
        }
        set
    }

    /// Freezes the set.
    #[must_use]
    pub fn sign(&self, operator: &Signer<'_>) -> Vec<u8> {
        seal(self.unsigned(), operator)
    }

    /// Returns the digest that names the set.
    #[must_use]
    pub fn digest(&self) -> Digest {
        pulseward_crypto::hash::sha256(&[&self.unsigned()])
    }

    /// Reads a set and checks who froze it.
    pub fn open(bytes: &[u8], trust: &Trust) -> Result<Self, ArtefactError> {
        let opened = FORM.open(bytes, trust)?;
        let mut outer = Reader::new(opened.body);
        let mut reader = Reader::new(outer.prefixed(MOST_BYTES)?);
        let name = reader.prefixed(4096)?;
        let name = std::str::from_utf8(name).map_err(|_| Malformed)?.to_owned();
        let cases = (0..reader.u32()?).map(|_| Case::decode(&mut reader));
        let cases = cases.collect::<Result<Vec<_>, _>>()?;
        let rhythm = (0..reader.u32()?).map(|_| RhythmCase::decode(&mut reader));
        let rhythm = rhythm.collect::<Result<Vec<_>, _>>()?;
        reader.end()?;
        Ok(Self {
            name,
            cases,
            rhythm,
        })
    }

    fn unsigned(&self) -> Vec<u8> {
        FORM.unsigned(|outer| {
            let mut writer = Writer::new();
            writer.prefixed(self.name.as_bytes());
            writer.u32(self.cases.len() as u32);
            for case in &self.cases {
                case.encode(&mut writer);
            }
            writer.u32(self.rhythm.len() as u32);
            for case in &self.rhythm {
                case.encode(&mut writer);
            }
            outer.prefixed(writer.as_slice());
        })
    }
}

impl Case {
    /// One value an hour and vital: the mean, rounded down.
    fn of(patient: Pseudonym, stay: &Stay) -> Self {
        let mut hours: Vec<Hour> = Vec::new();
        let begin = stay
            .readings
            .first()
            .map_or(0, |reading| hour_of(reading.time));
        for of_hour in stay
            .readings
            .chunk_by(|a, b| hour_of(a.time) == hour_of(b.time))
        {
            let Some(first) = of_hour.first() else {
                continue;
            };
            let values = VITALS.map(|kind| {
                let of_kind = of_hour.iter().filter(|reading| reading.kind == kind);
                let (sum, count) = of_kind.fold((0_i64, 0_i64), |(sum, count), r| {
                    (sum + i64::from(r.value), count + 1)
                });
                i32::try_from(sum.checked_div_euclid(count)?).ok()
            });
            let Ok(hour) = u32::try_from(hour_of(first.time) - begin) else {
                break;
            };
            let now = Micros(hour_of(first.time) * MICROS_PER_HOUR);
            let event = stay.marks.iter().any(|mark| {
                mark.event == Event::Deterioration && mark.from <= now && now < mark.until
            });
            if values.iter().any(Option::is_some) {
                hours.push(Hour {
                    hour,
                    values,
                    event,
                });
            }
        }
        Self {
            patient,
            about: stay.about,
            hours,
        }
    }

    /// Shows what models see at the end of each hour.
    pub fn windows(&self, mut see: impl FnMut(&Hour, &Hours)) {
        let mut window = Window::new(Micros(0));
        for hour in &self.hours {
            let time = Micros(i64::from(hour.hour) * MICROS_PER_HOUR);
            window.advance(time);
            for (kind, value) in VITALS.into_iter().zip(hour.values) {
                if let Some(value) = value {
                    window.push(kind, time, value);
                }
            }
            see(hour, &window.hours());
        }
    }

    pub(super) fn judged(&self, decider: &Decider<'_>) -> Judged {
        let mut rows = Vec::with_capacity(self.hours.len());
        self.windows(|hour, hours| {
            let alert = decider.alerts(hours);
            let mut kept = [[false; HELD.len()]; QUARTERS.len()];
            for (row, quarters) in kept.iter_mut().zip(QUARTERS).filter(|_| alert) {
                for (kept, hold) in row.iter_mut().zip(HELD) {
                    *kept = decider.alerts_despite(hours, hold, quarters);
                }
            }
            rows.push(Row {
                hour: hour.hour,
                event: hour.event,
                score: decider.score(hours),
                alert,
                radius: decider.radius(hours),
                kept,
                rules: rules(hours, self.about),
            });
        });
        Judged {
            about: self.about,
            rows,
        }
    }

    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.patient.0);
        writer.u8(self.about.age.unwrap_or(u8::MAX));
        writer.u8(self.about.male.map_or(u8::MAX, u8::from));
        writer.u32(self.hours.len() as u32);
        for hour in &self.hours {
            writer.u32(hour.hour).u8(u8::from(hour.event));
            let present = hour.values.iter().rev();
            writer.u8(present.fold(0, |bits, value| bits << 1 | u8::from(value.is_some())));
            for value in hour.values.iter().flatten() {
                writer.i32(*value);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let patient = Pseudonym(reader.array()?);
        let age = Some(reader.u8()?).filter(|age| *age != u8::MAX);
        let male = match reader.u8()? {
            0 => Some(false),
            1 => Some(true),
            u8::MAX => None,
            _ => return Err(Malformed),
        };
        let mut hours: Vec<Hour> = Vec::new();
        for _ in 0..reader.u32()? {
            let hour = reader.u32()?;
            let event = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            };
            let present = reader.u8()?;
            let mut values = [None; VITALS.len()];
            for (bit, (slot, kind)) in values.iter_mut().zip(VITALS).enumerate() {
                if present & (1 << bit) != 0 {
                    *slot = Some(reader.i32()?).filter(|value| kind.is_plausible(*value));
                    slot.ok_or(Malformed)?;
                }
            }
            let rises = hours.last().is_none_or(|last| last.hour < hour);
            if !rises || present >> VITALS.len() != 0 {
                return Err(Malformed);
            }
            hours.push(Hour {
                hour,
                values,
                event,
            });
        }
        Ok(Self {
            patient,
            about: About { age, male },
            hours,
        })
    }
}

impl RhythmCase {
    pub(super) fn judged(&self, model: &RhythmModel) -> Judged {
        let rows = self
            .windows
            .iter()
            .zip(0..)
            .map(|((features, event), hour)| {
                let score = model.score(features);
                Row {
                    hour,
                    event: *event,
                    score,
                    alert: model.alerts(score),
                    radius: Radius::None,
                    kept: [[false; HELD.len()]; QUARTERS.len()],
                    rules: None,
                }
            });
        Judged {
            about: About::default(),
            rows: rows.collect(),
        }
    }

    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.patient.0).u32(self.windows.len() as u32);
        for (features, event) in &self.windows {
            writer.u64(features.entropy.to_bits());
            writer.u64(features.occupied.to_bits());
            writer.u8(u8::from(*event));
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let patient = Pseudonym(reader.array()?);
        let windows = (0..reader.u32()?).map(|_| {
            let entropy = f64::from_bits(reader.u64()?);
            let occupied = f64::from_bits(reader.u64()?);
            let event = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            };
            let finite = entropy.is_finite() && occupied.is_finite();
            finite
                .then_some((RhythmFeatures { entropy, occupied }, event))
                .ok_or(Malformed)
        });
        Ok(Self {
            patient,
            windows: windows.collect::<Result<_, _>>()?,
        })
    }
}

/// NEWS2 on the last values; what nobody measures hourly makes its interval.
fn rules(hours: &Hours, about: About) -> Option<Score> {
    let last = |parameter: Parameter| {
        let features = vital(parameter.kind()).and_then(|index| hours.features(index));
        features.map_or(Measured::Missing, |features| {
            let parts = (features.last * PARTS as f64).round() as i64;
            Measured::exactly(i32::try_from(parts.div_euclid(PARTS)).unwrap_or(i32::MAX))
        })
    };
    let vitals = Vitals {
        respiration: last(Parameter::Respiration),
        saturation: last(Parameter::Saturation),
        oxygen: Measured::Missing,
        pressure: last(Parameter::Pressure),
        pulse: last(Parameter::Pulse),
        consciousness: Measured::Missing,
        temperature: last(Parameter::Temperature),
    };
    let eligibility = Eligibility {
        age: about.age,
        pregnant: None,
    };
    assess(&vitals, SaturationScale::One, eligibility).ok()
}
