//! Properties of 5.0 packets (section 2.2.2), kept as the bytes they arrived in.
//!
//! A block is validated once, when it is decoded. After that [`Properties`] is a slice and one bit per
//! identifier in it: asking for a Property that is not there costs a bit test, and forwarding a block costs a
//! copy.

mod buf;
mod get;
mod id;
mod property;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::buf::PropertiesBuf;
pub use self::get::{SubscriptionIdentifiers, UserProperties};
pub use self::id::{PropertyId, PropertyPlace};
pub use self::property::Property;

use self::id::Shape;
use crate::read::Reader;
use crate::{DecodeError, EncodeError, Field};

/// A valid block of Properties, without its length. In 3.x packets it is empty.
///
/// `Copy`: it borrows the packet. Two blocks are equal if their bytes are.
#[derive(Copy, Clone, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    raw: &'a [u8],
    /// Bit n: identifier n is present. Bit [`INVALID`]: see [`PropertiesBuf`].
    present: u64,
}

/// Iterator over the Properties of a block, in order.
#[derive(Clone)]
pub struct PropertyIter<'a>(Entries<'a>);

impl<'a> Properties<'a> {
    /// No Properties.
    pub const EMPTY: Self = Self { raw: &[], present: 0 };

    /// Validates a block of Properties (without its length) for the place it stands in. Cost: linear in the
    /// bytes.
    ///
    /// `decode` does this for the blocks of a packet; a store does it for blocks it kept.
    ///
    /// # Errors
    /// The first broken rule: an identifier that does not exist or does not belong here (malformed), that
    /// repeats (protocol error), a value that cannot be read (malformed) or is out of range (protocol error).
    #[inline(never)]
    pub fn decode(raw: &'a [u8], place: PropertyPlace) -> Result<Self, DecodeError> {
        let (allowed, repeatable) = (place.allowed(), place.repeatable());
        let mut present = 0;
        let mut reader = Reader::new(raw);
        while !reader.is_empty() {
            let byte = reader.u8(Field::Properties)?;
            let id = PropertyId::from_bits(byte).ok_or(DecodeError::UnknownProperty(byte))?;
            if allowed & id.bit() == 0 {
                return Err(place.refusal(id));
            }
            if present & id.bit() & !repeatable != 0 {
                return Err(DecodeError::DuplicateProperty(id));
            }
            present |= id.bit();
            check_value(id, &mut reader)?;
        }
        let properties = Self { raw, present };
        // 5.0 section 3.1.2.11.10
        if properties.has(PropertyId::AuthenticationData) && !properties.has(PropertyId::AuthenticationMethod)
        {
            return Err(DecodeError::AuthenticationDataWithoutMethod);
        }
        Ok(properties)
    }

    /// The bytes of the block, without its length.
    #[inline]
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether there is no Property at all.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Whether the block has this Property. O(1).
    #[inline]
    #[must_use]
    pub const fn has(&self, id: PropertyId) -> bool {
        self.present & id.bit() != 0
    }

    /// All Properties in the order they were sent.
    #[inline]
    #[must_use]
    pub const fn iter(&self) -> PropertyIter<'a> {
        PropertyIter(Entries { rest: self.raw })
    }

    /// Whether a server may pass the block on byte for byte. O(1).
    ///
    /// False when it holds a Property that is addressed to the server or changes on the way: Topic Alias,
    /// Message Expiry Interval, Subscription Identifier, and Will Delay Interval of a Will.
    #[inline]
    #[must_use]
    pub const fn forwardable(&self) -> bool {
        self.present & NOT_FORWARDED == 0
    }

    /// Appends every Property that a server passes on unaltered, in order: 5.0 [MQTT-3.3.2-4],
    /// [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20].
    ///
    /// What [`forwardable`](Self::forwardable) lists is left out.
    pub fn forward_into(&self, out: &mut Vec<u8>) {
        if self.forwardable() {
            return out.extend_from_slice(self.raw);
        }
        for entry in self.entries().filter(|entry| entry.id.bit() & NOT_FORWARDED == 0) {
            out.push(entry.id as u8);
            out.extend_from_slice(entry.value);
        }
    }

    /// The bytes for a packet; an error if a value that cannot be written was pushed.
    #[inline]
    pub(crate) const fn encodable(&self) -> Result<&'a [u8], EncodeError> {
        if self.present & INVALID == 0 { Ok(self.raw) } else { Err(EncodeError::Properties) }
    }

    const fn entries(&self) -> Entries<'a> {
        Entries { rest: self.raw }
    }

    /// The value bytes of the first Property with this identifier.
    #[inline]
    fn find(&self, id: PropertyId) -> Option<property::Value<'a>> {
        if !self.has(id) {
            return None;
        }
        let entry = self.entries().find(|entry| entry.id == id)?;
        Some(property::Value(Reader::new(entry.value)))
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertyIter<'a>;

    fn into_iter(self) -> PropertyIter<'a> {
        self.iter()
    }
}

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let entry = self.0.next()?;
        Property::from_value(entry.id, entry.value)
    }
}

