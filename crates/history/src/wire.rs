//! Numbers and texts as bytes: little-endian, or seven bits a byte where small numbers are the rule; one message.

use std::sync::Arc;

use cork_packet::QoS;
use cork_store::{Message, MessageId, Proof, Publisher, WallTime};

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

pub(crate) fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}

pub(crate) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
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
const PROOF_SHIFT: u8 = 5;

/// QoS, RETAIN and whether there is a User Name, with who vouches for it.
pub(crate) fn flags_of(message: &Message) -> u8 {
    let proof = match message.publisher.proof {
        Proof::Nobody => 0,
        Proof::Users => 1,
        Proof::Connection => 2,
        Proof::Inside => 3,
    };
    let retain = if message.retain { RETAIN } else { 0 };
    let user = if message.publisher.user_name.is_some() { USER } else { 0 };
    message.qos.bits() | retain | user | proof << PROOF_SHIFT
}

/// Reads what [`put_publisher`] wrote.
pub(crate) fn publisher(from: &mut Cursor<'_>, flags: u8) -> Result<Publisher, Malformed> {
    let client_id = from.text()?.into();
    let user_name = if flags & USER == 0 { None } else { Some(from.text()?.into()) };
    let proof = match flags >> PROOF_SHIFT {
        0 => Proof::Nobody,
        1 => Proof::Users,
        2 => Proof::Connection,
        3 => Proof::Inside,
        _ => return Err(Malformed),
    };
    Ok(Publisher { client_id, user_name, proof })
}

pub(crate) fn put_publisher(into: &mut Vec<u8>, publisher: &Publisher) {
    put_bytes(into, publisher.client_id.as_bytes());
    if let Some(user) = &publisher.user_name {
        put_bytes(into, user.as_bytes());
    }
}

/// Puts what flags say into a message.
pub(crate) fn set_flags(message: &mut Message, flags: u8) -> Result<(), Malformed> {
    message.qos = QoS::from_bits(flags & 0b11).ok_or(Malformed)?;
    message.retain = flags & RETAIN != 0;
    Ok(())
}

/// A message as it stands in the open part of a shelf.
pub(crate) fn put_message(into: &mut Vec<u8>, message: &Message) {
    into.push(flags_of(message));
    put_id(into, message.id);
    put_varint(into, message.expires.map_or(0, |at| at.0));
    put_bytes(into, message.topic.as_bytes());
    put_publisher(into, &message.publisher);
    put_bytes(into, message.properties());
    put_bytes(into, message.payload());
}

/// Reads it again; `like` is a publisher that it may share.
pub(crate) fn message(from: &mut Cursor<'_>, like: &mut Arc<Publisher>) -> Result<Message, Malformed> {
    let flags = from.u8()?;
    let id = from.id()?;
    let expires = Some(WallTime(from.varint()?)).filter(|at| at.0 > 0);
    let topic = from.text()?;
    let by = publisher(from, flags)?;
    if **like != by {
        *like = Arc::new(by);
    }
    let (properties, payload) = (from.bytes()?, from.bytes()?);
    let mut message = Message::new(id, topic, properties, payload, Arc::clone(like));
    set_flags(&mut message, flags)?;
    message.expires = expires;
    Ok(message)
}

/// Whether bytes have the shape of what [`put_message`] writes; cheaper than reading it.
pub(crate) fn is_message(bytes: &[u8]) -> bool {
    let mut from = Cursor(bytes);
    let mut shape = || {
        let flags = from.u8()?;
        let padding = from.take(16)?.ends_with(&[0; 2]);
        from.varint()?;
        for _ in 0..if flags & USER == 0 { 4 } else { 5 } {
            from.bytes()?;
        }
        Ok::<_, Malformed>(padding && flags & 0b11 != 0b11 && flags & 0b1000 == 0)
    };
    shape().unwrap_or(false) && from.0.is_empty()
}
