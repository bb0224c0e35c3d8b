//! A place for immutable, named bytes with conditional create, which is all that the chain of
//! manifests stands on: of two writers of one name, one wins and the other learns of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use pulseward_base::{Micros, bytes::hex};
use pulseward_crypto::random;

/// What came of a conditional create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The bytes lie under the name, durably.
    New,
    /// Other bytes lay there before; nothing was changed.
    Exists,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// When it was put there.
    pub modified: Micros,
}

/// Immutable, named bytes. A directory, or in time an object store.
pub trait Shelf: Send + Sync {
    /// Returns what lies there, in no order.
    fn list(&self) -> io::Result<Vec<Listed>>;

    /// Returns the bytes under `name`, none if there are none; an error beyond `limit` bytes.
    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// Puts `bytes` under `name` whole and durably, unless something is there.
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<Created>;

    /// Removes what lies under `name`, if anything does.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A shelf in a directory of a local file system.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// What unfinished files are called; they are never read.
const UNFINISHED: &str = ".unfinished-";

impl Directory {
    /// Opens the directory, making it if needed, for its owner alone. Refuses a file system where
    /// a second create of one name goes through.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        let directory = Self {
            path: path.to_owned(),
        };
        directory.probe()?;
        Ok(directory)
    }

    /// Opens the directory for reading; nothing is made or tried.
    #[must_use]
    pub fn existing(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    fn probe(&self) -> io::Result<()> {
        let name = format!("{UNFINISHED}probe-{}", hex(&random::bytes::<16>()));
        let outcomes = [self.create(&name, b"1")?, self.create(&name, b"2")?];
        let kept = self.read(&name, 1)?;
        self.remove(&name)?;
        if outcomes == [Created::New, Created::Exists] && kept.as_deref() == Some(b"1") {
            return Ok(());
        }
        Err(io::Error::new(
            ErrorKind::Unsupported,
            "the file system has no conditional create",
        ))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Shelf for Directory {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let modified = match entry.metadata() {
                Ok(metadata) => metadata.modified()?,
                // Removed since the directory was read.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            if let Ok(name) = entry.file_name().into_string() {
                listed.push(Listed {
                    name,
                    modified: Micros(0).plus(since),
                });
            }
        }
        Ok(listed)
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            return Err(io::Error::new(
                ErrorKind::FileTooLarge,
                "larger than its limit",
            ));
        }
        Ok(Some(bytes))
    }

    /// The bytes are written and synced under another name and then linked: what can be seen under
    /// `name` is whole, and linking fails where something is.
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<Created> {
        let unfinished = self
            .path
            .join(format!("{UNFINISHED}{}", hex(&random::bytes::<16>())));
        let written = write_synced(&unfinished, bytes).and_then(|()| {
            match fs::hard_link(&unfinished, self.path.join(name)) {
                Ok(()) => Ok(Created::New),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Created::Exists),
                Err(error) => Err(error),
            }
        });
        let removed = fs::remove_file(&unfinished);
        let created = written?;
        removed?;
        self.sync()?;
        Ok(created)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the numbers that stand in names which end in `suffix` and are spelled as `name` spells
/// them, ascending.
pub(crate) fn numbers(
    shelf: &dyn Shelf,
    suffix: &str,
    name: fn(u64) -> String,
) -> io::Result<Vec<u64>> {
    let number = |listed: &str| {
        let number = listed.strip_suffix(suffix)?.parse().ok()?;
        (name(number) == listed).then_some(number)
    };
    let listed = shelf.list()?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|one| number(&one.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns whether a name is one that a create left behind when its process died.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_writers_of_one_name_one_wins_and_the_other_learns_of_it() {
        let home = tempfile::tempdir().unwrap();
        let shelf = Directory::open(&home.path().join("a/b")).unwrap();
        assert_eq!(shelf.create("name", b"one").unwrap(), Created::New);
        assert_eq!(shelf.create("name", b"two").unwrap(), Created::Exists);
        assert_eq!(shelf.read("name", 3).unwrap().as_deref(), Some(&b"one"[..]));
        assert!(shelf.read("name", 2).is_err());
        let names: Vec<_> = shelf
            .list()
            .unwrap()
            .into_iter()
            .map(|listed| listed.name)
            .collect();
        assert_eq!(names, ["name"], "nothing unfinished stays");
        shelf.remove("name").unwrap();
        shelf.remove("name").unwrap();
        assert_eq!(shelf.read("name", 3).unwrap(), None);
    }
}
