//! systemd's journal: its native protocol, and whether standard error leads there already.
//!
//! One datagram is one entry: fields, each `NAME=value` and a line feed; a value with line feeds in it as `NAME`, line
//! feed, its length in eight bytes little-endian, the value, line feed.

use std::{env, io, os::unix::fs::MetadataExt as _, os::unix::net::UnixDatagram, path::Path};

use super::line::{Written, priority};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal.
pub(super) struct Journal(UnixDatagram);

impl Journal {
    pub(super) fn open() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self(socket))
    }

    pub(super) fn put(&self, line: &Written<'_>) -> io::Result<()> {
        self.0.send(&entry(line)).map(|_| ())
    }
}

fn entry(line: &Written<'_>) -> Vec<u8> {
    let text = line.text.as_bytes();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut entry = Vec::with_capacity(text.len() + 80);
    put_field(&mut entry, "PRIORITY", priority(line.level).to_string().as_bytes());
    put_field(&mut entry, "SYSLOG_IDENTIFIER", b"cork");
    put_field(&mut entry, "CORK_SUBSYSTEM", line.subsystem.as_bytes());
    put_field(&mut entry, "MESSAGE", &text[..text.len().min(MESSAGE_BYTES_MAX)]);
    entry
}

/// A datagram must fit into the socket's buffer; no line of the broker is nearly as long.
const MESSAGE_BYTES_MAX: usize = 128 << 10;

fn put_field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// Whether standard error is a stream to the journal: systemd names the one it made in `JOURNAL_STREAM`, as device and
/// inode, which children inherit even if their standard error goes elsewhere.
pub(super) fn is_stderr() -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else { return false };
    let Ok(there) = std::fs::metadata("/proc/self/fd/2") else { return false };
    names(&named, there.dev(), there.ino())
}

fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn line(text: &str) -> Written<'_> {
        Written { level: Level::WARN, subsystem: "net", text }
    }

    #[test]
    fn an_entry_is_a_datagram_of_fields() {
        let path = std::env::temp_dir().join(format!("cork-journal-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        Journal::at(&path).unwrap().put(&line("hello\n")).unwrap();
        let mut buffer = [0; 200];
        let len = socket.recv(&mut buffer).unwrap();
        let expected = "PRIORITY=4\nSYSLOG_IDENTIFIER=cork\nCORK_SUBSYSTEM=net\nMESSAGE=hello\n";
        assert_eq!(str::from_utf8(&buffer[..len]).unwrap(), expected);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_line_can_add_a_field() {
        let entry = entry(&line("a\nPRIORITY=0\n"));
        let text = String::from_utf8(entry).unwrap();
        assert!(text.ends_with("MESSAGE\n\u{c}\0\0\0\0\0\0\0a\nPRIORITY=0\n"), "{text:?}");
    }

    #[test]
    fn the_stream_systemd_made_is_recognised() {
        assert!(names("8:123", 8, 123));
        for other in ["8:124", "9:123", "8", "", ":", "x:y"] {
            assert!(!names(other, 8, 123), "{other}");
        }
    }
}
