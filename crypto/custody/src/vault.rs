//! The named secrets of one custodian and their plaintext layout:
//! `count u32 | { name length u32 | name | length u32 | bytes }…`, names strictly ascending.

use std::collections::BTreeMap;

use pulseward_base::bytes::{Malformed, Reader, Writer};
use zeroize::Zeroizing;

/// The longest name.
pub(crate) const MAX_NAME: usize = 128;
/// The longest value.
pub(crate) const MAX_VALUE: usize = 64 * 1024;
/// The most values.
pub(crate) const MAX_COUNT: usize = 4096;

/// Named secrets, wiped when dropped.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    values: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Contents {
    pub(crate) fn value(&self, name: &str) -> Option<&Zeroizing<Vec<u8>>> {
        self.values.get(name)
    }

    /// Returns these contents with `name` set, unless a bound is met.
    pub(crate) fn with(&self, name: &str, value: &[u8]) -> Result<Self, Malformed> {
        let mut next = self.clone();
        next.values
            .insert(name.to_owned(), Zeroizing::new(value.to_vec()));
        let fits =
            name.len() <= MAX_NAME && value.len() <= MAX_VALUE && next.values.len() <= MAX_COUNT;
        fits.then_some(next).ok_or(Malformed)
    }

    /// Returns these contents without `name`.
    pub(crate) fn without(&self, name: &str) -> Self {
        let mut next = self.clone();
        next.values.remove(name);
        next
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let size = self
            .values
            .iter()
            .map(|(name, value)| 8 + name.len() + value.len());
        // Room for all: a buffer that grew would leave copies of secrets behind.
        let mut writer = Writer::with_capacity(4 + size.sum::<usize>());
        writer.u32(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        for (name, value) in &self.values {
            writer.prefixed(name.as_bytes()).prefixed(value);
        }
        Zeroizing::new(writer.into_vec())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let count = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
        if count > MAX_COUNT {
            return Err(Malformed);
        }
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let name = std::str::from_utf8(reader.prefixed(MAX_NAME)?).map_err(|_| Malformed)?;
            let value = Zeroizing::new(reader.prefixed(MAX_VALUE)?.to_vec());
            let ascends = values
                .last_key_value()
                .is_none_or(|(last, _): (&String, _)| last.as_str() < name);
            if !ascends {
                return Err(Malformed);
            }
            values.insert(name.to_owned(), value);
        }
        reader.end()?;
        Ok(Self { values })
    }
}
