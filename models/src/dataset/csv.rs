//! Reading of comma-separated text, gzipped or not.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use flate2::read::MultiGzDecoder;

/// The most bytes a file may have once unpacked: a bound on what a small archive can make us hold.
const MOST_BYTES: u64 = 1 << 30;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// It could not be read or unpacked.
    #[error("the file could not be read")]
    Read(#[from] std::io::Error),
    /// It is larger than anything this can train on.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// A column is missing.
    #[error("there is no column {0}")]
    NoColumn(&'static str),
    /// A line does not have what its header says.
    #[error("line {0} is malformed")]
    Line(usize),
    /// The lines of a patient do not stand together, or not in order of time.
    #[error("line {0} is out of order")]
    Order(usize),
    /// An archive has no annotations.
    #[error("there are no annotations in the archive")]
    NoRecords,
    /// A record without a header, or one that does not tell its clock.
    #[error("the header of record {0} does not say how fast its clock runs")]
    NoClock(String),
    /// A binary file does not have the layout it must have.
    #[error("the file is malformed")]
    Malformed,
}

/// Returns the text of a file, unpacking it when it begins like gzip.
pub fn plain_text(bytes: &[u8]) -> Result<String, DatasetError> {
    let text = unpacked(bytes, MOST_BYTES)?.into_owned();
    String::from_utf8(text).map_err(|_| DatasetError::Read(io::ErrorKind::InvalidData.into()))
}

/// Returns a file's bytes, unpacked when they begin like gzip; at most so many.
pub(super) fn unpacked(bytes: &[u8], most: u64) -> Result<Cow<'_, [u8]>, DatasetError> {
    let plain = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes)
            .take(most + 1)
            .read_to_end(&mut plain)?;
        Cow::Owned(plain)
    } else {
        Cow::Borrowed(bytes)
    };
    if plain.len() as u64 > most {
        return Err(DatasetError::TooLarge(most));
    }
    Ok(plain)
}

/// A text's lines as cells by the places of wanted columns.
pub(super) struct Table<'a, const N: usize> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    places: [usize; N],
}

impl<'a, const N: usize> Table<'a, N> {
    pub(super) fn new(text: &'a str, columns: [&'static str; N]) -> Result<Self, DatasetError> {
        let mut lines = text.lines().enumerate();
        let header = lines.next().map_or("", |line| line.1);
        let mut places = [0; N];
        for (place, column) in places.iter_mut().zip(columns) {
            *place = header
                .split(',')
                .position(|name| name.trim() == column)
                .ok_or(DatasetError::NoColumn(column))?;
        }
        Ok(Self { lines, places })
    }
}

impl<'a, const N: usize> Iterator for Table<'a, N> {
    /// The line's number from 1, and its wanted cells.
    type Item = Result<(usize, [&'a str; N]), DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (index, line) = self.lines.next()?;
        let mut cells = [""; N];
        let mut found = 0;
        for (place, cell) in line.split(',').enumerate() {
            for (slot, wanted) in cells.iter_mut().zip(self.places) {
                if wanted == place {
                    *slot = cell.trim();
                    found += 1;
                }
            }
        }
        Some(if found == N {
            Ok((index + 1, cells))
        } else {
            Err(DatasetError::Line(index + 1))
        })
    }
}
