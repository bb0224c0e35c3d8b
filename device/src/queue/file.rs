//! A queue that a file keeps: `docs/formats/queue.md` has the bytes.
//!
//! ```text
//! file   = "PWQ1" | version u8 = 1 | incarnation (16) | record…
//! record = length u32 | crc32c u32 of the payload | payload
//! payload = 1 | seq u64 | D (32) | batch bytes,  or  2 | seq u64
//! ```
//! A record that could not be written whole is cut off again before anything follows it. When nothing
//! waits any more, the file shrinks to its head.
//!
//! A batch is synced before [`Queue::push`] returns. That a batch was settled is not: after a crash
//! it is sent once more and answered DUPLICATE. A torn record at the end is what a crash leaves; it
//! was never answered for, so it is cut off. A file is read once, to drain it: a device that starts
//! anew, or was restored from a copy, writes to a queue of a new name and so never forks its own.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use pulseward_base::{
    Digest, Incarnation, Seq,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_batch::SignedBatch;

use super::{MemoryQueue, Queue, QueueError, QueueLimits, Waiting};

const MAGIC: [u8; 4] = *b"PWQ1";
const VERSION: u8 = 1;
const BATCH: u8 = 1;
const SETTLED: u8 = 2;
const SUFFIX: &str = "queue";

/// How many bytes the file's head has.
const HEAD: u64 = 4 + 1 + 16;
/// How large a file may be before it shrinks when nothing waits in it.
const SHRINK: u64 = 1 << 20;

/// A queue with its file.
#[derive(Debug)]
pub struct FileQueue {
    memory: MemoryQueue,
    path: PathBuf,
    file: File,
    /// How much of the file is whole records.
    whole: u64,
    /// The file has a torn record that could not be cut off: nothing may follow it.
    is_torn: bool,
}

impl FileQueue {
    /// Makes a new queue in `dir`, which is made if it is not there.
    pub fn create(
        dir: &Path,
        incarnation: Incarnation,
        limits: QueueLimits,
    ) -> Result<Self, QueueError> {
        fs::create_dir_all(dir)?;
        let path = dir.join(file_name(incarnation));
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut writer = Writer::new();
        writer.put(&MAGIC).u8(VERSION).put(&incarnation.0);
        file.write_all(writer.as_slice())?;
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(Self {
            memory: MemoryQueue::new(incarnation, limits),
            path,
            file,
            whole: HEAD,
            is_torn: false,
        })
    }

    /// Opens every queue that `dir` holds, the oldest first, to be drained. Those in which nothing
    /// waits are removed.
    pub fn open_all(dir: &Path, limits: QueueLimits) -> Result<Vec<Self>, QueueError> {
        let mut names: Vec<OsString> = match fs::read_dir(dir) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<Result<_, _>>()?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        names.retain(|name| Path::new(name).extension().is_some_and(|ext| ext == SUFFIX));
        // A name begins with the queue's start, so this is the order in which they were filled.
        names.sort();
        let mut queues = Vec::new();
        for name in names {
            let mut queue = Self::open(&dir.join(name), limits)?;
            if queue.is_empty() {
                queue.remove()?;
            } else {
                queues.push(queue);
            }
        }
        Ok(queues)
    }

    fn open(path: &Path, limits: QueueLimits) -> Result<Self, QueueError> {
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut reader = Reader::new(&bytes);
        let incarnation = header(&mut reader).map_err(|Malformed| QueueError::NotAQueue)?;
        let mut memory = MemoryQueue::new(incarnation, limits);
        let mut rest = reader;
        while let Ok(payload) = record(&mut rest) {
            replay(&mut memory, payload).map_err(|Malformed| QueueError::NotAQueue)?;
            reader = rest;
        }
        let whole = u64::try_from(bytes.len() - reader.rest().len()).unwrap_or(u64::MAX);
        file.set_len(whole)?;
        file.sync_all()?;
        Ok(Self {
            memory,
            path: path.to_path_buf(),
            file,
            whole,
            is_torn: false,
        })
    }

    fn write(&mut self, batch: &SignedBatch) -> Result<(), QueueError> {
        let mut writer = Writer::with_capacity(41 + batch.payload.len());
        writer
            .u8(BATCH)
            .u64(batch.place.seq.0)
            .put(&batch.digest.0)
            .put(&batch.payload);
        self.append(writer.as_slice())
    }

    fn append(&mut self, payload: &[u8]) -> Result<(), QueueError> {
        let length = u32::try_from(payload.len()).map_err(|_| QueueError::Full)?;
        let mut writer = Writer::with_capacity(8 + payload.len());
        writer.u32(length).u32(crc32c::crc32c(payload)).put(payload);
        if self.is_torn {
            return Err(std::io::Error::other("the file has a torn record").into());
        }
        if let Err(error) = self.file.write_all(writer.as_slice()) {
            self.is_torn = self.file.set_len(self.whole).is_err();
            return Err(error.into());
        }
        self.whole += u64::from(length) + 8;
        Ok(())
    }

    /// Gives the room of answered batches back, when they are all there are.
    fn shrink(&mut self) -> Result<(), QueueError> {
        if self.memory.is_empty() && self.whole > SHRINK {
            self.file.set_len(HEAD)?;
            self.whole = HEAD;
        }
        Ok(())
    }
}

impl Queue for FileQueue {
    fn incarnation(&self) -> Incarnation {
        self.memory.incarnation()
    }

    fn next(&self) -> Seq {
        self.memory.next()
    }

    fn push(&mut self, batch: SignedBatch) -> Result<(), QueueError> {
        self.memory.check(&batch)?;
        self.write(&batch)?;
        self.file.sync_data()?;
        self.memory.push(batch)
    }

