//! What pages are written with, as steps that a test can stop between.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// How large a page may be.
pub(crate) const MAX_PAGE_BYTES: u64 = 64 << 20;

/// What a new page is called until it takes the old one's place.
const NEW: &str = "new";

/// What an old page is called until it is overwritten.
const OLD: &str = "old";

/// The steps.
pub(crate) trait Disk: Send + Sync {
    /// Makes a directory for its owner alone, durably.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Returns the files in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Returns a file's bytes, if it is there.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Writes a file, new or not, for its owner alone.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's bytes durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Gives a file a second name, unless that is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Puts a file in the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a directory's names durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Puts `bytes` in the place of the page at `path`, so that whoever opens it after a crash finds
/// the old page or the new one, whole.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension(NEW);
    disk.write(&new, bytes)?;
    disk.sync(&new)?;
    disk.rename(&new, path)?;
    disk.sync_dir(parent(path))
}

/// As [`replace`], and then overwrites the old page's bytes, where the file system writes in place.
/// What the old page held is gone for whoever holds the sealing key, too.
pub(crate) fn replace_and_scrub(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = path.with_extension(OLD);
    scrub(disk, &old)?;
    if disk.read(path)?.is_some() {
        disk.link(path, &old)?;
    }
    replace(disk, path, bytes)?;
    scrub(disk, &old)
}

/// Finishes what a crash interrupted in a directory, and returns its pages.
pub(crate) fn recover(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let extension = |path: &Path, word: &str| path.extension().is_some_and(|found| found == word);
    let mut pages = Vec::new();
    for path in disk.list(directory)? {
        if extension(&path, NEW) {
            disk.remove(&path)?;
        } else if extension(&path, OLD) {
            // The crash may have come before the new page took its place: then the old page's
            // second name is the page itself, and only the name goes.
            let current = path.with_extension(PAGE);
            if disk.read(&current)? == disk.read(&path)? {
                disk.remove(&path)?;
            } else {
                scrub(disk, &path)?;
            }
        } else if extension(&path, PAGE) {
            pages.push(path);
        }
    }
    disk.sync_dir(directory)?;
    pages.sort();
    Ok(pages)
}

/// What a page's file name ends in.
pub(crate) const PAGE: &str = "page";

fn scrub(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if let Some(bytes) = disk.read(path)? {
        disk.write(path, &vec![0; bytes.len()])?;
        disk.sync(path)?;
        disk.remove(path)?;
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        self.sync_dir(parent(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_PAGE_BYTES.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_PAGE_BYTES {
            return Err(io::Error::new(
                ErrorKind::FileTooLarge,
                "larger than a page may be",
            ));
        }
        Ok(Some(bytes))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Not truncated: scrubbing must reach the very blocks that hold the old bytes.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)?;
        file.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
