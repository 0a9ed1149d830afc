//! CBOR (RFC 8949): one data item that uses all bytes.

use crate::tape::{Kind, NotThis, Stop, Writer, last_of, place};

/// Reads a payload. A message that says nothing of its type counts only as a map or list (`container`): nearly every
/// short text or picture begins like some other item.
pub(crate) fn read(payload: &[u8], container: bool, mut writer: Writer<'_>) -> Result<usize, Stop> {
    let mut reader = Reader { bytes: payload, at: 0 };
    if payload.starts_with(&SELF_DESCRIBED) {
        reader.at = SELF_DESCRIBED.len();
    }
    let major = payload.get(reader.at).ok_or(NotThis)? >> 5;
    if container && !matches!(major, 4 | 5) {
        return Err(Stop::NotThis);
    }
    reader.item(&mut writer)?;
    if reader.at == payload.len() { Ok(writer.used()) } else { Err(Stop::NotThis) }
}

/// Tag 55799 (RFC 8949 3.4.6).
const SELF_DESCRIBED: [u8; 3] = [0xD9, 0xD9, 0xF7];
const BREAK: u8 = 0xFF;
/// Tags around one another; they mean nothing here.
const TAGS_MAX: usize = 8;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, NotThis> {
        let byte = *self.bytes.get(self.at).ok_or(NotThis)?;
        self.at += 1;
        Ok(byte)
    }

    /// The argument of an item head: from its low five bits or the bytes behind it. `None`: indefinite.
    fn argument(&mut self, low: u8) -> Result<Option<u64>, NotThis> {
        let len = match low {
            0..=23 => return Ok(Some(u64::from(low))),
            24..=27 => 1 << (low - 24),
            31 => return Ok(None),
            _ => return Err(NotThis),
        };
        let bytes = self.take(len)?;
        Ok(Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))))
    }

    fn take(&mut self, len: usize) -> Result<&[u8], NotThis> {
        let end = self.at.checked_add(len).ok_or(NotThis)?;
        let bytes = self.bytes.get(self.at..end).ok_or(NotThis)?;
        self.at = end;
        Ok(bytes)
    }

    fn item(&mut self, writer: &mut Writer<'_>) -> Result<(), Stop> {
        for _ in 0..TAGS_MAX {
            let head = self.byte()?;
            let (major, low) = (head >> 5, head & 0x1F);
            if major == 6 {
                self.argument(low)?.ok_or(NotThis)?;
                continue;
            }
            return match major {
                0 => writer.value(unsigned(self.argument(low)?.ok_or(NotThis)?)),
                1 => {
                    let value = self.argument(low)?.ok_or(NotThis)?;
                    // Below -2^63 there is nothing an expression could hold it in.
                    writer.value(i64::try_from(value).map_or(Kind::Opaque, |value| Kind::Int(-1 - value)))
                }
                2 | 3 => self.string(major == 3, low, writer),
                4 => self.list(low, writer),
                5 => self.map(low, writer),
                _ => self.simple(low, writer),
            };
        }
        Err(Stop::NotThis)
    }

    fn string(&mut self, text: bool, low: u8, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let Some(len) = self.argument(low)? else {
            return self.chunks(text, writer);
        };
        let from = self.at;
        let bytes = self.take(usize::try_from(len).map_err(|_| NotThis)?)?;
        if text && std::str::from_utf8(bytes).is_err() {
            return Err(Stop::NotThis);
        }
        let last = last_of(bytes);
        if text {
            writer.text(from, self.at, last)
        } else {
            writer.value(Kind::Bytes(place(from), place(self.at)))
        }
    }

    /// A string in pieces. A text is put together; of bytes it is only known that they are there.
    fn chunks(&mut self, text: bool, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let from = writer.unescaped.len();
        loop {
            let head = self.byte()?;
            if head == BREAK {
                return if text { writer.unescaped(from) } else { writer.value(Kind::Opaque) };
            }
            if head >> 5 != if text { 3 } else { 2 } {
                return Err(Stop::NotThis);
            }
            let len = self.argument(head & 0x1F)?.ok_or(NotThis)?;
            let bytes = self.take(usize::try_from(len).map_err(|_| NotThis)?)?;
            if text {
                // Each piece is a whole text (RFC 8949 3.2.3).
                writer.unescaped.push_str(std::str::from_utf8(bytes).map_err(|_| NotThis)?);
            }
        }
    }

    /// Whether another element follows. `count` elements were announced, or a break ends them.
    fn goes_on(&mut self, read: u64, count: Option<u64>) -> bool {
        match count {
            Some(count) => read < count,
            None if self.bytes.get(self.at) == Some(&BREAK) => {
                self.at += 1;
                false
            }
            None => true,
        }
    }

    fn list(&mut self, low: u8, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let count = self.argument(low)?;
        let list = writer.open(0)?;
        let mut elements: u32 = 0;
        while self.goes_on(elements.into(), count) {
            self.item(writer)?;
            elements += 1;
        }
        writer.close(list, Kind::List(elements));
        Ok(())
    }

    fn map(&mut self, low: u8, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let count = self.argument(low)?;
        let map = writer.open(0)?;
        let mut pairs: u32 = 0;
        while self.goes_on(pairs.into(), count) {
            self.item(writer)?;
            self.item(writer)?;
            pairs += 1;
        }
        writer.close(map, Kind::Map(pairs));
        Ok(())
    }

    fn simple(&mut self, low: u8, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let kind = match low {
            20 => Kind::Bool(false),
            21 => Kind::Bool(true),
            22 => Kind::Null,
            0..=19 | 23 => Kind::Opaque,
            24 => {
                self.byte()?;
                Kind::Opaque
            }
            25 => Kind::Double(half(self.array()?)),
            26 => Kind::Double(f32::from_be_bytes(self.array()?).into()),
            27 => Kind::Double(f64::from_be_bytes(self.array()?)),
            _ => return Err(Stop::NotThis),
        };
        writer.value(kind)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotThis> {
        self.take(N)?.first_chunk().copied().ok_or(NotThis)
    }
}

pub(crate) fn unsigned(value: u64) -> Kind {
    i64::try_from(value).map_or(Kind::Uint(value), Kind::Int)
}

/// A half precision number (RFC 8949 appendix D).
fn half(bytes: [u8; 2]) -> f64 {
    let bits = u16::from_be_bytes(bytes);
    let (power, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    let size = match power {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * 2_f64.powi(power - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}
