//! The output formats of `-F`, as mosquitto_sub 2.0 has them.

mod json;
mod parse;
#[cfg(test)]
mod tests;

use std::io::Write as _;

use cork_packet::{Property, PropertyId};

use crate::{message::Message, moment::Moment};
pub use parse::FormatError;

/// A format, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

/// What stands in a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Bytes as they are.
    Literal(Vec<u8>),
    /// `%` and a letter.
    Field(Field),
    /// `@` and a character, for strftime(3).
    Time(char),
    /// `@N`.
    Nanoseconds,
}

/// `%`, flags, width, precision, letter.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Field {
    letter: char,
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// What could not be printed, although the format is right.
#[derive(Debug, PartialEq, Eq)]
pub struct NotJson;

impl Format {
    /// Appends a message, without line end.
    ///
    /// # Errors
    /// `%J` stands in the format and the payload is no JSON; everything else is written.
    pub fn write(
        &self,
        message: &Message<'_>,
        moment: &Moment,
        pretty: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NotJson> {
        let mut result = Ok(());
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Time(conversion) => out.extend_from_slice(moment.conversion(*conversion).as_bytes()),
                Piece::Nanoseconds => out.extend_from_slice(moment.nanoseconds().as_bytes()),
                Piece::Field(field) => match field.letter {
                    'j' => json::write(message, moment, None, pretty, out),
                    'J' => match json::payload(message.payload) {
                        Some(value) => json::write(message, moment, Some(value), pretty, out),
                        None => result = Err(NotJson),
                    },
                    _ => field.write(message, moment, out),
                },
            }
        }
        result
    }
}

impl Field {
    fn write(&self, message: &Message<'_>, moment: &Moment, out: &mut Vec<u8>) {
        let properties = message.properties;
        match self.letter {
            'A' => self.number(properties.topic_alias().map(Into::into), out),
            'C' => self.text(properties.content_type().unwrap_or_default(), out),
            'D' => out.extend_from_slice(properties.correlation_data().unwrap_or_default()),
            'E' => self.number(properties.message_expiry_interval().map(Into::into), out),
            'F' => self.number(properties.payload_format_indicator().map(u64::from), out),
            'I' => self.text(&moment.iso(), out),
            'l' => self.number(Some(message.payload.len() as u64), out),
            'm' => self.number(Some(message.packet_id.into()), out),
            'P' => user_properties(message, out),
            'p' => self.payload(message.payload, out),
            'q' => out.push(b'0' + message.qos.bits()),
            // Of what may be missing only this one leaves no room.
            'R' => {
                if let Some(topic) = properties.response_topic() {
                    self.text(topic, out);
                }
            }
            'r' => out.push(b'0' + u8::from(message.retain)),
            'S' => self.number(properties.subscription_identifier().map(Into::into), out),
            't' => self.text(message.topic, out),
            'U' => out.extend_from_slice(moment.unix().as_bytes()),
            'x' => self.hexadecimal(message.payload, b"0123456789abcdef", out),
            'X' => self.hexadecimal(message.payload, b"0123456789ABCDEF", out),
            // The parser lets nothing else through but `%`.
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }

    /// Blanks, or zeros, that fill up to the width.
    fn pad(&self, length: usize, fill: u8, out: &mut Vec<u8>) {
        out.extend(std::iter::repeat_n(fill, self.width.saturating_sub(length)));
    }

    fn padded(&self, bytes: &[u8], fill: u8, out: &mut Vec<u8>) {
        if self.left {
            out.extend_from_slice(bytes);
            self.pad(bytes.len(), b' ', out);
        } else {
            self.pad(bytes.len(), fill, out);
            out.extend_from_slice(bytes);
        }
    }

    /// What is not there leaves its width blank.
    fn number(&self, number: Option<u64>, out: &mut Vec<u8>) {
        match number {
            Some(number) => {
                self.padded(number.to_string().as_bytes(), if self.zero { b'0' } else { b' ' }, out);
            }
            None => self.padded(b"", b' ', out),
        }
    }

    fn text(&self, text: &str, out: &mut Vec<u8>) {
        let end = self.precision.map_or(text.len(), |most| text.len().min(most));
        self.padded(&text.as_bytes()[..end], b' ', out);
    }

    /// A width cuts the payload, too.
    fn payload(&self, payload: &[u8], out: &mut Vec<u8>) {
        let end = if self.width > 0 { payload.len().min(self.width) } else { payload.len() };
        self.padded(&payload[..end], if self.zero { b'0' } else { b' ' }, out);
    }

    /// With a width mosquitto_sub shows half of the bytes that have room as they are; scripts may rely on it.
    fn hexadecimal(&self, payload: &[u8], digits: &[u8; 16], out: &mut Vec<u8>) {
        let end = if self.width > 0 { payload.len().min(self.width) / 2 } else { payload.len() };
        let mut hex = Vec::with_capacity(2 * end);
        for byte in &payload[..end] {
            hex.push(digits[usize::from(byte >> 4)]);
            hex.push(digits[usize::from(byte & 15)]);
        }
        self.padded(&hex, if self.zero { b'0' } else { b' ' }, out);
    }
}

/// `name:value` with blanks between.
fn user_properties(message: &Message<'_>, out: &mut Vec<u8>) {
    if !message.properties.has(PropertyId::UserProperty) {
        return;
    }
    let pairs = message.properties.iter().filter_map(|property| match property {
        Property::UserProperty(name, value) => Some((name, value)),
        _ => None,
    });
    for (at, (name, value)) in pairs.enumerate() {
        // Writing to a vector can't fail.
        let _ = write!(out, "{}{name}:{value}", if at == 0 { "" } else { " " });
    }
}
