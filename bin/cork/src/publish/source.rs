//! Where payloads come from: the command line, a file, standard input.

use std::{
    io::{self, BufRead as _, Read as _},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use cork_tools::template::{Context as Meaning, Template};
use tokio::sync::mpsc;

use crate::mqtt::{Failure, MessageArgs};

/// Payloads, one after the other.
pub(super) enum Source {
    /// The same one, so many times more.
    Same(Payload, u64),
    /// Lines of standard input, as they come.
    Lines { lines: mpsc::Receiver<io::Result<Vec<u8>>>, template: bool, dry: bool, failed: Option<io::Error> },
}

/// The payload of one message.
#[derive(Clone)]
pub(super) enum Payload {
    Bytes(Bytes),
    Template(Arc<Template>),
    /// A line with placeholders of its own.
    Line(Vec<u8>),
}

/// MQTT's largest packet.
const PAYLOAD_BYTES_MAX: u64 = 268_435_455;
/// Lines read ahead.
const LINES_AHEAD: usize = 64;

impl Source {
    pub(super) fn new(args: &MessageArgs, lines: bool, repeat: u64, template: bool) -> Result<Self, Failure> {
        if lines {
            return Ok(Self::Lines { lines: read_lines(), template, dry: false, failed: None });
        }
        let bytes = single(args)?;
        if !template {
            return Ok(Self::Same(Payload::Bytes(bytes), repeat));
        }
        let text = str::from_utf8(&bytes)
            .map_err(|_| Failure::usage("--template: the payload is not UTF-8".to_owned()))?;
        let template =
            Template::parse(text).map_err(|error| Failure::usage(format!("--template: {error}")))?;
        Ok(Self::Same(Payload::Template(Arc::new(template)), repeat))
    }

    /// The next payload; `None` when there is none any more.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Payload>> {
        match self {
            Self::Same(_, 0) => Poll::Ready(None),
            Self::Same(payload, left) => {
                *left -= 1;
                Poll::Ready(Some(payload.clone()))
            }
            Self::Lines { dry: true, .. } => Poll::Ready(None),
            Self::Lines { lines, template, dry, failed } => match lines.poll_recv(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(line))) if *template => Poll::Ready(Some(Payload::Line(line))),
                Poll::Ready(Some(Ok(line))) => Poll::Ready(Some(Payload::Bytes(line.into()))),
                Poll::Ready(end) => {
                    *dry = true;
                    *failed = end.and_then(Result::err);
                    Poll::Ready(None)
                }
            },
        }
    }

    /// Whether it is standard input, line by line.
    pub(super) const fn is_lines(&self) -> bool {
        matches!(self, Self::Lines { .. })
    }

    /// Whether it gave everything it had.
    pub(super) fn is_dry(&self) -> bool {
        matches!(self, Self::Same(_, 0) | Self::Lines { dry: true, .. })
    }

    /// Whether it ended as it should.
    pub(super) fn outcome(self) -> Result<(), Failure> {
        match self {
            Self::Lines { failed: Some(error), .. } => {
                Err(Failure::new(format!("cannot read standard input: {error}")))
            }
            _ => Ok(()),
        }
    }
}

impl Payload {
    /// The line this payload is, for placeholders.
    pub(super) fn line(&self) -> Option<String> {
        match self {
            Self::Line(line) => Some(String::from_utf8_lossy(line).into_owned()),
            _ => None,
        }
    }

    /// The bytes, placeholders replaced. A line with a placeholder that means nothing stays as it is: it is data.
    pub(super) fn into_bytes(self, meaning: Meaning<'_>) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Template(template) => template.render(meaning).into(),
            Self::Line(line) => match str::from_utf8(&line).map(Template::parse) {
                Ok(Ok(template)) => template.render(meaning).into(),
                _ => line.into(),
            },
        }
    }
}

/// The payload of -m, -n, -f or -s.
pub(crate) fn single(args: &MessageArgs) -> Result<Bytes, Failure> {
    if let Some(text) = &args.message {
        return Ok(crate::mqtt::bytes(text));
    }
    let bytes = if let Some(path) = &args.file {
        let file = std::fs::File::open(path);
        file.and_then(whole).map_err(|error| Failure::new(format!("-f {}: {error}", path.display())))?
    } else if args.stdin_file {
        let bytes = whole(io::stdin()).map_err(|error| Failure::new(format!("-s: {error}")))?;
        if bytes.is_empty() {
            return Err(Failure::new(
                "-s: standard input is empty; -n publishes an empty message".to_owned(),
            ));
        }
        bytes
    } else {
        Vec::new()
    };
    Ok(bytes.into())
}

fn whole(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other(format!(
            "more than {PAYLOAD_BYTES_MAX} bytes do not fit into a message"
        )));
    }
    Ok(bytes)
}

/// A thread that reads lines, because standard input can't be waited for in another way.
fn read_lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let next = match stdin.by_ref().take(PAYLOAD_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {
                    if line.last() == Some(&b'\n') {
                        line.pop();
                    }
                    Ok(line)
                }
                Err(error) => Err(error),
            };
            let last = next.is_err();
            if sender.blocking_send(next).is_err() || last {
                return;
            }
        }
    });
    receiver
}
