//! The disk as the recorder sees it: what must survive a loss of power goes through here, and
//! tests look on.
//!
//! Invariant: a new name (of a folder, or by a rename) counts only when the folder that holds it
//! is on the disk too; [`create_dir`] and [`rename`] return after that.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

pub type SharedDisk = Arc<dyn Disk>;

/// Single steps, each as the operating system has it.
pub trait Disk: Send + Sync {
    /// A file that was not there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Brings the names in a folder to the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// A file that is written from its start to its end.
pub trait DiskFile: Send {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Brings what was written to the disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Shortens it to `length` bytes; writing goes on there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The one of the operating system.
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(drop)
    }
}

/// A new folder that outlives a loss of power; none when that cannot be had.
pub fn create_dir(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.create_dir(path)?;
    sync_parent(disk, path).inspect_err(|_| {
        if let Err(fault) = std::fs::remove_dir(path) {
            tracing::warn!(%fault, folder = %path.display(), "an empty folder is left behind");
        }
    })
}

/// As [`create_dir`], with those above it; also for one that somebody has just made.
pub fn create_dir_all(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    sync_parent(disk, path)
}

/// A rename within one folder that outlives a loss of power. After an error the file may have
/// either name.
pub fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    disk.rename(from, to)?;
    sync_parent(disk, to)
}

fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    disk.sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Does what waits for the disk where no task waits with it.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|fault| Err(io::Error::other(fault)))
}
