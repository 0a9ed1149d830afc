//! What can be wrong with a password file, said so that the operator knows what to do.

use std::fmt;

/// One thing that is wrong with a password file. Never shows a password or hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFileError {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1; `None` if the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong, and what would be accepted or is to be done.
    pub message: String,
}

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for PasswordFileError {}

/// Everything that is wrong with a password file; at least one error, in the order of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFileErrors(pub Vec<PasswordFileError>);

impl PasswordFileErrors {
    pub(crate) fn whole_file(file: &str, message: String) -> Self {
        Self(vec![PasswordFileError { file: file.to_owned(), line: None, message }])
    }
}

impl fmt::Display for PasswordFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PasswordFileErrors {}
