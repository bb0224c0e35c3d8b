//! A disk in memory that does what real ones do at the worst time: it fails a write half-way, has
//! no room, fails a sync, stops at a given operation, loses power with what was not synced.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::fs::{LogFile, LogFs};

/// A directory in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryFs {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<String, FileId>,
    contents: BTreeMap<FileId, Content>,
    next_file: FileId,
    /// Changes of names since they were made durable, and the names that were.
    durable_names: BTreeMap<String, FileId>,
    unsynced_names: Vec<BTreeMap<String, FileId>>,
    /// Handles of an earlier life do nothing any more.
    life: u64,
    locked: bool,
    faults: Faults,
    operations: u64,
}

type FileId = u64;

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The operation with this number, and all after it, fail; a write is done by half before.
    pub stop_at: Option<u64>,
    /// Every sync fails.
    pub sync_fails: bool,
    /// Files cannot be made.
    pub no_room: bool,
}

/// How a crash ends the process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: what it wrote stays.
    Kill,
    /// The power fails: of what was not synced some is lost, as the number says.
    PowerCut(u64),
}

impl MemoryFs {
    /// Returns an empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.disk().faults = faults;
    }

    /// Returns how many operations that change something there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Ends the life of all handles and takes away what goes wrong, as a new start of the machine.
    pub fn crash(&self, crash: Crash) {
        let mut disk = self.disk();
        disk.life += 1;
        disk.locked = false;
        disk.faults = Faults::default();
        if let Crash::PowerCut(seed) = crash {
            disk.lose(&mut Lots(seed));
        }
        disk.settle();
    }

    /// Returns a file's bytes.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        let id = disk.files.get(name)?;
        disk.contents.get(id).map(|content| content.now.clone())
    }

    /// Replaces a file's bytes, as rot or an attacker does.
    pub fn overwrite(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.disk();
        if let Some(id) = disk.files.get(name).copied() {
            let content = disk.contents.entry(id).or_default();
            content.now.clone_from(&bytes);
            content.durable = bytes;
            content.unsynced.clear();
        }
    }

    /// Returns a copy of the directory as it is.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let copy = Self::new();
        let disk = self.disk();
        for (name, id) in &disk.files {
            let mut other = copy.disk();
            let bytes = disk.contents.get(id).map(|content| content.now.clone());
            let new = other.add(name);
            let content = other.contents.entry(new).or_default();
            content.now = bytes.unwrap_or_default();
            content.durable = content.now.clone();
        }
        copy.disk().settle();
        copy
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Counts an operation that changes something. An error: it does not happen.
    fn operate(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.faults.stop_at {
            Some(stop) if number >= stop => Err(io::Error::other("the disk has stopped")),
            _ => Ok(()),
        }
    }

    fn add(&mut self, name: &str) -> FileId {
        let id = self.next_file;
        self.next_file += 1;
        self.contents.insert(id, Content::default());
        self.files.insert(name.to_owned(), id);
        self.names_changed();
        id
    }

    fn names_changed(&mut self) {
        self.unsynced_names.push(self.files.clone());
    }

    /// Loses some of what was not synced: names go back to some earlier state, of each file's
    /// writes some sectors are there and some are not.
    fn lose(&mut self, lots: &mut Lots) {
        let kept = lots.below(self.unsynced_names.len() + 1);
        self.files = match kept.checked_sub(1) {
            None => self.durable_names.clone(),
            Some(index) => self.unsynced_names.swap_remove(index),
        };
        for content in self.contents.values_mut() {
            content.lose(lots);
        }
    }

    /// Makes everything as it is durable.
    fn settle(&mut self) {
        self.durable_names.clone_from(&self.files);
        self.unsynced_names.clear();
        let files: Vec<_> = self.files.values().copied().collect();
        self.contents.retain(|id, _| files.contains(id));
        for content in self.contents.values_mut() {
            content.durable.clone_from(&content.now);
            content.unsynced.clear();
        }
    }
}

const SECTOR: usize = 512;

impl Content {
    fn write(&mut self, bytes: &[u8], at: usize) {
        put(&mut self.now, bytes, at);
        self.unsynced.push((at, bytes.to_vec()));
    }

