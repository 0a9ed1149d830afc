//! The data directory: made private, and owned by one process.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

/// The lock on a data directory; it ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the directory (0700) if it is not there, and locks it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let named = |what: &str, error: &io::Error| {
            io::Error::new(error.kind(), format!("{what} `{}`: {error}", path.display()))
        };
        let missing =
            path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
        let missing = missing.count();
        if missing > 0 {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| named("cannot make the data directory", &error))?;
        }
        // Its name, too, must survive a power cut; once more at each start, in case the last one was cut short here.
        for folder in path.ancestors().skip(1).take(missing.max(1)) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            match File::open(folder).and_then(|folder| folder.sync_all()) {
                Err(error) if missing > 0 => {
                    return Err(named("cannot keep the name of the data directory", &error));
                }
                _ => {}
            }
        }
        let lock = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(|error| named("cannot write into the data directory", &error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!(
                    "the data directory `{}` is in use by another cork; stop it, or give this one its own with --data-dir",
                    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display()
                ),
            )),
            Err(error) => Err(named("cannot lock the data directory", &error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_one_ends() {
        let path = std::env::temp_dir().join(format!("cork-data-dir-{}", std::process::id()));
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("in use by another cork"), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
        fs::remove_dir_all(path).unwrap();
    }
}
