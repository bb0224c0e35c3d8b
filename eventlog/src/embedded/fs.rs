//! The seam to the disk: all that the journal asks of a file system, so that a test can put in one
//! that fails, lies or loses power.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::Arc,
};

/// One directory of files.
pub trait LogFs: Send + Sync + 'static {
    /// Takes the directory for this process. None when another has it. Held until dropped.
    fn lock(&self) -> io::Result<Option<Box<dyn Send + Sync>>>;

    /// Returns the names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `size` zeros that the disk has room for, readable by its owner only. Fails
    /// when there is one.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn LogFile>>;

    /// Opens a file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Who has it open may read on.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// One file.
pub trait LogFile: Send + Sync + 'static {
    /// Writes all of `bytes` at `at`.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Reads as much as there is at `at` into `bytes`. Returns how much that was; less than asked
    /// only at the end.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Makes what was written durable. After an error nobody knows what is.
    fn sync(&self) -> io::Result<()>;

    /// Returns the file's size.
    fn size(&self) -> io::Result<u64>;
}

/// A directory of the operating system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

const LOCK: &str = "LOCK";

impl Directory {
    /// Takes the directory at `path`, making it, for its owner only, where there is none.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        Ok(Self { path })
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options
    }
}

impl LogFs for Directory {
    fn lock(&self) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = Self::options()
            .create(true)
            .truncate(false)
            .open(self.path.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn LogFile>> {
        let path = self.path.join(name);
        let file = Self::options().create_new(true).open(&path)?;
        if let Err(error) = reserve(&file, size).and_then(|()| file.sync_all()) {
            // A file without its room is no use and would stand in the way of the next try.
            let _removed = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = Self::options().open(self.path.join(name))?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Makes the disk set `size` bytes aside, so that a later write cannot find it full.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, size),
        Err(error) => Err(error.into()),
    }
}

fn write_zeros(file: &File, size: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let count = (size - at).min(zeros.len() as u64);
        let (some, _) = zeros.split_at(usize::try_from(count).unwrap_or(zeros.len()));
        file.write_all_at(some, at)?;
        at += count;
    }
    Ok(())
}

struct DiskFile(File);

impl LogFile for DiskFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some((_, rest)) = bytes.split_at_mut_checked(done) {
            if rest.is_empty() {
                break;
            }
            match self.0.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_their_owners_and_have_their_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Directory::new(&path).unwrap();
        let file = log.create("a", 100_000).unwrap();
        assert_eq!(file.size().unwrap(), 100_000);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.join("a")), 0o600);
        assert_eq!(mode(path.clone()), 0o700);
        assert!(log.create("a", 1).is_err());
        write_zeros(&File::create(path.join("b")).unwrap(), (1 << 20) + 1).unwrap();
        assert_eq!(log.open("b").unwrap().size().unwrap(), (1 << 20) + 1);
        assert_eq!(log.list().unwrap(), ["a", "b"]);
    }

    #[test]
    fn b16_a_directory_belongs_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = [(); 2].map(|()| Directory::new(dir.path()).unwrap());
        let held = first.lock().unwrap();
        assert!(held.is_some());
        assert!(second.lock().unwrap().is_none());
        drop(held);
        assert!(second.lock().unwrap().is_some());
    }
}
