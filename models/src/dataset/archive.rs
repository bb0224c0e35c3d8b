//! Archives of annotated recordings: a tar, packed with gzip or not, that has for each record a header
//! (`.hea`), which says how fast its clock runs, and annotations (`.atr`). Where those name rhythms
//! alone, the beats come from `.qrs`.

use std::collections::BTreeMap;

use super::{BeatRecord, DatasetError, beats, csv::unpacked};

/// The most bytes an archive may have once unpacked.
const MOST_BYTES: u64 = 1 << 28;

/// The size of everything in a tar.
const BLOCK: usize = 512;

/// Reads the records of an archive, each with the name of its subject, in the order of the records'
/// names.
pub fn read_records(bytes: &[u8]) -> Result<Vec<(String, BeatRecord)>, DatasetError> {
    let archive = unpacked(bytes, MOST_BYTES)?;
    let files = files(&archive)?;
    let of = |name: &str, kind: &'static str| files.get(&(name, kind)).copied();
    let mut records = Vec::new();
    for (name, _) in files.keys().filter(|(_, kind)| *kind == "atr") {
        let units = of(name, "hea").and_then(clock);
        let units = units.ok_or_else(|| DatasetError::NoClock((*name).to_owned()))?;
        let read = |kind| {
            let file = of(name, kind).unwrap_or_default();
            beats::read_annotations(file, units)
        };
        let mut record = read("atr")?;
        if record.beats.is_empty() {
            record.beats = read("qrs")?.beats;
        }
        records.push((subject(name, units).to_owned(), record));
    }
    if records.is_empty() {
        return Err(DatasetError::NoRecords);
    }
    Ok(records)
}

/// The files of a tar by the names and endings that they have in their folder.
fn files(archive: &[u8]) -> Result<BTreeMap<(&str, &str), &[u8]>, DatasetError> {
    let mut files = BTreeMap::new();
    let mut rest = archive;
    while let Some((header, after)) = rest.split_at_checked(BLOCK) {
        let name = field(header, 0, 100)?;
        if name.is_empty() {
            break;
        }
        let size = field(header, 124, 12)?;
        let size = usize::from_str_radix(size, 8).map_err(|_| DatasetError::Malformed)?;
        let padded = size.checked_next_multiple_of(BLOCK);
        let (file, after) = padded
            .and_then(|padded| after.split_at_checked(padded))
            .ok_or(DatasetError::Malformed)?;
        rest = after;
        let name = name.rsplit('/').next().unwrap_or_default();
        let parts = name.rsplit_once('.').unwrap_or((name, ""));
        files.insert(parts, file.get(..size).unwrap_or_default());
    }
    Ok(files)
}

/// A text in a tar's header.
fn field(header: &[u8], from: usize, length: usize) -> Result<&str, DatasetError> {
    let field = header.get(from..from + length).unwrap_or_default();
    let text = std::str::from_utf8(field).map_err(|_| DatasetError::Malformed)?;
    Ok(text.trim_matches(['\0', ' ']))
}

/// Returns how many units a second the clock of a record has: the third word of its header's first
/// line, as far as it is a number; it must be whole.
fn clock(header: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(header);
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let word = first.split_whitespace().nth(2)?;
    let number = word.split(['/', '(']).next()?.parse::<f64>().ok()?;
    let is_whole = number.fract() == 0.0 && (1.0..=1e6).contains(&number);
    is_whole.then_some(number as u32)
}

/// Whose record it is. Records 201 and 202 of the MIT-BIH arrhythmia database, which has 360 units a
/// second, are one's.
fn subject(record: &str, units_a_second: u32) -> &str {
    if record == "202" && units_a_second == 360 {
        "201"
    } else {
        record
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, content: &[u8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block.extend_from_slice(content);
        block.resize(block.len().next_multiple_of(BLOCK), 0);
        block
    }

    /// A beat after so many units, and another.
    fn two_beats(after: u16) -> Vec<u8> {
        [1_u16 << 10 | after, 1 << 10 | after, 0]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    #[test]
    fn each_record_has_the_clock_of_its_header() {
        let archive = [
            entry("db/100.atr", &two_beats(360)),
            entry("db/100.hea", b"# made\n100 2 360 650000\n"),
            entry("db/07.hea", b"07 2 128/128(0) 11796480\n"),
            entry("db/07.atr", &two_beats(128)),
            entry("db/a.hea", b"a 2 250.0\n"),
            entry("db/a.atr", &[0, 0]),
            entry("db/a.qrs", &two_beats(250)),
            entry("db/README", b"words"),
        ]
        .concat();
        let records = read_records(&archive).unwrap();
        let seen: Vec<_> = records
            .iter()
            .map(|(name, record)| (name.as_str(), record.units_a_second, record.beats.len()))
            .collect();
        assert_eq!(seen, [("07", 128, 2), ("100", 360, 2), ("a", 250, 2)]);
    }

    #[test]
    fn a_record_without_a_clock_is_refused_by_name() {
        for header in [&b""[..], b"9 2\n", b"9 2 0\n", b"9 2 12.5\n", b"9 2 fast\n"] {
            let archive = [entry("9.atr", &two_beats(1)), entry("9.hea", header)].concat();
            let told = read_records(&archive).unwrap_err().to_string();
            assert_eq!(
                told,
                "the header of record 9 does not say how fast its clock runs"
            );
        }
        let alone = entry("9.atr", &two_beats(1));
        assert!(matches!(
            read_records(&alone),
            Err(DatasetError::NoClock(_))
        ));
        assert!(matches!(read_records(&[]), Err(DatasetError::NoRecords)));
        let cut = &alone[..BLOCK + 1];
        assert!(matches!(read_records(cut), Err(DatasetError::Malformed)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_records_or_an_error(bytes: Vec<u8>, name in "[a-z/.]{1,20}", at in 0..BLOCK, byte: u8) {
            let _refused = read_records(&bytes);
            let mut archive = entry(&name, &bytes);
            archive[at] = byte;
            let _refused = read_records(&archive);
        }
    }
}
