//! A message to be sent.

use std::sync::Arc;

use bytes::Bytes;
use cork_packet::{Properties, PropertiesBuf, Property, PropertyError, QoS};

/// A message on its way to the server: Topic Name, payload, QoS, RETAIN and Properties.
///
/// QoS 0 and not retained unless said otherwise. Properties are left out where the connection speaks 3.1.1.
///
/// ```
/// use cork_client::{Publish, QoS};
///
/// let publish = Publish::new("sensors/kitchen/temperature", "21.5").qos(QoS::AtLeastOnce).retain(true);
/// assert_eq!(publish.topic(), "sensors/kitchen/temperature");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: PropertiesBuf,
}

impl Publish {
    /// A message with QoS 0. Payloads of static bytes, `Vec<u8>`, `String` and [`Bytes`] are taken without a copy,
    /// and so is a topic that is an `Arc<str>` already.
    pub fn new(topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PropertiesBuf::new(),
        }
    }

    /// How hard to try to get it across.
    #[must_use]
    pub const fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Whether the server keeps it for later subscribers.
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Seconds it is worth delivering (5.0 3.3.2.3.3). The time it waits in this client counts: what expired here is
    /// not sent, and its handle says so.
    #[must_use]
    pub fn expiry(self, seconds: u32) -> Self {
        self.property(Property::MessageExpiryInterval(seconds))
    }

    /// Says that the payload is UTF-8 (5.0 3.3.2.3.2). Not checked here; servers and receivers may.
    #[must_use]
    pub fn utf8(self) -> Self {
        self.property(Property::PayloadFormatIndicator(1))
    }

    /// What the payload is, as a MIME type by custom (5.0 3.3.2.3.9).
    #[must_use]
    pub fn content_type(self, content_type: &str) -> Self {
        self.property(Property::ContentType(content_type))
    }

    /// Where an answer is to go (5.0 3.3.2.3.5).
    #[must_use]
    pub fn response_topic(self, topic: &str) -> Self {
        self.property(Property::ResponseTopic(topic))
    }

    /// What ties the answer to this request (5.0 3.3.2.3.6).
    #[must_use]
    pub fn correlation_data(self, data: &[u8]) -> Self {
        self.property(Property::CorrelationData(data))
    }

    /// Adds a User Property (5.0 3.3.2.3.7); names may repeat.
    #[must_use]
    pub fn user_property(self, name: &str, value: &str) -> Self {
        self.property(Property::UserProperty(name, value))
    }

    /// Any Property of a PUBLISH. One that may stand only once replaces the value it had; whether it belongs into a
    /// PUBLISH, and fits into one, is checked when it is published, whatever version is spoken. A Topic Alias is the
    /// client's own affair and refused then.
    #[must_use]
    pub fn property(mut self, property: Property<'_>) -> Self {
        set(&mut self.properties, property);
        self
    }

    /// The Topic Name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// All Properties.
    #[must_use]
    pub fn properties(&self) -> Properties<'_> {
        self.properties.as_properties()
    }

    /// Whether all its Properties fit into a packet, which is looked at anyway when it is published.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), PropertyError> {
        self.properties.check()
    }

    /// What it weighs in a queue, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.as_properties().raw().len()
    }
}

/// Pushes a Property, in place of the one with its identifier unless it is one that repeats.
pub(crate) fn set(properties: &mut PropertiesBuf, property: Property<'_>) {
    if !matches!(property, Property::UserProperty(..)) {
        properties.remove(property.id());
    }
    properties.push(property);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_into_no_packet_is_remembered() {
        let long = "x".repeat(65_536);
        let fault = Err(PropertyError::TooLong { id: cork_packet::PropertyId::ContentType, length: 65_536 });
        let publish = Publish::new("a", "").content_type(&long).expiry(5);
        assert_eq!(publish.check(), fault);
        // It is not forgotten because something else is set anew, nor because a value that fits comes later.
        assert_eq!(publish.clone().expiry(7).check(), fault);
        assert_eq!(publish.content_type("text/plain").check(), fault);
        assert_eq!(Publish::new("a", "").content_type(&long[1..]).check(), Ok(()));
    }

    #[test]
    fn a_property_that_may_stand_once_replaces_its_value() {
        let publish =
            Publish::new("a", "").expiry(5).user_property("k", "1").expiry(7).user_property("k", "2");
        let properties: Vec<_> = publish.properties().iter().collect();
        assert_eq!(
            properties,
            [
                Property::UserProperty("k", "1"),
                Property::MessageExpiryInterval(7),
                Property::UserProperty("k", "2")
            ]
        );
    }
}
