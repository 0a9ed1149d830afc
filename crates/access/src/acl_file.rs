//! Rights from a file: our own TOML form, or Mosquitto's `acl_file`, told apart by the file's name.
//!
//! A file with any fault at all is refused as a whole, with every fault named. One that says nothing closes everything:
//! what isn't allowed by a line is denied, unless a line says `default = "allow"`.

use std::path::Path;

use crate::acl::Acl;
use crate::error::{FileError, FileErrors};
use crate::password_file::read_regular;

mod mosquitto;
mod toml_form;

impl Acl {
    /// Reads a rights file: `*.toml` as [`from_toml`](Self::from_toml), any other name as
    /// [`from_mosquitto`](Self::from_mosquitto).
    ///
    /// # Errors
    /// All faults of the file: it can't be read, isn't a regular file, isn't UTF-8, or has lines that are not accepted.
    pub fn load(path: &Path) -> Result<Self, FileErrors> {
        let file = path.display().to_string();
        let bytes = read_regular(path).map_err(|error| {
            let message =
                format!("the rights file can't be read ({error}); name a file that the broker may read");
            FileErrors::whole_file(&file, message)
        })?;
        let text = str::from_utf8(&bytes)
            .map_err(|error| FileErrors::not_utf8(&file, "the rights file", &bytes, error))?;
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        if is_toml { Self::from_toml(text, &file) } else { Self::from_mosquitto(text, &file) }
    }

    /// Rights in the TOML form; `file` is the name for errors and explanations.
    ///
    /// ```
    /// use cork_access::{Acl, Action, Subject};
    ///
    /// let text = "[[rule]]\nuser = 'ann'\nallow = ['read', 'write']\ntopic = 'home/#'";
    /// let acl = Acl::from_toml(text, "acl.toml")?;
    /// let decision = acl.explain(Subject { user: Some("ann"), client_id: "lamp" }, Action::Write, "home/lamp");
    /// assert!(decision.allowed);
    /// assert_eq!(decision.source, Some("acl.toml:1"));
    /// # Ok::<(), cork_access::FileErrors>(())
    /// ```
    ///
    /// # Errors
    /// All faults of the text.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, FileErrors> {
        toml_form::read(text, file)
    }

    /// Rights in the format of Mosquitto's `acl_file`, with what its lines mean there: denials come first, then what a
    /// user's own lines allow, then the patterns; every SUBSCRIBE is granted and each delivery is checked.
    ///
    /// Two things are stricter: a name can't begin a topic with `$`, and a line that ends after its access word is an
    /// error instead of a topic of that name.
    ///
    /// # Errors
    /// All faults of the text.
    pub fn from_mosquitto(text: &str, file: &str) -> Result<Self, FileErrors> {
        mosquitto::read(text, file)
    }
}

/// A file's faults while it is read.
struct Faults<'a> {
    file: &'a str,
    found: Vec<FileError>,
}

impl<'a> Faults<'a> {
    fn new(file: &'a str) -> Self {
        Self { file, found: Vec::new() }
    }

    fn add(&mut self, line: usize, message: impl Into<String>) {
        self.found.push(FileError { file: self.file.to_owned(), line: Some(line), message: message.into() });
    }

    fn source(&self, line: usize) -> String {
        format!("{}:{line}", self.file)
    }

    /// `Err` with everything found, in the order of the lines, if there is anything.
    fn finish(mut self) -> Result<(), FileErrors> {
        self.found.sort_by_key(|error| error.line);
        if self.found.is_empty() { Ok(()) } else { Err(FileErrors(self.found)) }
    }
}

#[cfg(test)]
mod tests;
