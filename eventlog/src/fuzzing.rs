//! What a fuzzer feeds with bytes of its own: each takes anything and must neither panic nor take
//! memory that the bytes do not pay for.

use pulseward_base::{Generation, KeyId, Partition, Secret, WriterId};
use pulseward_batch::StoredBatch;
use pulseward_vitals::columns::Limits;

use crate::{
    Body, EntryKind, Topic,
    embedded::{Settings, head_frames, recover_files},
    entry::{self, Parsed, Place},
    testing,
};

/// Decodes a body; the first byte says of which kind. What decodes must encode to the same bytes.
///
/// # Panics
/// When it does not.
pub fn body(input: &[u8]) {
    let Some((number, bytes)) = input.split_first() else {
        return;
    };
    let Some(kind) = EntryKind::from_number(*number) else {
        return;
    };
    if kind == EntryKind::Batch {
        if let Ok(batch) = StoredBatch::decode(bytes, Limits::default()) {
            assert!(batch.encode() == bytes, "a batch has two spellings");
        }
    } else if let Ok(body) = Body::decode(kind, bytes) {
        assert!(body.encode() == bytes, "a body has two spellings");
    }
}

/// Takes an entry apart, checks its MAC and tries to open it. Nothing a fuzzer makes up opens.
///
/// # Panics
/// When it does.
pub fn entry(input: &[u8]) {
    let place = Place {
        log_id: [0; 16],
        topic: Topic::Feed,
        generation: Generation(0),
        partition: Partition(0),
    };
    let secret = Secret::new([7; 32]);
    if let Ok(Parsed::Entry(sealed)) = entry::parse(input) {
        let authentic = sealed.authentic(&secret).is_some();
        assert!(!authentic, "a MAC was guessed");
        let cipher = place.derive_key(&secret, WriterId::ZERO);
        let opened = sealed.open(&place, Some(*KeyId::ZERO.as_bytes()), &cipher);
        assert!(opened.is_err(), "a seal was guessed");
    }
}

/// Opens a directory whose only segment has `input`, as it is and behind a valid identity.
pub fn journal(input: &[u8]) {
    let settings = Settings {
        segment_bytes: 64 << 10,
        max_bytes: 1 << 20,
        reserve_bytes: 1 << 10,
        ..testing::settings(1)
    };
    let segment = "segment-0000000000000001.pwj";
    let _refused = recover_files(&[(segment, input)], settings);
    let (identity, opening) = head_frames([7; 16], &settings);
    let behind = [opening.as_slice(), input].concat();
    for bytes in [input, &behind] {
        let files = [("identity.pwj", identity.as_slice()), (segment, bytes)];
        let _refused = recover_files(&files, settings);
    }
    let table = "table-devices-0000000000000001.pwj";
    let files = [
        ("identity.pwj", identity.as_slice()),
        (segment, opening.as_slice()),
        (table, input),
    ];
    let _refused = recover_files(&files, settings);
}