    fn lose(&mut self, lots: &mut Lots) {
        let mut left = self.durable.clone();
        let way = lots.below(3);
        for (at, bytes) in &self.unsynced {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                let survives = match way {
                    0 => false,
                    1 => true,
                    _ => lots.below(2) == 0,
                };
                if survives {
                    let torn = if lots.below(4) == 0 {
                        lots.below(sector.len())
                    } else {
                        sector.len()
                    };
                    let (part, _) = sector.split_at(torn);
                    put(&mut left, part, at + index * SECTOR);
                }
            }
        }
        self.now = left;
    }
}

fn put(to: &mut Vec<u8>, bytes: &[u8], at: usize) {
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    if let Some(place) = to.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Numbers that depend on a seed only.
struct Lots(u64);

impl Lots {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = usize::try_from(self.0 >> 33).unwrap_or(0);
        number % bound.max(1)
    }
}

struct Lock {
    disk: Arc<Mutex<Disk>>,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.life == self.life {
            disk.locked = false;
        }
    }
}

impl LogFs for MemoryFs {
    fn lock(&self) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut disk = self.disk();
        if disk.locked {
            return Ok(None);
        }
        disk.locked = true;
        Ok(Some(Box::new(Lock {
            disk: Arc::clone(&self.disk),
            life: disk.life,
        })))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().files.keys().cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.disk();
        disk.operate()?;
        if disk.faults.no_room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = disk.add(name);
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let content = disk.contents.entry(id).or_default();
        content.now = vec![0; size];
        content.durable = vec![0; size];
        Ok(Arc::new(self.handle(&disk, id)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let disk = self.disk();
        let id = disk.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(self.handle(&disk, *id)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        let id = disk.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.files.insert(to.to_owned(), id);
        disk.names_changed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        if !disk.files.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.operate()?;
        disk.files.remove(name);
        disk.names_changed();
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.durable_names = disk.files.clone();
        disk.unsynced_names.clear();
        Ok(())
    }
}

impl MemoryFs {
    fn handle(&self, disk: &Disk, id: FileId) -> Handle {
        Handle {
            fs: self.clone(),
            id,
            life: disk.life,
        }
    }
}

struct Handle {
    fs: MemoryFs,
    id: FileId,
    life: u64,
}

impl Handle {
    fn with<T>(
        &self,
        changes: bool,
        work: impl FnOnce(&mut Content, &Faults) -> io::Result<T>,
        instead: impl FnOnce(&mut Content),
    ) -> io::Result<T> {
        let mut disk = self.fs.disk();
        if disk.life != self.life {
            return Err(io::Error::other("the machine was started anew"));
        }
        let happens = if changes { disk.operate() } else { Ok(()) };
        let faults = disk.faults;
        let content = disk
            .contents
            .get_mut(&self.id)
            .ok_or(io::ErrorKind::NotFound)?;
        match happens {
            Ok(()) => work(content, &faults),
            Err(error) => {
                instead(content);
                Err(error)
            }
        }
    }
}

impl LogFile for Handle {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let whole = |content: &mut Content, _: &Faults| {
            content.write(bytes, at);
            Ok(())
        };
        let half = |content: &mut Content| {
            let (half, _) = bytes.split_at(bytes.len() / 2);
            content.write(half, at);
        };
        self.with(true, whole, half)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let read = |content: &mut Content, _: &Faults| {
            let there = content.now.get(at..).unwrap_or_default();
            let count = there.len().min(bytes.len());
            let (to, from) = (bytes.split_at_mut(count).0, there.split_at(count).0);
            to.copy_from_slice(from);
            Ok(count)
        };
        self.with(false, read, |_| {})
    }

    fn sync(&self) -> io::Result<()> {
        let sync = |content: &mut Content, faults: &Faults| {
            if faults.sync_fails {
                return Err(io::Error::other("the sync failed"));
            }
            content.durable.clone_from(&content.now);
            content.unsynced.clear();
            Ok(())
        };
        self.with(true, sync, |_| {})
    }

    fn size(&self) -> io::Result<u64> {
        self.with(false, |content, _| Ok(content.now.len() as u64), |_| {})
    }
}