    fn waiting(&self, count: usize, skip: &dyn Fn(Seq) -> bool) -> Vec<Waiting> {
        self.memory.waiting(count, skip)
    }

    fn find(&self, seq: Seq) -> Option<Waiting> {
        self.memory.find(seq)
    }

    fn settle(&mut self, seq: Seq) -> Result<(), QueueError> {
        let mut writer = Writer::new();
        writer.u8(SETTLED).u64(seq.0);
        self.append(writer.as_slice())?;
        self.memory.settle(seq)?;
        self.shrink()
    }

    fn settled(&self) -> Option<(Seq, Digest)> {
        self.memory.settled()
    }

    fn len(&self) -> usize {
        self.memory.len()
    }

    fn remove(&mut self) -> Result<(), QueueError> {
        Ok(fs::remove_file(&self.path)?)
    }
}

/// Returns a name that sorts by the queue's start: its bytes travel the other way round.
fn file_name(incarnation: Incarnation) -> String {
    let (start, random) = incarnation.0.split_at(8);
    let digits = start.iter().rev().chain(random);
    let mut name: String = digits.map(|byte| format!("{byte:02x}")).collect();
    name.push('.');
    name.push_str(SUFFIX);
    name
}

fn header(reader: &mut Reader<'_>) -> Result<Incarnation, Malformed> {
    let magic: [u8; 4] = reader.array()?;
    let version = reader.u8()?;
    let incarnation = Incarnation(reader.array()?);
    let is_known = magic == MAGIC && version == VERSION;
    is_known.then_some(incarnation).ok_or(Malformed)
}

fn record<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
    let sum = reader.u32()?;
    let payload = reader.take(length)?;
    (crc32c::crc32c(payload) == sum)
        .then_some(payload)
        .ok_or(Malformed)
}

fn replay(memory: &mut MemoryQueue, payload: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(payload);
    let kind = reader.u8()?;
    let seq = Seq(reader.u64()?);
    match kind {
        BATCH => memory.restore(Waiting {
            seq,
            digest: Digest(reader.array()?),
            payload: reader.rest().to_vec(),
        }),
        SETTLED => memory.settle(seq).map_err(|_| Malformed)?,
        _ => return Err(Malformed),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pulseward_base::Micros;

    use super::{super::tests::batch, *};
    use crate::queue::new_incarnation;

    fn filled(dir: &Path, start: i64, count: u64) -> FileQueue {
        let name = new_incarnation(Micros(start));
        let mut queue = FileQueue::create(dir, name, QueueLimits::default()).unwrap();
        for seq in 0..count {
            queue.push(batch(name, seq)).unwrap();
        }
        queue
    }

    fn reopened(dir: &Path) -> Vec<FileQueue> {
        FileQueue::open_all(dir, QueueLimits::default()).unwrap()
    }

    #[test]
    fn what_waits_survives_and_what_was_settled_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = filled(dir.path(), 1, 5);
        queue.settle(Seq(0)).unwrap();
        queue.settle(Seq(3)).unwrap();
        let before = queue.waiting(9, &|_| false);
        drop(queue);
        let again = reopened(dir.path());
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].waiting(9, &|_| false), before);
        assert_eq!(again[0].next(), Seq(5));
    }

    #[test]
    fn a_tail_torn_at_any_byte_leaves_every_batch_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = filled(dir.path(), 1, 3).path;
        let whole = fs::read(&path).unwrap();
        let one = 8 + 41 + 100;
        for cut in whole.len() - one..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            for _ in 0..2 {
                let again = reopened(dir.path());
                assert_eq!(again[0].len(), 2, "cut at {cut}");
            }
        }
        let mut flipped = whole;
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert_eq!(reopened(dir.path())[0].len(), 2);
    }

    #[test]
    fn queues_come_back_oldest_first_and_empty_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        for start in [1_000_000, 255, 70_000] {
            drop(filled(dir.path(), start, 1));
        }
        drop(filled(dir.path(), 3, 0));
        let starts: Vec<i64> = reopened(dir.path())
            .iter()
            .map(|queue| Reader::new(&queue.incarnation().0).i64().unwrap())
            .collect();
        assert_eq!(starts, [255, 70_000, 1_000_000]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_in_which_nothing_waits_shrinks_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = filled(dir.path(), 1, 0);
        let name = queue.incarnation();
        let mut largest = 0;
        for seq in 0..20_000 {
            queue.write(&batch(name, seq)).unwrap();
            queue.memory.push(batch(name, seq)).unwrap();
            queue.settle(Seq(seq)).unwrap();
            largest = largest.max(fs::metadata(&queue.path).unwrap().len());
        }
        assert!(largest < SHRINK + 1000, "{largest}");
        queue.push(batch(name, 20_000)).unwrap();
        drop(queue);
        assert_eq!(
            reopened(dir.path())[0].waiting(9, &|_| false)[0].seq,
            Seq(20_000)
        );
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_give_a_queue_or_an_error(body: Vec<u8>, has_head: bool) {
            let dir = tempfile::tempdir().unwrap();
            let head: &[u8] = if has_head { b"PWQ1\x01________________" } else { b"" };
            fs::write(dir.path().join("a.queue"), [head, &body].concat()).unwrap();
            for _ in 0..2 {
                let opened = FileQueue::open_all(dir.path(), QueueLimits::default());
                proptest::prop_assert_eq!(opened.is_ok(), has_head);
            }
        }
    }

    #[test]
    fn a_file_of_another_kind_or_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.queue"), b"PWQ1\x02").unwrap();
        let opened = FileQueue::open_all(dir.path(), QueueLimits::default());
        assert!(matches!(opened, Err(QueueError::NotAQueue)));
    }
}
