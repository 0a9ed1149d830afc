//! UNSUBSCRIBE (section 3.10).
//!
//! ```text
//! Packet Identifier | 5.0: Properties | one or more Topic Filters
//! ```

use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, Field, PacketId, PacketType, Properties, PropertyPlace, ProtocolVersion, write,
};

#[cfg(test)]
pub(crate) mod tests;

/// A client's request to end subscriptions.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    /// Comes back in UNSUBACK.
    pub packet_id: PacketId,
    /// User Properties; empty in 3.x.
    pub properties: Properties<'a>,
    filters: UnsubscribeFilters<'a>,
}

/// Iterator over the Topic Filters of an UNSUBSCRIBE, in order. Knows its length.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct UnsubscribeFilters<'a> {
    rest: &'a [u8],
    count: usize,
}

/// Builds the payload of an UNSUBSCRIBE.
#[derive(Clone, Default, Debug)]
pub struct UnsubscribeBuf {
    payload: Vec<u8>,
    count: usize,
}

impl<'a> Unsubscribe<'a> {
    /// The Topic Filters to remove, at least one, in order; their syntax is not checked.
    #[inline]
    #[must_use]
    pub const fn filters(&self) -> UnsubscribeFilters<'a> {
        self.filters
    }

    pub(crate) fn decode(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = reader.properties(version, PropertyPlace::Unsubscribe)?;
        let mut filters = UnsubscribeFilters { rest: reader.rest(), count: 0 };
        while !reader.is_empty() {
            // 3.1.1, 5.0 [MQTT-3.10.3-1]
            reader.string(Field::TopicFilter)?;
            filters.count += 1;
        }
        // 3.1.1, 5.0 [MQTT-3.10.3-2]
        if filters.count == 0 {
            return Err(DecodeError::NoTopicFilter);
        }
        Ok(Self { packet_id, properties, filters })
    }

    pub(crate) fn encode_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.filters.count == 0 {
            return Err(EncodeError::Empty(PacketType::Unsubscribe));
        }
        out.extend_from_slice(&self.packet_id.get().to_be_bytes());
        write::properties(out, version, self.properties)?;
        out.extend_from_slice(self.filters.rest);
        Ok(())
    }
}

impl UnsubscribeBuf {
    /// No Topic Filter yet; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { payload: Vec::new(), count: 0 }
    }

    /// Adds a Topic Filter. Its syntax is not checked.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for a filter of more than 65535 bytes.
    pub fn push(&mut self, filter: &str) -> Result<(), EncodeError> {
        write::string(&mut self.payload, filter, Field::TopicFilter)?;
        self.count += 1;
        Ok(())
    }

    /// The packet with these filters. Encoding it fails if there are none.
    #[must_use]
    pub fn unsubscribe<'a>(&'a self, packet_id: PacketId, properties: Properties<'a>) -> Unsubscribe<'a> {
        let filters = UnsubscribeFilters { rest: &self.payload, count: self.count };
        Unsubscribe { packet_id, properties, filters }
    }
}

impl<'a> UnsubscribeFilters<'a> {
    /// What is still to come, for [`UnsubscribeFilters::resume`]. Its length is [`ExactSizeIterator::len`].
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on where another iterator stopped: with its `rest`, of which `count` filters are left. Ends early where the
    /// bytes are others.
    #[must_use]
    pub const fn resume(rest: &'a [u8], count: usize) -> Self {
        Self { rest, count }
    }
}

impl<'a> Iterator for UnsubscribeFilters<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (len, rest) = self.rest.split_first_chunk()?;
        let (filter, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.rest = rest;
        self.count = self.count.saturating_sub(1);
        // Does not fail: the bytes were checked before the iterator was made.
        str::from_utf8(filter).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for UnsubscribeFilters<'_> {}
