//! The key behind what unknown users meet, kept where it outlives files and processes.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::OnceLock,
};

/// Of the process: what unknown users meet must not change with the file, as what known ones meet does not.
static KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// Keeps the key of what unknown users meet in a file (0600, made when absent), so that their salts in SCRAM stay what
/// they are although the password file changes and the process ends. Without it they are the same only as long as the
/// process runs or the file stays as it is. The first call of a process counts.
///
/// # Errors
/// The file can be neither read nor made, or holds something else. Nothing is opened by that: what unknown users meet
/// then follows from the password file.
pub fn keep_decoys_in(path: &Path) -> io::Result<()> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
        Err(error) => return Err(error),
    };
    let key = <[u8; 32]>::try_from(bytes).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is not 32 bytes", path.display()))
    })?;
    KEY.get_or_init(|| key);
    Ok(())
}

fn make(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0; 32];
    getrandom::fill(&mut key)?;
    // Whole under its name or not there at all.
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(key)
}

/// The key in force: the kept one, or the one of a file.
pub(crate) fn key_or(of_file: &[u8; 32]) -> &[u8; 32] {
    KEY.get().unwrap_or(of_file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let folder = std::env::temp_dir().join(format!("cork-decoy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("decoy.key");
        let (first, mode) = (make(&path).unwrap(), fs::metadata(&path).unwrap().permissions().mode());
        assert_eq!((first.len(), mode & 0o777, fs::read(&path).unwrap() == first), (32, 0o600, true));
        assert!(first != make(&path).unwrap(), "by chance");
        fs::write(&path, "short").unwrap();
        assert!(keep_decoys_in(&path).unwrap_err().to_string().contains("not 32 bytes"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
