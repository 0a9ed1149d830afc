//! What can be wrong with a log, always by file and offset.

use std::{fmt, io};

use crate::format::FORMAT_VERSION;

/// A place in the log that is not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name, within the log's folder.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.offset, self.what)
    }
}

/// The unfinished end of a log, as a crash leaves it: nobody was told that it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file's name, within the log's folder.
    pub file: String,
    /// Where the sound part ends, in bytes.
    pub offset: u64,
    /// How much was left out behind it, in this file and later ones.
    pub bytes: u64,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of an unfinished write from byte {} of {} on", self.bytes, self.offset, self.file)
    }
}

/// Why a log cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The disk did not do what it was asked.
    Io {
        /// What was tried, and on which file.
        what: String,
        /// What came of it.
        error: io::Error,
    },
    /// Written by a newer version of this program.
    Newer {
        /// The file's name, within the log's folder.
        file: String,
        /// Its format.
        version: u32,
    },
    /// Something that was durable is not what it was.
    Damaged(Vec<Damage>),
    /// There is a log already where one was to be made.
    NotEmpty,
}

impl OpenError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}

/// Of several damages so many are named.
const NAMED_MAX: usize = 5;

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "cannot {what}: {error}"),
            Self::Newer { file, version } => write!(
                f,
                "the log was written by a newer cork: {file} has format {version}, this cork reads formats up to \
                 {FORMAT_VERSION}; start the newer one"
            ),
            Self::Damaged(damages) => {
                f.write_str("the log is damaged: ")?;
                for (at, damage) in damages.iter().take(NAMED_MAX).enumerate() {
                    write!(f, "{}{damage}", if at == 0 { "" } else { "; " })?;
                }
                if damages.len() > NAMED_MAX {
                    write!(f, "; and {} more", damages.len() - NAMED_MAX)?;
                }
                f.write_str(
                    ". Restore it from a backup, or save what is sound with `cork store check --repair`",
                )
            }
            Self::NotEmpty => f.write_str("there is a log already; nothing is written over it"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
