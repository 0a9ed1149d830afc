//! What is kept, and for how long.

use std::{fmt, io, path::Path, time::Duration};

use cork_packet::matches;

/// One `[[history]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Topics that are kept.
    pub filter: Box<str>,
    /// For how long.
    pub keep: Duration,
    /// Bytes on disk, at most.
    pub max_bytes: u64,
}

impl Rule {
    pub(crate) fn wants(&self, topic: &str) -> bool {
        matches(&self.filter, topic)
    }

    /// As it stands beside its data.
    pub(crate) fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.filter, self.keep.as_micros(), self.max_bytes)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let filter = lines.next()?.into();
        let keep = Duration::from_micros(lines.next()?.parse().ok()?);
        Some(Self { filter, keep, max_bytes: lines.next()?.parse().ok()? })
    }

    /// The folder of its data: the filter, readable, in characters that every file system takes.
    pub(crate) fn folder(&self) -> String {
        let mut name = String::from("f-");
        for byte in self.filter.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                _ => name.push_str(&format!("%{byte:02x}")),
            }
        }
        if name.len() > 100 {
            let mut cut = 80;
            while !name.is_char_boundary(cut) {
                cut -= 1;
            }
            name.truncate(cut);
            name.push_str(&format!("~{:08x}", crc32fast::hash(self.filter.as_bytes())));
        }
        name
    }
}

/// What is kept of all that is published: a message goes to the first rule that wants its topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// In the order of the configuration.
    pub rules: Vec<Rule>,
    /// Bytes for retained messages that no rule wants; 0: none are kept.
    pub retained_bytes: u64,
}

/// How long retained messages are kept that no rule wants.
const RETAINED_KEEP: Duration = Duration::from_secs(30 * 86_400);
/// Their folder.
pub(crate) const RETAINED_FOLDER: &str = "retained";

impl Rules {
    /// Whether nothing is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.retained_bytes == 0
    }

    pub(crate) fn for_retained(&self) -> Option<Rule> {
        let max_bytes = self.retained_bytes;
        (max_bytes > 0).then(|| Rule { filter: "#".into(), keep: RETAINED_KEEP, max_bytes })
    }
}

/// Why the history cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    path: String,
    error: io::Error,
}

impl OpenError {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |error| Self { path, error }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.error)
    }
}

impl std::error::Error for OpenError {}
