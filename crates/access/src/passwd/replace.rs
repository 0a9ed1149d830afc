//! Replacing a file as a whole: new file, `fsync`, rename, `fsync` of the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::PasswdError;

/// What to do if the file isn't there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
}

/// Hands the text of the file to `change` and puts the text it returns, if any, in its place.
///
/// An existing file keeps its mode and owner, a new one gets mode 0600. Through a symbolic link the file it points to
/// is replaced, not the link.
pub(super) fn edit<R>(
    path: &Path,
    missing: Missing,
    change: impl FnOnce(&str) -> (Option<String>, R),
) -> Result<R, PasswdError> {
    let failed = |attempt| move |source| PasswdError::Io { path: path.to_owned(), attempt, source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder_handle = File::open(folder).map_err(failed("open its folder"))?;
    // Held until the handle drops. Where locks don't exist, two edits in the same second are the operator's risk.
    let _ = folder_handle.lock();

    let old = match fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(failed("edit it")(io::Error::other("it is not a regular file")));
        }
        Ok(metadata) => Some((fs::read(&target).map_err(failed("read it"))?, metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && missing == Missing::Create => None,
        Err(error) => return Err(failed("read it")(error)),
    };
    let (old_bytes, metadata) = old.unzip();
    let old_text = String::from_utf8(old_bytes.unwrap_or_default())
        .map_err(|_| PasswdError::NotUtf8(path.to_owned()))?;
    let (new_text, result) = change(&old_text);
    if let Some(text) = new_text {
        put(&target, folder, metadata.as_ref(), &text).map_err(failed("write it"))?;
        folder_handle.sync_all().map_err(failed("bring its folder to the disk"))?;
    }
    Ok(result)
}

fn put(target: &Path, folder: &Path, like: Option<&fs::Metadata>, text: &str) -> io::Result<()> {
    let new = Scratch::create(target, folder)?;
    let mut file = &new.file;
    file.write_all(text.as_bytes())?;
    if let Some(metadata) = like {
        take_after(file, metadata)?;
    }
    file.sync_all()?;
    fs::rename(&new.path, target)
}

/// The new file, until it is renamed; removed if something fails before.
struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    fn create(target: &Path, folder: &Path) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut scratch_name = std::ffi::OsString::from(".");
        scratch_name.push(name);
        scratch_name.push(format!(".new-{:016x}", u64::from_be_bytes(random)));
        let path = folder.join(scratch_name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok(Self { file, path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After the rename there is nothing of this name any more, which is what we want.
        let _ = fs::remove_file(&self.path);
    }
}

/// Gives `file` the owner and mode of the file it replaces: a broker that could read the old one can read the new one,
/// also if root did the edit.
#[cfg(unix)]
fn take_after(file: &File, metadata: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    file.set_permissions(metadata.permissions())
}

#[cfg(not(unix))]
fn take_after(file: &File, metadata: &fs::Metadata) -> io::Result<()> {
    file.set_permissions(metadata.permissions())
}
