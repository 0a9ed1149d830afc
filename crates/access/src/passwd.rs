//! Editing a password file: what `cork passwd` does.
//!
//! A change is made to a new file beside the old one, brought to the disk, and put in its place, so a broker that
//! reads meanwhile, or a power cut, meets the old file or the new one. Comments, blank lines and other users' lines
//! stay as they are, even those the broker wouldn't accept: a file can be repaired user by user. Two edits at once
//! wait for each other.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::hash::{StoredPassword, ends_with_nul};
use crate::password_file::is_entry;
use crate::scram::{self, ScramSecret};

mod replace;

/// What [`set_password`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user is new.
    Added,
    /// The user was there and has a new password now.
    Changed,
}

/// Why a password file was not changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum PasswdError {
    /// The user name can't stand in a password file, and why.
    UserName(&'static str),
    /// The password can't be stored, and why.
    Password(&'static str),
    /// The file isn't UTF-8 text.
    NotUtf8(PathBuf),
    /// The system gave no random bytes for a salt.
    Random(getrandom::Error),
    /// Something failed with the file.
    Io {
        /// The password file.
        path: PathBuf,
        /// What was tried, as `write` or `read`.
        attempt: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for PasswdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserName(fault) => write!(f, "the user name {fault}"),
            Self::Password(fault) => write!(f, "the password {fault}"),
            Self::NotUtf8(path) => {
                write!(
                    f,
                    "{}: is not UTF-8 text, so it is not a password file; nothing was changed",
                    path.display()
                )
            }
            Self::Random(error) => write!(f, "the system gives no random bytes for a salt: {error}"),
            Self::Io { path, attempt, source } => write!(f, "{}: can't {attempt} ({source})", path.display()),
        }
    }
}

impl std::error::Error for PasswdError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Sets the password of `user` in the file at `path`; makes the file (mode 0600) if there is none.
///
/// The password is stored as an Argon2id hash. With `scram` the user gets a SCRAM-SHA-256 secret as well; a user who
/// has one gets a new one in any case, since the old one would still open the door with the old password. Takes some
/// 100 ms and 19 MiB.
///
/// # Errors
/// See [`PasswdError`]; the file is unchanged then.
pub fn set_password(path: &Path, user: &str, password: &[u8], scram: bool) -> Result<Change, PasswdError> {
    let [hash, secret] = stored_forms(user, password)?;
    replace::edit(path, replace::Missing::Create, |old| {
        let of_user: Vec<&str> = old.lines().filter_map(|line| hash_of(line, user)).collect();
        let mut new_lines = format!("{user}:{hash}\n");
        if scram || of_user.iter().any(|stored| stored.starts_with(scram::PREFIX)) {
            new_lines.push_str(&format!("{user}:{secret}\n"));
        }
        let change = if of_user.is_empty() { Change::Added } else { Change::Changed };
        (Some(with_lines(old, user, new_lines)), change)
    })
}

/// What is kept of a password: its hash, and its SCRAM secret. Takes a while, on purpose.
///
/// # Errors
/// The name or the password can't be kept, or there is no randomness.
pub fn stored_forms(user: &str, password: &[u8]) -> Result<[String; 2], PasswdError> {
    if let Some(fault) = user_name_fault(user) {
        return Err(PasswdError::UserName(fault));
    }
    if password.is_empty() {
        return Err(PasswdError::Password("is empty; give at least one character"));
    }
    if password.len() > usize::from(u16::MAX) {
        return Err(PasswdError::Password("is longer than the 65535 bytes that MQTT can carry"));
    }
    if ends_with_nul(password) {
        return Err(PasswdError::Password(
            "ends with U+0000, which not every stored form can tell from its absence",
        ));
    }
    let hash = StoredPassword::create(password).map_err(PasswdError::Random)?.to_text();
    let secret = ScramSecret::create(password).map_err(PasswdError::Random)?.to_text();
    Ok([hash, secret])
}

/// Takes all lines of `user` out of the file at `path`; `false` if there are none.
///
/// A broker refuses a file without users, so taking out the last one keeps it from starting.
///
/// # Errors
/// See [`PasswdError`]; the file is unchanged then. A missing file is an error.
pub fn delete_user(path: &Path, user: &str) -> Result<bool, PasswdError> {
    replace::edit(path, replace::Missing::Refuse, |old| {
        let found = old.lines().any(|line| hash_of(line, user).is_some());
        (found.then(|| with_lines(old, user, String::new())), found)
    })
}

/// Why `user` can't be a user name in a password file, as the end of a sentence that begins with "the user name".
pub fn user_name_fault(user: &str) -> Option<&'static str> {
    if user.is_empty() {
        Some("is empty")
    } else if user.len() > usize::from(u16::MAX) {
        Some("is longer than the 65535 bytes that MQTT can carry")
    } else if user.contains(char::is_control) {
        Some("contains a control character")
    } else if user.contains(':') {
        Some("contains a colon, which ends the name in a password file")
    } else if !is_entry(user) {
        Some("would make its line a comment or a blank line")
    } else {
        None
    }
}

/// What stands behind `user:` if the line is one of that user's.
fn hash_of<'a>(line: &'a str, user: &str) -> Option<&'a str> {
    line.strip_prefix(user)?.strip_prefix(':').filter(|_| is_entry(line))
}

/// `old` with `new_lines` in place of the first line of `user`, or at the end, and without the other lines of `user`.
fn with_lines(old: &str, user: &str, mut new_lines: String) -> String {
    let mut text = String::with_capacity(old.len() + new_lines.len() + 1);
    for line in old.split_inclusive('\n') {
        if hash_of(line, user).is_some() {
            text.push_str(&std::mem::take(&mut new_lines));
        } else {
            text.push_str(line);
        }
    }
    if !new_lines.is_empty() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&new_lines);
    }
    text
}

#[cfg(test)]
mod tests;
