//! Files in the data directory that the API writes: whole, or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// The contents of a file; none if it is not there.
pub(crate) fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("`{}`: {error}", file.display()))),
    }
}

/// Writes beside the file, and then in its place: a crash leaves the old contents or the new ones. Nobody else may read
/// it.
pub(crate) fn write(file: &Path, contents: &[u8]) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let fresh = Path::new(&name);
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(fresh)?;
    out.write_all(contents)?;
    out.sync_all()?;
    fs::rename(fresh, file)?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