impl fmt::Debug for PropertyIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// One Property, its value not looked at.
#[derive(Copy, Clone)]
struct Entry<'a> {
    id: PropertyId,
    value: &'a [u8],
}

/// Walks a validated block by the lengths alone.
#[derive(Clone)]
struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let (&byte, rest) = self.rest.split_first()?;
        let id = PropertyId::from_bits(byte)?;
        let (value, rest) = rest.split_at_checked(value_len(id.shape(), rest)?)?;
        self.rest = rest;
        Some(Entry { id, value })
    }
}

/// How many bytes the value at the start of `bytes` takes.
#[inline]
fn value_len(shape: Shape, bytes: &[u8]) -> Option<usize> {
    match shape {
        Shape::Byte => Some(1),
        Shape::TwoBytes => Some(2),
        Shape::FourBytes => Some(4),
        Shape::VarInt => bytes.iter().position(|byte| byte & 0x80 == 0).map(|last| last + 1),
        Shape::Blob => blob_len(bytes),
        Shape::Pair => {
            let name = blob_len(bytes)?;
            Some(name + blob_len(bytes.get(name..)?)?)
        }
    }
}

#[inline]
fn blob_len(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|len| 2 + usize::from(u16::from_be_bytes(*len)))
}

/// Reads one value and checks its range.
fn check_value(id: PropertyId, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let field = Field::Property(id);
    let in_range = match id {
        // 5.0 section 3.3.2.3.8: 0 is forbidden.
        PropertyId::SubscriptionIdentifier => reader.var_int(field)? != 0,
        // 5.0 section 3.1.2.11.3 and .4: 0 is forbidden.
        PropertyId::ReceiveMaximum => reader.u16(field)? != 0,
        PropertyId::MaximumPacketSize => reader.u32(field)? != 0,
        PropertyId::TopicAlias => {
            // 5.0 [MQTT-3.3.2-8]
            if reader.u16(field)? == 0 {
                return Err(DecodeError::TopicAliasZero);
            }
            true
        }
        PropertyId::ResponseTopic => {
            // 5.0 [MQTT-3.3.2-13], [MQTT-3.3.2-14]
            reader.topic_name(field, DecodeError::ResponseTopic)?;
            true
        }
        PropertyId::CorrelationData | PropertyId::AuthenticationData => {
            reader.binary(field)?;
            true
        }
        _ => match id.shape() {
            Shape::Byte => reader.u8(field)? <= 1,
            Shape::TwoBytes => reader.u16(field).map(|_| true)?,
            Shape::FourBytes => reader.u32(field).map(|_| true)?,
            Shape::VarInt => reader.var_int(field).map(|_| true)?,
            Shape::Blob => reader.string(field).map(|_| true)?,
            // 5.0 [MQTT-1.5.7-1]
            Shape::Pair => reader.string(field).and_then(|_| reader.string(field)).map(|_| true)?,
        },
    };
    if in_range { Ok(()) } else { Err(DecodeError::PropertyValue(id)) }
}

/// Set in `present` when a value that no packet can carry was pushed to a [`PropertiesBuf`].
const INVALID: u64 = 1 << 63;

const NOT_FORWARDED: u64 = PropertyId::TopicAlias.bit()
    | PropertyId::MessageExpiryInterval.bit()
    | PropertyId::SubscriptionIdentifier.bit()
    | PropertyId::WillDelayInterval.bit();
