//! One chain, whoever writes to it, in whatever order.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex},
    thread,
};

use pulseward_base::{Digest, Epoch, Kid, Micros, Partition, Secret};
use pulseward_crypto::SigningKey;
use pulseward_history::{
    chain::{Chain, ChainError, ChainReader, Change, manifest_name},
    file::FileName,
    manifest::{FileEntry, Positions, Signer},
    schema::FileKind,
    shelf::{Created, Directory, Listed, Shelf},
};

use crate::world::signer;

const PARTITION: Partition = Partition(3);
const NOW: Micros = Micros(1_000);

/// Manifests in memory; every look and every touch waits for its writer's turn.
#[derive(Clone)]
struct TurnShelf {
    bytes: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    turns: Arc<Turns>,
    writer: usize,
}

/// Whose turn it is: the bits of `schedule`, lowest first; then anybody's.
#[derive(Default)]
struct Turns {
    state: Mutex<(u32, u32, [bool; 2])>,
    moved: Condvar,
}

impl Turns {
    fn wait(&self, writer: usize) {
        let mut state = self.state.lock().unwrap();
        loop {
            let (schedule, left, ended) = *state;
            let next = usize::try_from(schedule & 1).unwrap();
            if left == 0 || next == writer {
                break;
            }
            if ended[next] {
                // A turn of one who has gone home.
                *state = (schedule >> 1, left - 1, ended);
                continue;
            }
            state = self.moved.wait(state).unwrap();
        }
        let (schedule, left, ended) = *state;
        *state = (schedule >> 1, left.saturating_sub(1), ended);
        self.moved.notify_all();
    }

    fn end(&self, writer: usize) {
        self.state.lock().unwrap().2[writer] = true;
        self.moved.notify_all();
    }
}

impl Shelf for TurnShelf {
    fn list(&self) -> io::Result<Vec<Listed>> {
        self.turns.wait(self.writer);
        let bytes = self.bytes.lock().unwrap();
        Ok(bytes
            .keys()
            .map(|name| Listed {
                name: name.clone(),
                modified: NOW,
            })
            .collect())
    }

    fn read(&self, name: &str, _limit: u64) -> io::Result<Option<Vec<u8>>> {
        self.turns.wait(self.writer);
        Ok(self.bytes.lock().unwrap().get(name).cloned())
    }

    fn create(&self, name: &str, new: &[u8]) -> io::Result<Created> {
        self.turns.wait(self.writer);
        let mut bytes = self.bytes.lock().unwrap();
        if bytes.contains_key(name) {
            return Ok(Created::Exists);
        }
        bytes.insert(name.to_owned(), new.to_vec());
        Ok(Created::New)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.bytes.lock().unwrap().remove(name);
        Ok(())
    }
}

fn reader(shelf: Arc<dyn Shelf>, root: Kid) -> ChainReader {
    ChainReader {
        shelf,
        partition: PARTITION,
        chain: [1; 16],
        key: Secret::new([2; 32]),
        root,
    }
}

fn file(id: [u8; 16]) -> FileEntry {
    FileEntry {
        name: FileName {
            id,
            partition: PARTITION,
            kind: FileKind::Readings,
        },
        level: 0,
        epoch: Epoch(1),
        commit: id,
        rows: 1,
        bytes: 1,
        digest: Digest([1; 32]),
        first: NOW,
        last: NOW,
    }
}

fn change(id: [u8; 16], feed: u64) -> Change {
    Change {
        log: [9; 16],
        positions: Positions {
            feed,
            ..Positions::default()
        },
        added: vec![file(id)],
        removed: Vec::new(),
        marks: Vec::new(),
    }
}

/// Claims, then commits `commits` times; returns the files whose commit was acknowledged.
fn write(
    reader: ChainReader,
    signer: &Arc<Signer>,
    writer: u8,
    commits: u8,
) -> Result<Vec<[u8; 16]>, ChainError> {
    let mut chain = Chain::claim(reader, Arc::clone(signer), NOW)?;
    let mut acknowledged = Vec::new();
    for commit in 0..commits {
        let mut id = [commit; 16];
        id[0] = writer;
        let feed = chain.head().positions.feed + 1;
        match chain.commit(change(id, feed), NOW) {
            Ok(()) => acknowledged.push(id),
            Err(ChainError::Fenced) => return Ok(acknowledged),
            Err(error) => return Err(error),
        }
    }
    Ok(acknowledged)
}

fn check_one_chain(reader: &ChainReader, mut acknowledged: Vec<[u8; 16]>, told: &str) {
    let (head, digests) = reader.load_all().expect(told).expect(told);
    assert_eq!(reader.load().unwrap().unwrap(), head, "{told}");
    assert_eq!(digests.len() as u64, head.number + 1, "{told}");
    acknowledged.sort_unstable();
    let stored: Vec<_> = head.files.keys().copied().collect();
    assert_eq!(stored, acknowledged, "{told}");
    // Each commit went on where the one before it in the chain had ended.
    assert_eq!(head.positions.feed, acknowledged.len() as u64, "{told}");
}

