//! Numbers and texts as bytes: little-endian, or seven bits a byte where small numbers are the rule; what a message says of
//! itself in one byte.

use cork_packet::QoS;
use cork_store::{Message, MessageId, Publisher, Row, WallTime};

pub(crate) use cork_store::{put_bytes, put_varint};

/// Bytes that do not read as what they should be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads from the front.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A number that counts or measures what is in memory.
    pub(crate) fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.varint()?).map_err(|_| Malformed)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub(crate) fn id(&mut self) -> Result<MessageId, Malformed> {
        let arrived = WallTime(self.u64()?);
        let both = self.u64()?;
        let [a, b, epoch @ ..] = both.to_le_bytes();
        let epoch = u32::from_le_bytes([epoch[0], epoch[1], epoch[2], epoch[3]]);
        Ok(MessageId { arrived, shard: u16::from_le_bytes([a, b]), epoch })
    }
}

/// 16 bytes.
pub(crate) fn put_id(into: &mut Vec<u8>, id: MessageId) {
    into.extend_from_slice(&id.arrived.0.to_le_bytes());
    into.extend_from_slice(&id.shard.to_le_bytes());
    into.extend_from_slice(&id.epoch.to_le_bytes());
    into.extend_from_slice(&[0; 2]);
}

const RETAIN: u8 = 1 << 2;
const USER: u8 = 1 << 4;
/// Bits of what a message's publisher says: whether there is a User Name, and who vouches for it.
const AUTHOR: u8 = !0b1111;

/// QoS, RETAIN and whether there is a User Name, with who vouches for it.
pub(crate) fn flags_of(row: &Row<'_>) -> u8 {
    let retain = if row.retain { RETAIN } else { 0 };
    row.qos.bits() | retain | row.author.first().map_or(0, |author| author & AUTHOR)
}

/// Reads one author, as [`cork_store::put_author`] writes it.
pub(crate) fn publisher(from: &mut Cursor<'_>) -> Result<Publisher, Malformed> {
    let mut behind = *from;
    let flags = behind.u8()?;
    for _ in 0..if flags & USER == 0 { 1 } else { 2 } {
        behind.bytes()?;
    }
    let author = from.take(from.0.len() - behind.0.len())?;
    cork_store::publisher(author).ok_or(Malformed)
}

/// Puts what flags say into a message.
pub(crate) fn set_flags(message: &mut Message, flags: u8) -> Result<(), Malformed> {
    message.qos = QoS::from_bits(flags & 0b11).ok_or(Malformed)?;
    message.retain = flags & RETAIN != 0;
    Ok(())
}
