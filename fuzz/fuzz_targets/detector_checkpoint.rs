//! A partition's record as the log gives it back. What is read must be written again as it was.
#![no_main]

use pulseward_detector::state::codec::Checkpoint;
use pulseward_eventlog::{Body, EntryKind};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(Body::PartitionRecord(record)) = Body::decode(EntryKind::PartitionRecord, data)
        && let Ok(checkpoint) = Checkpoint::of_record(&record)
    {
        let again = Body::PartitionRecord(checkpoint.to_record()).encode();
        assert!(again == data, "a record has two spellings");
    }
});
