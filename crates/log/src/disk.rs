//! What the log asks of a disk, and the real one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

/// One folder of files.
///
/// Nothing that was not synced need be there after a power cut: of a file [`DiskFile::sync_data`] keeps the content
/// and the length, of the folder [`Disk::sync_dir`] keeps what was created and removed.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Names of all files.
    ///
    /// # Errors
    /// Of the disk.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or of the disk.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or of the disk.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Removes a file; whoever has it open can go on reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or of the disk.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes durable what was created and removed.
    ///
    /// # Errors
    /// Of the disk.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file. Offsets and lengths are bytes.
#[expect(clippy::len_without_is_empty, reason = "a file that can fail to say its length")]
pub trait DiskFile: Send + Sync + 'static {
    /// Its length.
    ///
    /// # Errors
    /// Of the disk.
    fn len(&self) -> io::Result<u64>;

    /// Reads until `into` is full or the file ends, and says how much that was.
    ///
    /// # Errors
    /// Of the disk.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], or of the disk; some of it may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file this long at least, and takes the space for it, so that later writes need none. A disk that cannot
    /// do the latter does only the former.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], or of the disk.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error nothing is known of what was written since the last success,
    /// even if a later call succeeds.
    ///
    /// # Errors
    /// Of the disk.
    fn sync_data(&self) -> io::Result<()>;
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    folder: PathBuf,
}

impl RealDisk {
    /// Opens the folder, or makes it: it and its files are for their owner only.
    ///
    /// # Errors
    /// Of the file system.
    pub fn new(folder: &Path) -> io::Result<Self> {
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // Also when it was there: who made it may not have come as far as this.
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// A folder that must be there already.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    pub fn existing(folder: &Path) -> io::Result<Self> {
        fs::read_dir(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let options = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).to_owned();
        Ok(RealFile(options.open(self.folder.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let path = self.folder.join(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            // Whoever only looks may have no right to write.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Ok(RealFile(File::open(&path)?))
            }
            opened => Ok(RealFile(opened?)),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// A file of the operating system.
#[derive(Debug)]
pub struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.0.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        loop {
            return match fallocate(&self.0, FallocateFlags::empty(), 0, length) {
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if self.len()? < length => {
                    self.0.set_len(length)
                }
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