#[test]
fn b12_every_interleaving_of_two_writers_gives_one_chain() {
    let root = SigningKey::generate();
    let signer = Arc::new(signer(&root));
    let mut tried = 0;
    for schedule in 0_u32..1 << 14 {
        if schedule.count_ones() != 7 {
            continue;
        }
        tried += 1;
        let turns = Arc::new(Turns::default());
        turns.state.lock().unwrap().0 = schedule;
        turns.state.lock().unwrap().1 = 14;
        let bytes = Arc::default();
        let shelf = |writer| TurnShelf {
            bytes: Arc::clone(&bytes),
            turns: Arc::clone(&turns),
            writer,
        };
        let acknowledged: Vec<_> = thread::scope(|scope| {
            let writers: Vec<_> = [0, 1]
                .map(|writer| {
                    let reader = reader(Arc::new(shelf(writer)), root.kid());
                    let (signer, turns) = (Arc::clone(&signer), Arc::clone(&turns));
                    scope.spawn(move || {
                        let number = u8::try_from(writer).unwrap();
                        let acknowledged = write(reader, &signer, number, 2).unwrap();
                        turns.end(writer);
                        acknowledged
                    })
                })
                .into_iter()
                .collect();
            writers
                .into_iter()
                .flat_map(|writer| writer.join().unwrap())
                .collect()
        });
        turns.state.lock().unwrap().1 = 0;
        let reader = reader(Arc::new(shelf(0)), root.kid());
        check_one_chain(&reader, acknowledged, &format!("schedule {schedule:b}"));
    }
    assert_eq!(tried, 3432);
}

#[test]
fn b12_writers_on_one_real_directory_give_one_chain() {
    let root = SigningKey::generate();
    let signer = Arc::new(signer(&root));
    let home = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn Shelf> { Arc::new(Directory::open(home.path()).unwrap()) };
    let acknowledged: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u8)
            .map(|writer| {
                let (reader, signer) = (reader(open(), root.kid()), Arc::clone(&signer));
                scope.spawn(move || {
                    // Each term of a writer has its own names for files.
                    let term =
                        |term| write(reader.clone(), &signer, writer * 16 + term, 6).unwrap();
                    (0..4).flat_map(term).collect::<Vec<_>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    assert!(!acknowledged.is_empty());
    check_one_chain(
        &reader(open(), root.kid()),
        acknowledged,
        "a real directory",
    );
}

/// A shelf that does what it is told and says that somebody else had done it, as a store does whose
/// client tried twice.
struct TwiceShelf(Directory);

impl Shelf for TwiceShelf {
    fn list(&self) -> io::Result<Vec<Listed>> {
        self.0.list()
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        self.0.read(name, limit)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<Created> {
        self.0.create(name, bytes).map(|_| Created::Exists)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
}

#[test]
fn b12_a_writer_is_not_fenced_by_its_own_success() {
    let root = SigningKey::generate();
    let home = tempfile::tempdir().unwrap();
    let shelf = Arc::new(TwiceShelf(Directory::open(home.path()).unwrap()));
    let reader = reader(shelf, root.kid());
    let acknowledged = write(reader.clone(), &Arc::new(signer(&root)), 1, 5).unwrap();
    assert_eq!(acknowledged.len(), 5);
    check_one_chain(&reader, acknowledged, "created twice");
}

#[test]
fn a_chain_read_from_its_newest_checkpoint_is_the_chain_read_from_its_beginning() {
    let root = SigningKey::generate();
    let home = tempfile::tempdir().unwrap();
    let reader = reader(Arc::new(Directory::open(home.path()).unwrap()), root.kid());
    let signer = Arc::new(signer(&root));
    let mut chain = Chain::claim(reader.clone(), Arc::clone(&signer), NOW).unwrap();
    for number in 1..600_u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let mut next = change(id, number);
        if number > 10 {
            let mut old = [0; 16];
            old[..8].copy_from_slice(&(number - 10).to_be_bytes());
            next.removed = vec![old];
        }
        chain.commit(next, NOW).unwrap();
        if number % 97 == 0 {
            chain = Chain::claim(reader.clone(), Arc::clone(&signer), NOW).unwrap();
        }
    }
    let (whole, digests) = reader.load_all().unwrap().unwrap();
    assert_eq!(reader.load().unwrap().unwrap(), whole);
    assert_eq!(&whole, chain.head());
    assert_eq!(whole.files.len(), 10);
    assert_eq!(digests.len(), 606);
}

#[test]
fn b16_an_altered_missing_or_moved_manifest_is_named() {
    let root = SigningKey::generate();
    let home = tempfile::tempdir().unwrap();
    let shelf = Directory::open(home.path()).unwrap();
    let reader = reader(Arc::new(shelf), root.kid());
    write(reader.clone(), &Arc::new(signer(&root)), 1, 3).unwrap();
    let path = |number| home.path().join(manifest_name(number));
    let good = std::fs::read(path(2)).unwrap();
    for at in 0..good.len() {
        let mut altered = good.clone();
        altered[at] ^= 1;
        std::fs::write(path(2), altered).unwrap();
        let named = matches!(
            reader.load(),
            Err(ChainError::Manifest { number: 2, .. } | ChainError::Broken { number: 2 })
        );
        assert!(named, "byte {at}");
    }
    std::fs::write(path(2), std::fs::read(path(1)).unwrap()).unwrap();
    assert!(matches!(
        reader.load(),
        Err(ChainError::Broken { number: 2 })
    ));
    std::fs::remove_file(path(2)).unwrap();
    assert!(matches!(
        reader.load(),
        Err(ChainError::Broken { number: 2 })
    ));
    std::fs::write(path(2), good).unwrap();
    assert!(reader.load().is_ok());
    // Another root's histories are nobody's.
    let foreign = ChainReader {
        root: SigningKey::generate().kid(),
        ..reader
    };
    assert!(matches!(
        foreign.load(),
        Err(ChainError::Manifest { number: 0, .. })
    ));
}
