//! Where log lines go, and where they go while that does not work.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    journal::Journal,
    line::{Written, priority},
};

/// How often an output that fails is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where lines go now.
pub(super) struct Output {
    place: Place,
    /// The place failed; it is tried again then. Meanwhile lines go to standard error.
    retry: Option<Instant>,
}

enum Place {
    /// `true`: it is the journal, which reads how important a line is from its beginning.
    Stderr(bool),
    Journal(Option<Journal>),
    File(PathBuf, Option<File>),
}

impl Output {
    pub(super) fn stderr(is_journal: bool) -> Self {
        Self { place: Place::Stderr(is_journal), retry: None }
    }

    pub(super) fn journal() -> Self {
        Self { place: Place::Journal(None), retry: None }
    }

    pub(super) fn file(path: &Path) -> Self {
        Self { place: Place::File(path.to_owned(), None), retry: None }
    }

    pub(super) fn reopen(&mut self) {
        if let Place::File(_, file) = &mut self.place {
            *file = None;
        }
        self.retry = None;
    }

    /// Writes lines, of which `text` is all: where they belong, else to standard error, else nowhere.
    pub(super) fn put(&mut self, text: &str, lines: &[Written<'_>]) {
        if self.retry.is_none_or(|when| Instant::now() >= when) {
            match self.place.put(text, lines) {
                Ok(()) => {
                    self.retry = None;
                    return;
                }
                Err(error) => {
                    if self.retry.is_none() {
                        self.place.complain(&error);
                    }
                    self.retry = Some(Instant::now() + RETRY);
                }
            }
        }
        if !matches!(self.place, Place::Stderr(_)) {
            let _ = io::stderr().lock().write_all(text.as_bytes()); // the last resort
        }
    }
}

impl Place {
    fn put(&mut self, text: &str, lines: &[Written<'_>]) -> io::Result<()> {
        match self {
            Self::Stderr(false) => io::stderr().lock().write_all(text.as_bytes()),
            Self::Stderr(true) => {
                io::stderr().lock().write_all(&lines.iter().flat_map(with_priority).collect::<Vec<_>>())
            }
            Self::Journal(journal) => {
                let open = match journal.take() {
                    Some(open) => open,
                    None => Journal::open()?,
                };
                lines.iter().try_for_each(|line| open.put(line))?;
                *journal = Some(open);
                Ok(())
            }
            Self::File(path, file) => {
                let mut open = match file.take() {
                    Some(open) => open,
                    // Who may read it is the operator's choice, by the folder; others may not.
                    None => OpenOptions::new().append(true).create(true).mode(0o640).open(path)?,
                };
                open.write_all(text.as_bytes())?;
                *file = Some(open);
                Ok(())
            }
        }
    }

    fn complain(&self, error: &io::Error) {
        let place = match self {
            Self::Stderr(_) => return,
            Self::Journal(_) => "the journal".to_owned(),
            Self::File(path, _) => format!("the log file `{}`", path.display()),
        };
        let _ = writeln!(
            io::stderr().lock(),
            "{place} can't be written ({error}); until it can, the log goes to standard error"
        );
    }
}

/// As the journal likes it on a standard error that leads to it: `<6>` before each line.
fn with_priority(line: &Written<'_>) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.text.len() + 4);
    for part in line.text.split_inclusive('\n') {
        text.extend_from_slice(format!("<{}>", priority(line.level)).as_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use tracing::Level;

    use super::*;

    fn line(text: &str) -> Written<'_> {
        Written { level: Level::INFO, subsystem: "net", text }
    }

    fn put(output: &mut Output, text: &str) {
        output.put(text, &[line(text)]);
    }

    pub(in crate::log) fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cork-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = folder("rotate");
        let path = folder.join("cork.log");
        let mut output = Output::file(&path);
        put(&mut output, "one\n");
        fs::rename(&path, folder.join("cork.log.1")).unwrap();
        put(&mut output, "two\n");
        output.reopen();
        put(&mut output, "three\n");
        assert_eq!(fs::read_to_string(folder.join("cork.log.1")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let folder = folder("fails");
        let path = folder.join("not-there").join("cork.log");
        let mut output = Output::file(&path);
        put(&mut output, "lost\n");
        assert!(output.retry.is_some());
        fs::create_dir(folder.join("not-there")).unwrap();
        put(&mut output, "too early\n");
        assert!(!path.exists());
        output.retry = Some(Instant::now());
        put(&mut output, "there\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "there\n");
        assert!(output.retry.is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_journal_is_told_how_important_each_line_is() {
        let text =
            |level, text: &str| String::from_utf8(with_priority(&Written { level, ..line(text) })).unwrap();
        assert_eq!(text(Level::INFO, "one\ntwo\n"), "<6>one\n<6>two\n");
        assert_eq!(text(Level::ERROR, "x\n"), "<3>x\n");
    }
}
