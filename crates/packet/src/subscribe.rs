//! SUBSCRIBE (section 3.8).
//!
//! ```text
//! Packet Identifier | 5.0: Properties | one or more of: Topic Filter, Subscription Options
//! ```

use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, Field, PacketId, PacketType, Properties, PropertyPlace, ProtocolVersion, QoS,
    write,
};

#[cfg(test)]
pub(crate) mod tests;

/// A client's request to get messages.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// Comes back in SUBACK.
    pub packet_id: PacketId,
    /// Subscription Identifier and User Properties; empty in 3.x.
    pub properties: Properties<'a>,
    filters: SubscribeFilters<'a>,
}

/// One subscription that is asked for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SubscribeFilter<'a> {
    /// What the client sent, its syntax not checked: maybe empty, maybe a Shared Subscription.
    pub filter: &'a str,
    /// How to deliver.
    pub options: SubscriptionOptions,
}

/// How a subscription is served (5.0 section 3.8.3.1). 3.x clients ask for a QoS only; the rest is the
/// default.
///
/// ```text
/// bits 1-0 QoS | 2 No Local | 3 Retain As Published | 5-4 Retain Handling | 7-6 reserved
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct SubscriptionOptions {
    /// The largest QoS to deliver with.
    pub qos: QoS,
    /// Leave out what this client published itself.
    pub no_local: bool,
    /// Keep the RETAIN flag as the publisher set it.
    pub retain_as_published: bool,
    /// When to send retained messages.
    pub retain_handling: RetainHandling,
}

/// When a SUBSCRIBE gets retained messages.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: at each SUBSCRIBE.
    #[default]
    SendAtSubscribe = 0,
    /// 1: only if the subscription did not exist.
    SendIfNew = 1,
    /// 2: never.
    DoNotSend = 2,
}

/// Iterator over the subscriptions of a SUBSCRIBE, in order. Knows its length.
///
/// Equal to another if what is left of both is equal.
#[derive(Copy, Clone, Debug)]
pub struct SubscribeFilters<'a> {
    rest: &'a [u8],
    count: usize,
    /// The bits of the options byte that mean something in this version.
    mask: u8,
}

/// Builds the payload of a SUBSCRIBE.
#[derive(Clone, Default, Debug)]
pub struct SubscribeBuf {
    payload: Vec<u8>,
    count: usize,
}

impl<'a> Subscribe<'a> {
    /// The subscriptions asked for, at least one, in order.
    #[inline]
    #[must_use]
    pub const fn filters(&self) -> SubscribeFilters<'a> {
        self.filters
    }

    pub(crate) fn decode(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = reader.properties(version, PropertyPlace::Subscribe)?;
        let mut filters = SubscribeFilters { rest: reader.rest(), count: 0, mask: options_mask(version) };
        while !reader.is_empty() {
            // 3.1.1, 5.0 [MQTT-3.8.3-1]
            reader.string(Field::TopicFilter)?;
            check_options(version, reader.u8(Field::SubscriptionOptions)?)?;
            filters.count += 1;
        }
        // 3.1.1 [MQTT-3.8.3-3], 5.0 [MQTT-3.8.3-2]
        if filters.count == 0 {
            return Err(DecodeError::NoTopicFilter);
        }
        Ok(Self { packet_id, properties, filters })
    }

    pub(crate) fn encode_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.filters.count == 0 {
            return Err(EncodeError::Empty(PacketType::Subscribe));
        }
        out.extend_from_slice(&self.packet_id.get().to_be_bytes());
        write::properties(out, version, self.properties)?;
        for SubscribeFilter { filter, options } in self.filters {
            write::string(out, filter, Field::TopicFilter)?;
            out.push(options.bits() & options_mask(version));
        }
        Ok(())
    }
}

