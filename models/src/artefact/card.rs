//! What a model says of itself.

use pulseward_base::{
    Digest, ModelId,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_vitals::Kind;

/// The longest text in a card.
pub const MOST_TEXT: usize = 4096;

/// The most entries of any list in a card.
const MOST_ENTRIES: usize = 1024;

/// What a model looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Vital signs that are unusual.
    Anomaly,
    /// A patient who gets worse.
    Deterioration,
    /// A rhythm that is irregular.
    Rhythm,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Anomaly, Self::Deterioration, Self::Rhythm];
}

/// A model's card and lineage. All of it is signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// Its name, for people.
    pub name: String,
    /// What it looks for.
    pub purpose: Purpose,
    /// Whether what it says has no certificate and only informs.
    pub advisory: bool,
    /// What it is for and what it is not for.
    pub words: String,
    /// The youngest patient it may judge, in years. It judges no pregnant patient.
    pub least_age: u8,
    /// How many seconds its readings may lie apart.
    pub cadence_seconds: u32,
    /// The kinds it reads.
    pub kinds: Vec<Kind>,
    /// Of how many of those it must know something, or it abstains.
    pub least_kinds: u8,
    /// The version of the code that fitted it.
    pub code: String,
    /// What it was fitted on: a name and a digest each.
    pub data: Vec<(String, Digest)>,
    /// How it was fitted: name and value.
    pub settings: Vec<(String, String)>,
    /// How it did: name and value.
    pub metrics: Vec<(String, f64)>,
    /// The model it replaces; zeros for none.
    pub parent: ModelId,
}

impl Card {
    pub(super) fn encode(&self, writer: &mut Writer) {
        let text = |writer: &mut Writer, text: &str| {
            writer.prefixed(text.as_bytes());
        };
        text(writer, &self.name);
        writer.u8(match self.purpose {
            Purpose::Anomaly => 1,
            Purpose::Deterioration => 2,
            Purpose::Rhythm => 3,
        });
        writer.u8(u8::from(self.advisory));
        text(writer, &self.words);
        writer.u8(self.least_age).u32(self.cadence_seconds);
        count(writer, self.kinds.len());
        for kind in &self.kinds {
            writer.u16(kind.spec().number);
        }
        writer.u8(self.least_kinds);
        text(writer, &self.code);
        count(writer, self.data.len());
        for (name, digest) in &self.data {
            text(writer, name);
            writer.put(&digest.0);
        }
        count(writer, self.settings.len());
        for (name, value) in &self.settings {
            text(writer, name);
            text(writer, value);
        }
        count(writer, self.metrics.len());
        for (name, value) in &self.metrics {
            text(writer, name);
            writer.u64(value.to_bits());
        }
        writer.put(&self.parent.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: text(reader)?,
            purpose: match reader.u8()? {
                1 => Purpose::Anomaly,
                2 => Purpose::Deterioration,
                3 => Purpose::Rhythm,
                _ => return Err(Malformed),
            },
            advisory: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            },
            words: text(reader)?,
            least_age: reader.u8()?,
            cadence_seconds: reader.u32()?,
            kinds: list(reader, |reader| {
                Kind::from_number(reader.u16()?).ok_or(Malformed)
            })?,
            least_kinds: reader.u8()?,
            code: text(reader)?,
            data: list(reader, |reader| {
                Ok((text(reader)?, Digest(reader.array()?)))
            })?,
            settings: list(reader, |reader| Ok((text(reader)?, text(reader)?)))?,
            metrics: list(reader, |reader| {
                let name = text(reader)?;
                let value = f64::from_bits(reader.u64()?);
                if value.is_finite() {
                    Ok((name, value))
                } else {
                    Err(Malformed)
                }
            })?,
            parent: ModelId(reader.array()?),
        })
    }
}

fn count(writer: &mut Writer, count: usize) {
    // Unwrap safety: a list longer than a u32 does not fit memory; it would not load anyway.
    writer.u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let bytes = reader.prefixed(MOST_TEXT)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

fn list<T>(
    reader: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
    if count > MOST_ENTRIES {
        return Err(Malformed);
    }
    (0..count).map(|_| item(reader)).collect()
}
