//! One Property with its value (5.0 section 2.2.2.2).

use super::id::PropertyId;
use crate::read::Reader;
use crate::{Field, PropertyError, QoS, write};

/// A Property as it stands in a packet.
///
/// `Some` flags are bytes of 0 or 1 on the wire and `bool` here. Intervals are in seconds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Property<'a> {
    /// 0x01: 0 for bytes, 1 for UTF-8 text.
    PayloadFormatIndicator(u8),
    /// 0x02: seconds until the message is not worth delivering.
    MessageExpiryInterval(u32),
    /// 0x03: what the payload is; only applications look at it.
    ContentType(&'a str),
    /// 0x08: Topic Name for the answer.
    ResponseTopic(&'a str),
    /// 0x09: ties the answer to its request.
    CorrelationData(&'a [u8]),
    /// 0x0B: 1 to 268 435 455.
    SubscriptionIdentifier(u32),
    /// 0x11: seconds a Session outlives its connection; `u32::MAX` never ends.
    SessionExpiryInterval(u32),
    /// 0x12: the Client Identifier the server chose.
    AssignedClientIdentifier(&'a str),
    /// 0x13: the Keep Alive, in seconds, the client must use instead of its own.
    ServerKeepAlive(u16),
    /// 0x15: name of the extended authentication method.
    AuthenticationMethod(&'a str),
    /// 0x16: what the method says.
    AuthenticationData(&'a [u8]),
    /// 0x17: whether Reason Strings and User Properties are welcome on failures.
    RequestProblemInformation(bool),
    /// 0x18: seconds between the end of the connection and the Will.
    WillDelayInterval(u32),
    /// 0x19: whether the client wants Response Information.
    RequestResponseInformation(bool),
    /// 0x1A: basis for Response Topics.
    ResponseInformation(&'a str),
    /// 0x1C: another server to use.
    ServerReference(&'a str),
    /// 0x1F: text for a human.
    ReasonString(&'a str),
    /// 0x21: how many QoS 1 and 2 deliveries may be in flight, never 0.
    ReceiveMaximum(u16),
    /// 0x22: the largest Topic Alias accepted; 0 for none.
    TopicAliasMaximum(u16),
    /// 0x23: a number for the Topic Name, never 0.
    TopicAlias(u16),
    /// 0x24: QoS 0 or 1; absent means 2.
    MaximumQoS(QoS),
    /// 0x25: whether the server keeps retained messages.
    RetainAvailable(bool),
    /// 0x26: name and value, meaning up to the application.
    UserProperty(&'a str, &'a str),
    /// 0x27: the largest packet accepted, in bytes, never 0.
    MaximumPacketSize(u32),
    /// 0x28: whether the server takes wildcards.
    WildcardSubscriptionAvailable(bool),
    /// 0x29: whether the server takes Subscription Identifiers.
    SubscriptionIdentifierAvailable(bool),
    /// 0x2A: whether the server takes Shared Subscriptions.
    SharedSubscriptionAvailable(bool),
}

impl<'a> Property<'a> {
    /// The identifier of this Property.
    #[must_use]
    pub const fn id(&self) -> PropertyId {
        match self {
            Self::PayloadFormatIndicator(_) => PropertyId::PayloadFormatIndicator,
            Self::MessageExpiryInterval(_) => PropertyId::MessageExpiryInterval,
            Self::ContentType(_) => PropertyId::ContentType,
            Self::ResponseTopic(_) => PropertyId::ResponseTopic,
            Self::CorrelationData(_) => PropertyId::CorrelationData,
            Self::SubscriptionIdentifier(_) => PropertyId::SubscriptionIdentifier,
            Self::SessionExpiryInterval(_) => PropertyId::SessionExpiryInterval,
            Self::AssignedClientIdentifier(_) => PropertyId::AssignedClientIdentifier,
            Self::ServerKeepAlive(_) => PropertyId::ServerKeepAlive,
            Self::AuthenticationMethod(_) => PropertyId::AuthenticationMethod,
            Self::AuthenticationData(_) => PropertyId::AuthenticationData,
            Self::RequestProblemInformation(_) => PropertyId::RequestProblemInformation,
            Self::WillDelayInterval(_) => PropertyId::WillDelayInterval,
            Self::RequestResponseInformation(_) => PropertyId::RequestResponseInformation,
            Self::ResponseInformation(_) => PropertyId::ResponseInformation,
            Self::ServerReference(_) => PropertyId::ServerReference,
            Self::ReasonString(_) => PropertyId::ReasonString,
            Self::ReceiveMaximum(_) => PropertyId::ReceiveMaximum,
            Self::TopicAliasMaximum(_) => PropertyId::TopicAliasMaximum,
            Self::TopicAlias(_) => PropertyId::TopicAlias,
            Self::MaximumQoS(_) => PropertyId::MaximumQoS,
            Self::RetainAvailable(_) => PropertyId::RetainAvailable,
            Self::UserProperty(..) => PropertyId::UserProperty,
            Self::MaximumPacketSize(_) => PropertyId::MaximumPacketSize,
            Self::WildcardSubscriptionAvailable(_) => PropertyId::WildcardSubscriptionAvailable,
            Self::SubscriptionIdentifierAvailable(_) => PropertyId::SubscriptionIdentifierAvailable,
            Self::SharedSubscriptionAvailable(_) => PropertyId::SharedSubscriptionAvailable,
        }
    }

    /// Reads the value bytes of a Property; `None` only for bytes that were never validated.
    pub(super) fn from_value(id: PropertyId, value: &'a [u8]) -> Option<Self> {
        let mut value = Value(Reader::new(value));
        Some(match id {
            PropertyId::PayloadFormatIndicator => Self::PayloadFormatIndicator(value.u8()?),
            PropertyId::MessageExpiryInterval => Self::MessageExpiryInterval(value.u32()?),
            PropertyId::ContentType => Self::ContentType(value.str()?),
            PropertyId::ResponseTopic => Self::ResponseTopic(value.str()?),
            PropertyId::CorrelationData => Self::CorrelationData(value.bytes()?),
            PropertyId::SubscriptionIdentifier => Self::SubscriptionIdentifier(value.var_int()?),
            PropertyId::SessionExpiryInterval => Self::SessionExpiryInterval(value.u32()?),
            PropertyId::AssignedClientIdentifier => Self::AssignedClientIdentifier(value.str()?),
            PropertyId::ServerKeepAlive => Self::ServerKeepAlive(value.u16()?),
            PropertyId::AuthenticationMethod => Self::AuthenticationMethod(value.str()?),
            PropertyId::AuthenticationData => Self::AuthenticationData(value.bytes()?),
            PropertyId::RequestProblemInformation => Self::RequestProblemInformation(value.bool()?),
            PropertyId::WillDelayInterval => Self::WillDelayInterval(value.u32()?),
            PropertyId::RequestResponseInformation => Self::RequestResponseInformation(value.bool()?),
            PropertyId::ResponseInformation => Self::ResponseInformation(value.str()?),
            PropertyId::ServerReference => Self::ServerReference(value.str()?),
            PropertyId::ReasonString => Self::ReasonString(value.str()?),
            PropertyId::ReceiveMaximum => Self::ReceiveMaximum(value.u16()?),
            PropertyId::TopicAliasMaximum => Self::TopicAliasMaximum(value.u16()?),
            PropertyId::TopicAlias => Self::TopicAlias(value.u16()?),
            PropertyId::MaximumQoS => Self::MaximumQoS(QoS::from_bits(value.u8()?)?),
            PropertyId::RetainAvailable => Self::RetainAvailable(value.bool()?),
            PropertyId::UserProperty => Self::UserProperty(value.str()?, value.str()?),
            PropertyId::MaximumPacketSize => Self::MaximumPacketSize(value.u32()?),
            PropertyId::WildcardSubscriptionAvailable => Self::WildcardSubscriptionAvailable(value.bool()?),
            PropertyId::SubscriptionIdentifierAvailable => {
                Self::SubscriptionIdentifierAvailable(value.bool()?)
            }
            PropertyId::SharedSubscriptionAvailable => Self::SharedSubscriptionAvailable(value.bool()?),
        })
    }

    /// Appends identifier and value. What it appends before an error is for the caller to take back.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), PropertyError> {
        let id = self.id();
        out.push(id as u8);
        match *self {
            Self::PayloadFormatIndicator(value) => out.push(value),
            Self::MaximumQoS(qos) => out.push(qos.bits()),
            Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => out.push(u8::from(value)),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value)
            | Self::MaximumPacketSize(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::SubscriptionIdentifier(value) => {
                if value > crate::MAX_REMAINING_LENGTH {
                    return Err(PropertyError::OutOfRange { id });
                }
                write::var_int(out, value);
            }
            Self::CorrelationData(value) | Self::AuthenticationData(value) => blob(out, id, value)?,
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => blob(out, id, value.as_bytes())?,
            Self::UserProperty(name, value) => {
                blob(out, id, name.as_bytes())?;
                blob(out, id, value.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Appends a string or Binary Data.
fn blob(out: &mut Vec<u8>, id: PropertyId, value: &[u8]) -> Result<(), PropertyError> {
    let too_long = |_| PropertyError::TooLong { id, length: value.len() };
    write::binary(out, value, Field::Property(id)).map_err(too_long)
}

/// Reads values that were validated before, so an error has nobody to go to and becomes `None`.
pub(super) struct Value<'a>(pub(super) Reader<'a>);

impl<'a> Value<'a> {
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.0.u8(Field::Properties).ok()
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        Some(self.u8()? != 0)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.0.u16(Field::Properties).ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.0.u32(Field::Properties).ok()
    }

    pub(super) fn var_int(&mut self) -> Option<u32> {
        self.0.var_int(Field::Properties).ok()
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        self.0.binary(Field::Properties).ok()
    }

    pub(super) fn str(&mut self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }
}
