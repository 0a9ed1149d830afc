//! MessagePack: one object that uses all bytes.

use crate::{
    cbor::unsigned,
    tape::{Kind, NotThis, Stop, Writer, last_of, place},
};

/// Reads a payload; without a content type only a map or list counts (`container`).
pub(crate) fn read(payload: &[u8], container: bool, mut writer: Writer<'_>) -> Result<usize, Stop> {
    let first = *payload.first().ok_or(NotThis)?;
    if container && !matches!(first, 0x80..=0x9F | 0xDC..=0xDF) {
        return Err(Stop::NotThis);
    }
    let mut reader = Reader { bytes: payload, at: 0 };
    reader.object(&mut writer)?;
    if reader.at == payload.len() { Ok(writer.used()) } else { Err(Stop::NotThis) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotThis> {
        let bytes = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk).ok_or(NotThis)?;
        self.at += N;
        Ok(*bytes)
    }

    /// A big-endian number of as many bytes.
    fn number(&mut self, len: usize) -> Result<u64, NotThis> {
        let bytes = self.bytes.get(self.at..self.at + len).ok_or(NotThis)?;
        self.at += len;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn object(&mut self, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let [head] = self.array()?;
        match head {
            0x00..=0x7F => writer.value(Kind::Int(head.into())),
            0x80..=0x8F => self.map(u64::from(head & 0x0F), writer),
            0x90..=0x9F => self.list(u64::from(head & 0x0F), writer),
            0xA0..=0xBF => self.bytes(u64::from(head & 0x1F), true, writer),
            0xC0 => writer.value(Kind::Null),
            0xC1 => Err(Stop::NotThis),
            0xC2 | 0xC3 => writer.value(Kind::Bool(head == 0xC3)),
            0xC4..=0xC6 => {
                let len = self.number(1 << (head - 0xC4))?;
                self.bytes(len, false, writer)
            }
            0xC7..=0xC9 => {
                let len = self.number(1 << (head - 0xC7))?;
                self.extension(len, writer)
            }
            0xCA => {
                let value = f32::from_be_bytes(self.array()?);
                writer.value(Kind::Double(value.into()))
            }
            0xCB => {
                let value = f64::from_be_bytes(self.array()?);
                writer.value(Kind::Double(value))
            }
            0xCC..=0xCF => {
                let value = self.number(1 << (head - 0xCC))?;
                writer.value(unsigned(value))
            }
            0xD0..=0xD3 => {
                let value = self.signed(head)?;
                writer.value(Kind::Int(value))
            }
            0xD4..=0xD8 => self.extension(1 << (head - 0xD4), writer),
            0xD9..=0xDB => {
                let len = self.number(1 << (head - 0xD9))?;
                self.bytes(len, true, writer)
            }
            0xDC | 0xDD => {
                let count = self.number(2 << (head - 0xDC))?;
                self.list(count, writer)
            }
            0xDE | 0xDF => {
                let count = self.number(2 << (head - 0xDE))?;
                self.map(count, writer)
            }
            0xE0..=0xFF => writer.value(Kind::Int(i64::from(head) - 256)),
        }
    }

    fn signed(&mut self, head: u8) -> Result<i64, NotThis> {
        Ok(match head {
            0xD0 => i8::from_be_bytes(self.array()?).into(),
            0xD1 => i16::from_be_bytes(self.array()?).into(),
            0xD2 => i32::from_be_bytes(self.array()?).into(),
            _ => i64::from_be_bytes(self.array()?),
        })
    }

    fn skip(&mut self, len: u64) -> Result<(usize, usize), NotThis> {
        let from = self.at;
        let end = usize::try_from(len).ok().and_then(|len| from.checked_add(len)).ok_or(NotThis)?;
        self.at = if end <= self.bytes.len() { end } else { return Err(NotThis) };
        Ok((from, end))
    }

    fn bytes(&mut self, len: u64, text: bool, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let (from, to) = self.skip(len)?;
        if text && std::str::from_utf8(&self.bytes[from..to]).is_err() {
            return Err(Stop::NotThis);
        }
        if text {
            writer.text(from, to, last_of(&self.bytes[from..to]))
        } else {
            writer.value(Kind::Bytes(place(from), place(to)))
        }
    }

    fn extension(&mut self, len: u64, writer: &mut Writer<'_>) -> Result<(), Stop> {
        self.skip(len + 1)?;
        writer.value(Kind::Opaque)
    }

    fn list(&mut self, count: u64, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let list = writer.open(0)?;
        for _ in 0..count {
            self.object(writer)?;
        }
        writer.close(list, Kind::List(u32::try_from(count).map_err(|_| NotThis)?));
        Ok(())
    }

    fn map(&mut self, count: u64, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let map = writer.open(0)?;
        for _ in 0..count {
            self.object(writer)?;
            self.object(writer)?;
        }
        writer.close(map, Kind::Map(u32::try_from(count).map_err(|_| NotThis)?));
        Ok(())
    }
}
