//! A device's queue as its file gives it back: the first byte says whether the rest is the file, or
//! payloads, each behind its length, in records whose checksums hold. Set TMPDIR to a file system
//! in memory.
#![no_main]

use std::{fs, path::PathBuf, process, sync::LazyLock};

use pulseward_device::queue::{FileQueue, Queue as _, QueueLimits};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("pulseward-fuzz-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((is_whole, rest)) = data.split_first() else {
        return;
    };
    let file = if is_whole & 1 == 1 {
        rest.to_vec()
    } else {
        records(rest)
    };
    let path = FOLDER.join("a.queue");
    fs::write(&path, file).expect("a file can be written");
    if let Ok(queues) = FileQueue::open_all(&FOLDER, QueueLimits::default()) {
        for queue in &queues {
            let waiting = queue.waiting(usize::MAX, &|_| false);
            assert!(waiting.len() == queue.len(), "a batch is lost");
            assert!(
                waiting.is_sorted_by(|a, b| a.seq < b.seq),
                "batches are out of order"
            );
        }
        let again = FileQueue::open_all(&FOLDER, QueueLimits::default());
        assert!(
            again.is_ok_and(|again| again.len() == queues.len()),
            "a queue is lost"
        );
    }
    let _removed = fs::remove_file(&path);
});

fn records(mut rest: &[u8]) -> Vec<u8> {
    let mut file = b"PWQ1\x01________________".to_vec();
    while let Some((length, after)) = rest.split_first() {
        let (payload, behind) = after.split_at(usize::from(*length).min(after.len()));
        file.extend(u32::from(*length).to_le_bytes());
        file.extend(crc32c::crc32c(payload).to_le_bytes());
        file.extend(payload);
        rest = behind;
    }
    file
}
