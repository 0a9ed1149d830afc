//! Messages on standard output.

use std::io::{self, Write as _};

use cork_client::machine::Incoming;
use cork_tools::{
    format::{Format, NotJson},
    message::Message,
    moment::Moment,
    view::{Ink, Palette, pretty, shown},
};

use super::{Failure, OutputArgs};

/// Prints messages as the flags say; what is printed waits until [`Printer::flush`].
pub(crate) struct Printer {
    style: Style,
    newline: bool,
    /// Nothing is said of a payload that is no JSON.
    quiet: bool,
    out: Vec<u8>,
}

enum Style {
    /// -F.
    Format(Format, bool),
    /// --json.
    Json,
    /// Payload alone, or behind its topic.
    Raw { topic: bool },
    /// For people.
    Pretty { topic: bool, palette: Palette },
}

/// Printed and not written yet.
const WAITING_BYTES_MAX: usize = 64 * 1024;

impl Printer {
    pub(crate) fn new(args: &OutputArgs, quiet: bool) -> Result<Self, Failure> {
        let topic = args.verbose;
        let style = match &args.format {
            Some(format) => {
                let format = format.parse().map_err(|error| Failure::usage(format!("-F: {error}")))?;
                Style::Format(format, args.pretty)
            }
            None if args.json => Style::Json,
            // -N asks for the bytes and nothing else.
            None if args.view.is_pretty() && !args.no_newline => {
                Style::Pretty { topic, palette: args.color.palette() }
            }
            None => Style::Raw { topic },
        };
        Ok(Self { style, newline: !args.no_newline, quiet, out: Vec::new() })
    }

    /// Prints a message.
    ///
    /// # Errors
    /// Standard output failed.
    pub(crate) fn print(&mut self, incoming: &Incoming) -> io::Result<()> {
        let message = Message::from(incoming);
        match &self.style {
            Style::Format(format, pretty) => {
                let written = format.write(&message, &Moment::now(), *pretty, &mut self.out);
                if written == Err(NotJson) && !self.quiet {
                    eprintln!("Error: Message payload is not valid JSON on topic {}.", shown(message.topic));
                }
            }
            Style::Json => {
                let mut line = String::new();
                message.write_json(&Moment::now(), &mut line);
                self.out.extend_from_slice(line.as_bytes());
            }
            Style::Raw { topic } => {
                let empty = message.payload.is_empty();
                // As mosquitto_sub: an empty payload is no line, or the word `(null)`.
                if empty && (!topic || !self.newline) {
                    return Ok(());
                }
                if *topic {
                    self.out.extend_from_slice(message.topic.as_bytes());
                    self.out.push(b' ');
                }
                self.out.extend_from_slice(if empty { b"(null)" } else { message.payload });
            }
            Style::Pretty { topic, palette } => {
                if *topic {
                    self.out.extend_from_slice(palette.paint(Ink::Name, &shown(message.topic)).as_bytes());
                    self.out.push(b' ');
                }
                let payload = match message.payload {
                    [] => palette.paint(Ink::Note, "(empty)"),
                    payload => pretty(payload, *palette),
                };
                self.out.extend_from_slice(payload.as_bytes());
            }
        }
        if self.newline {
            self.out.push(b'\n');
        }
        if self.out.len() > WAITING_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Writes what was printed.
    ///
    /// # Errors
    /// Standard output failed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.out)?;
        stdout.flush()?;
        self.out.clear();
        if self.out.capacity() > 4 * WAITING_BYTES_MAX {
            self.out = Vec::new(); // one large message is no reason to keep its memory
        }
        Ok(())
    }
}
