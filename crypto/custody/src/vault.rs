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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_values_are_bounded() {
        let empty = Contents::default();
        assert!(empty.with(&"n".repeat(MAX_NAME), &[]).is_ok());
        assert!(empty.with(&"n".repeat(MAX_NAME + 1), &[]).is_err());
        assert!(empty.with("n", &vec![0; MAX_VALUE]).is_ok());
        assert!(empty.with("n", &vec![0; MAX_VALUE + 1]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_back(values in prop::collection::btree_map("[a-z/-]{0,20}", any::<Vec<u8>>(), 0..8)) {
            let mut contents = Contents::default();
            for (name, value) in &values {
                contents = contents.with(name, value).unwrap();
            }
            let read = Contents::decode(&contents.encode()).unwrap();
            for (name, value) in &values {
                prop_assert_eq!(read.value(name).map(|value| value.to_vec()), Some(value.clone()));
            }
            prop_assert_eq!(read.values.len(), values.len());
        }

        #[test]
        fn foreign_bytes_are_contents_in_their_one_spelling_or_malformed(bytes: Vec<u8>) {
            if let Ok(contents) = Contents::decode(&bytes) {
                prop_assert_eq!(contents.encode().to_vec(), bytes);
            }
        }
    }
}
