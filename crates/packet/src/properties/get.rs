//! A getter for each Property. `None` means absent; the default the standard gives then stands in each doc.
//!
//! Cost: O(1) when absent, else linear in the bytes before the Property.

use std::fmt;

use super::{Entries, Properties, Property, PropertyId, PropertyIter};
use crate::QoS;

impl<'a> Properties<'a> {
    /// 0 for bytes (also when absent), 1 for UTF-8 text; 5.0 section 3.3.2.3.2.
    #[inline]
    #[must_use]
    pub fn payload_format_indicator(&self) -> Option<u8> {
        self.find(PropertyId::PayloadFormatIndicator)?.u8()
    }

    /// Seconds the message is worth delivering; absent: for ever. 5.0 section 3.3.2.3.3.
    #[inline]
    #[must_use]
    pub fn message_expiry_interval(&self) -> Option<u32> {
        self.find(PropertyId::MessageExpiryInterval)?.u32()
    }

    /// What the payload is; 5.0 section 3.3.2.3.9.
    #[inline]
    #[must_use]
    pub fn content_type(&self) -> Option<&'a str> {
        self.find(PropertyId::ContentType)?.str()
    }

    /// Topic Name for the answer, without wildcards, maybe empty; 5.0 section 3.3.2.3.5.
    #[inline]
    #[must_use]
    pub fn response_topic(&self) -> Option<&'a str> {
        self.find(PropertyId::ResponseTopic)?.str()
    }

    /// Ties an answer to its request; 5.0 section 3.3.2.3.6.
    #[inline]
    #[must_use]
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.find(PropertyId::CorrelationData)?.bytes()
    }

    /// The first Subscription Identifier, never 0; 5.0 section 3.8.2.1.2.
    #[inline]
    #[must_use]
    pub fn subscription_identifier(&self) -> Option<u32> {
        self.find(PropertyId::SubscriptionIdentifier)?.var_int()
    }

    /// Seconds a Session outlives its connection; absent: 0, `u32::MAX`: for ever. 5.0 section 3.1.2.11.2.
    #[inline]
    #[must_use]
    pub fn session_expiry_interval(&self) -> Option<u32> {
        self.find(PropertyId::SessionExpiryInterval)?.u32()
    }

    /// The Client Identifier the server chose; 5.0 section 3.2.2.3.7.
    #[inline]
    #[must_use]
    pub fn assigned_client_identifier(&self) -> Option<&'a str> {
        self.find(PropertyId::AssignedClientIdentifier)?.str()
    }

    /// Keep Alive in seconds that replaces the client's; 5.0 section 3.2.2.3.14.
    #[inline]
    #[must_use]
    pub fn server_keep_alive(&self) -> Option<u16> {
        self.find(PropertyId::ServerKeepAlive)?.u16()
    }

    /// Name of the extended authentication method; 5.0 section 3.1.2.11.9.
    #[inline]
    #[must_use]
    pub fn authentication_method(&self) -> Option<&'a str> {
        self.find(PropertyId::AuthenticationMethod)?.str()
    }

    /// What the authentication method says; 5.0 section 3.1.2.11.10.
    #[inline]
    #[must_use]
    pub fn authentication_data(&self) -> Option<&'a [u8]> {
        self.find(PropertyId::AuthenticationData)?.bytes()
    }

    /// Whether the client wants Reason Strings and User Properties on failures; absent: yes. 5.0 section
    /// 3.1.2.11.7.
    #[inline]
    #[must_use]
    pub fn request_problem_information(&self) -> Option<bool> {
        self.find(PropertyId::RequestProblemInformation)?.bool()
    }

    /// Seconds between the end of the connection and the Will; absent: 0. 5.0 section 3.1.3.2.2.
    #[inline]
    #[must_use]
    pub fn will_delay_interval(&self) -> Option<u32> {
        self.find(PropertyId::WillDelayInterval)?.u32()
    }

    /// Whether the client wants Response Information; absent: no. 5.0 section 3.1.2.11.6.
    #[inline]
    #[must_use]
    pub fn request_response_information(&self) -> Option<bool> {
        self.find(PropertyId::RequestResponseInformation)?.bool()
    }

    /// Basis for Response Topics; 5.0 section 3.2.2.3.15.
    #[inline]
    #[must_use]
    pub fn response_information(&self) -> Option<&'a str> {
        self.find(PropertyId::ResponseInformation)?.str()
    }

    /// Another server to use; 5.0 section 3.2.2.3.16.
    #[inline]
    #[must_use]
    pub fn server_reference(&self) -> Option<&'a str> {
        self.find(PropertyId::ServerReference)?.str()
    }

    /// Text for a human; 5.0 section 3.2.2.3.9.
    #[inline]
    #[must_use]
    pub fn reason_string(&self) -> Option<&'a str> {
        self.find(PropertyId::ReasonString)?.str()
    }

    /// QoS 1 and 2 deliveries that may be in flight, never 0; absent: 65535. 5.0 section 3.1.2.11.3.
    #[inline]
    #[must_use]
    pub fn receive_maximum(&self) -> Option<u16> {
        self.find(PropertyId::ReceiveMaximum)?.u16()
    }

    /// The largest Topic Alias accepted; absent: 0, none. 5.0 section 3.1.2.11.5.
    #[inline]
    #[must_use]
    pub fn topic_alias_maximum(&self) -> Option<u16> {
        self.find(PropertyId::TopicAliasMaximum)?.u16()
    }

    /// The number that stands for the Topic Name, never 0; 5.0 section 3.3.2.3.4.
    #[inline]
    #[must_use]
    pub fn topic_alias(&self) -> Option<u16> {
        self.find(PropertyId::TopicAlias)?.u16()
    }

    /// Whether the server keeps retained messages; absent: yes. 5.0 section 3.2.2.3.5.
    #[inline]
    #[must_use]
    pub fn retain_available(&self) -> Option<bool> {
        self.find(PropertyId::RetainAvailable)?.bool()
    }

    /// The largest packet accepted in bytes, never 0; absent: no limit. 5.0 section 3.1.2.11.4.
    #[inline]
    #[must_use]
    pub fn maximum_packet_size(&self) -> Option<u32> {
        self.find(PropertyId::MaximumPacketSize)?.u32()
    }

    /// Whether the server takes wildcards; absent: yes. 5.0 section 3.2.2.3.11.
    #[inline]
    #[must_use]
    pub fn wildcard_subscription_available(&self) -> Option<bool> {
        self.find(PropertyId::WildcardSubscriptionAvailable)?.bool()
    }

    /// Whether the server takes Subscription Identifiers; absent: yes. 5.0 section 3.2.2.3.12.
    #[inline]
    #[must_use]
    pub fn subscription_identifier_available(&self) -> Option<bool> {
        self.find(PropertyId::SubscriptionIdentifierAvailable)?.bool()
    }

    /// Whether the server takes Shared Subscriptions; absent: yes. 5.0 section 3.2.2.3.13.
    #[inline]
    #[must_use]
    pub fn shared_subscription_available(&self) -> Option<bool> {
        self.find(PropertyId::SharedSubscriptionAvailable)?.bool()
    }

    /// The largest QoS the server takes, 0 or 1; absent: 2. 5.0 section 3.2.2.3.4.
    #[inline]
    #[must_use]
    pub fn maximum_qos(&self) -> Option<QoS> {
        QoS::from_bits(self.find(PropertyId::MaximumQoS)?.u8()?)
    }

    /// All Subscription Identifiers, in order; a PUBLISH from a server has one per matching subscription that
    /// has one.
    #[must_use]
    pub const fn subscription_identifiers(&self) -> SubscriptionIdentifiers<'a> {
        let none = !self.has(PropertyId::SubscriptionIdentifier);
        SubscriptionIdentifiers(if none { NOTHING } else { self.iter() })
    }

    /// All User Properties as (name, value), in order; names may repeat. 5.0 [MQTT-3.3.2-18].
    #[must_use]
    pub const fn user_properties(&self) -> UserProperties<'a> {
        let none = !self.has(PropertyId::UserProperty);
        UserProperties(if none { NOTHING } else { self.iter() })
    }
}

/// Iterator over the Subscription Identifiers of a block.
#[derive(Clone)]
pub struct SubscriptionIdentifiers<'a>(PropertyIter<'a>);

/// Iterator over the User Properties of a block.
#[derive(Clone)]
pub struct UserProperties<'a>(PropertyIter<'a>);

impl Iterator for SubscriptionIdentifiers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.find_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }
}

impl<'a> Iterator for UserProperties<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        self.0.find_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

impl fmt::Debug for SubscriptionIdentifiers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// What an iterator over an absent Property walks.
const NOTHING: PropertyIter<'static> = PropertyIter(Entries { rest: &[] });
