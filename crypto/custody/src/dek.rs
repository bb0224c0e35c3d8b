//! The names and keys of a history file's columns.
//!
//! A file carries handles only; its one key lies in the key registry, and each class of columns
//! has a key derived from it. So a reader can be given some classes of a file and not others, and
//! destroying the one key ends them all.

use std::fmt;

use pulseward_base::{
    Secret,
    bytes::{Malformed, hex, unhex},
};
use pulseward_crypto::hash::hkdf;

/// A class of columns: who may read one of them may read all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The footer, with schema and row groups: every reader needs it. The manifests, too.
    Footer,
    /// When, what and under which pseudonym.
    Times,
    /// How much.
    Values,
    /// What proves a batch's origin. Linkable to a device.
    Proofs,
}

impl Class {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Footer, Self::Times, Self::Values, Self::Proofs];

    /// Returns the word that handles carry.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Footer => "footer",
            Self::Times => "times",
            Self::Values => "values",
            Self::Proofs => "proofs",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Names one key of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The file.
    pub file: [u8; 16],
    /// The class of columns.
    pub class: Class,
}

const PREFIX: &str = "dek:v1:";

impl Handle {
    /// Returns the text that files and requests carry.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{PREFIX}{}/{}", hex(&self.file), self.class)
    }

    /// Reads what [`Handle::text`] wrote, refusing every other spelling.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (file, class) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('/'))
            .ok_or(Malformed)?;
        let file = unhex(file)?.try_into().map_err(|_| Malformed)?;
        let class = Class::ALL
            .iter()
            .find(|known| known.word() == class)
            .ok_or(Malformed)?;
        let handle = Self {
            file,
            class: *class,
        };
        // Upper-case digits spell the same file; one handle has one spelling.
        if handle.text() == text {
            Ok(handle)
        } else {
            Err(Malformed)
        }
    }
}

/// Returns the key of one class of columns of the file whose key is `file_key`.
#[must_use]
pub fn dek(file_key: &Secret<32>, class: Class) -> Secret<32> {
    let info = [
        b"pulseward/v1/dek".as_slice(),
        &[0],
        class.word().as_bytes(),
    ];
    hkdf(&[], file_key.expose(), &info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_has_one_spelling() {
        let handle = Handle {
            file: [0xab; 16],
            class: Class::Times,
        };
        assert_eq!(Handle::parse(&handle.text()), Ok(handle));
        let file = "ab".repeat(16);
        for text in [
            "",
            "dek:v1:",
            "dek:v1:/times",
            &format!("dek:v2:{file}/times"),
            &format!("dek:v1:{file}/time"),
            &format!("dek:v1:{}/times", "AB".repeat(16)),
            &format!("dek:v1:{file}ab/times"),
            &format!("dek:v1:{file}/times "),
        ] {
            assert_eq!(Handle::parse(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn every_class_of_every_file_has_a_key_of_its_own() {
        let mut keys = Vec::new();
        for file in [Secret::new([1; 32]), Secret::new([2; 32])] {
            keys.extend(Class::ALL.iter().map(|class| *dek(&file, *class).expose()));
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 8);
    }
}