impl SubscribeBuf {
    /// No subscription yet; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { payload: Vec::new(), count: 0 }
    }

    /// Adds a subscription. The filter's syntax is not checked.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for a filter of more than 65535 bytes.
    pub fn push(&mut self, filter: &str, options: SubscriptionOptions) -> Result<(), EncodeError> {
        write::string(&mut self.payload, filter, Field::TopicFilter)?;
        self.payload.push(options.bits());
        self.count += 1;
        Ok(())
    }

    /// The packet with these subscriptions. Encoding it fails if there are none.
    #[must_use]
    pub fn subscribe<'a>(&'a self, packet_id: PacketId, properties: Properties<'a>) -> Subscribe<'a> {
        let filters = SubscribeFilters { rest: &self.payload, count: self.count, mask: V5_OPTIONS };
        Subscribe { packet_id, properties, filters }
    }
}

impl SubscriptionOptions {
    /// Options as 3.x has them: a QoS.
    #[inline]
    #[must_use]
    pub const fn with_qos(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        }
    }

    /// Reads the options byte; `None` for QoS 3, Retain Handling 3 or a reserved bit.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !V5_OPTIONS != 0 {
            return None;
        }
        let (Some(qos), Some(retain_handling)) =
            (QoS::from_bits(bits & QOS_BITS), RetainHandling::from_bits(bits >> 4))
        else {
            return None;
        };
        let (no_local, retain_as_published) = (bits & NO_LOCAL != 0, bits & RETAIN_AS_PUBLISHED != 0);
        Some(Self { qos, no_local, retain_as_published, retain_handling })
    }

    /// The options byte.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        let no_local = if self.no_local { NO_LOCAL } else { 0 };
        let retain_as_published = if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        self.qos.bits() | no_local | retain_as_published | (self.retain_handling as u8) << 4
    }
}

impl RetainHandling {
    /// The handling with this number; `None` for 3 and above.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::SendAtSubscribe),
            1 => Some(Self::SendIfNew),
            2 => Some(Self::DoNotSend),
            _ => None,
        }
    }
}

impl<'a> SubscribeFilters<'a> {
    /// What is still to come, for [`SubscribeFilters::resume`]. Its length is [`ExactSizeIterator::len`].
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on where another iterator of the same version stopped: with its `rest`, of which `count` filters are left.
    /// Ends early where the bytes are others.
    #[must_use]
    pub const fn resume(version: ProtocolVersion, rest: &'a [u8], count: usize) -> Self {
        Self { rest, count, mask: options_mask(version) }
    }
}

impl<'a> Iterator for SubscribeFilters<'a> {
    type Item = SubscribeFilter<'a>;

    fn next(&mut self) -> Option<SubscribeFilter<'a>> {
        let (len, rest) = self.rest.split_first_chunk()?;
        let (filter, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        let (&options, rest) = rest.split_first()?;
        self.rest = rest;
        self.count = self.count.saturating_sub(1);
        // Neither fails: the bytes were checked before the iterator was made.
        let filter = str::from_utf8(filter).ok()?;
        let options = SubscriptionOptions::from_bits(options & self.mask)?;
        Some(SubscribeFilter { filter, options })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for SubscribeFilters<'_> {}

impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(*self, *other)
    }
}

impl Eq for SubscribeFilters<'_> {}

/// Checks the options byte rule by rule, so that each has its error.
const fn check_options(version: ProtocolVersion, bits: u8) -> Result<(), DecodeError> {
    // 3.1.1 [MQTT-3.8.3-4], 5.0 [MQTT-3.8.3-5]; 3.1 leaves the upper bits unused.
    if bits & !options_mask(version) != 0 && !matches!(version, ProtocolVersion::V31) {
        return Err(DecodeError::SubscriptionOptions);
    }
    if QoS::from_bits(bits & QOS_BITS).is_none() {
        return Err(DecodeError::SubscribeQos);
    }
    if version.is_v5() && RetainHandling::from_bits(bits >> 4).is_none() {
        return Err(DecodeError::RetainHandling);
    }
    Ok(())
}

const fn options_mask(version: ProtocolVersion) -> u8 {
    match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => QOS_BITS,
        ProtocolVersion::V5 => V5_OPTIONS,
    }
}

const QOS_BITS: u8 = 0x03;
const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
/// All but the two reserved bits.
const V5_OPTIONS: u8 = 0x3F;
