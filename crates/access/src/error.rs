//! What can be wrong with a password file or a rights file, said so that the operator knows what to do.

use std::fmt;

/// One thing that is wrong with a password file or a rights file. Never shows a password or hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1; `None` if the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong, and what would be accepted or is to be done.
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for FileError {}

/// Everything that is wrong with a file; at least one error, in the order of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileErrors(pub Vec<FileError>);

impl FileErrors {
    pub(crate) fn whole_file(file: &str, message: String) -> Self {
        Self(vec![FileError { file: file.to_owned(), line: None, message }])
    }
}

impl FileErrors {
    /// `what` is how an operator calls the file.
    pub(crate) fn not_utf8(file: &str, what: &str, bytes: &[u8], error: std::str::Utf8Error) -> Self {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        let message =
            format!("{what} is not UTF-8 text; names and topics can only be UTF-8, so save it as such");
        Self(vec![FileError { file: file.to_owned(), line: Some(line), message }])
    }
}

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}
