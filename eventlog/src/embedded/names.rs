//! What the journal's files are called.

use crate::Topic;

/// The file that says which log this is.
pub(super) const IDENTITY: &str = "identity.pwj";
/// The file that says where a trimmed log starts.
pub(super) const START: &str = "start.pwj";
const SEGMENT: &str = "segment-";
const TABLE: &str = "table-";
const END: &str = ".pwj";
const TEMPORARY: &str = ".tmp";

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Identity,
    Start,
    Segment(u64),
    Table(Topic, u64),
    /// Not finished when the process ended: worth nothing.
    Temporary,
}

pub(super) fn segment(number: u64) -> String {
    format!("{SEGMENT}{number:016x}{END}")
}

pub(super) fn table(topic: Topic, number: u64) -> String {
    format!("{TABLE}{}-{number:016x}{END}", topic.name())
}

/// Returns the name that a file has until it is finished.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY}")
}

/// Returns what a file is; none when it is not the journal's.
pub(super) fn parse(name: &str) -> Option<Name> {
    if name.ends_with(TEMPORARY) {
        return Some(Name::Temporary);
    }
    if name == IDENTITY {
        return Some(Name::Identity);
    }
    if name == START {
        return Some(Name::Start);
    }
    let stem = name.strip_suffix(END)?;
    if let Some(number) = stem.strip_prefix(SEGMENT) {
        return number_of(number).map(Name::Segment);
    }
    let (topic, number) = stem.strip_prefix(TABLE)?.split_once('-')?;
    let topic = Topic::ALL.iter().find(|known| known.name() == topic)?;
    Some(Name::Table(*topic, number_of(number)?))
}

fn number_of(text: &str) -> Option<u64> {
    if text.len() != 16 || text.starts_with('+') {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not_ours() {
        assert_eq!(parse(&segment(0x1f)), Some(Name::Segment(0x1f)));
        let name = table(Topic::Devices, 3);
        assert_eq!(parse(&name), Some(Name::Table(Topic::Devices, 3)));
        assert_eq!(parse(IDENTITY), Some(Name::Identity));
        assert_eq!(parse(START), Some(Name::Start));
        assert_eq!(parse(&temporary(&name)), Some(Name::Temporary));
        for other in [
            "",
            "LOCK",
            "segment-1.pwj",
            "table-none-0000000000000001.pwj",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
