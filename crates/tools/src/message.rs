//! A message as the tools print it.

use cork_client::machine::Incoming;
use cork_packet::{Properties, Property, QoS};

use crate::{moment::Moment, payload::Payload, value::Value};

/// A message that arrived, borrowed.
#[derive(Copy, Clone, Debug)]
pub struct Message<'a> {
    /// Topic Name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// Packet Identifier; 0 with QoS 0.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
}

impl<'a> From<&'a Incoming> for Message<'a> {
    fn from(incoming: &'a Incoming) -> Self {
        Self {
            topic: &incoming.topic,
            payload: &incoming.payload,
            qos: incoming.qos,
            retain: incoming.retain,
            dup: incoming.dup,
            packet_id: incoming.ack.map_or(0, |key| key.packet_id().get()),
            properties: incoming.properties.as_properties(),
        }
    }
}

impl Message<'_> {
    /// One JSON object in one line: `time`, `topic`, `qos`, `retain`, `dup` (only if true), `properties` (only if there
    /// are any), `type` and `payload`. The payload is the value itself where it is JSON, CBOR or MessagePack, text
    /// where it is UTF-8, else Base64.
    pub fn write_json(&self, moment: &Moment, out: &mut String) {
        let payload = Payload::of(self.payload);
        let mut members = vec![
            ("time", moment.rfc3339().as_str().into()),
            ("topic", self.topic.into()),
            ("qos", u32::from(self.qos.bits()).into()),
            ("retain", self.retain.into()),
        ];
        if self.dup {
            members.push(("dup", true.into()));
        }
        if !self.properties.is_empty() {
            members.push(("properties", properties(self.properties)));
        }
        members.push(("type", payload.name().into()));
        members.push(("payload", payload.into_value()));
        Value::object(members).write_json(out);
    }
}

/// Properties as one map; User Properties as a list of pairs, because names may repeat and order counts.
fn properties(properties: Properties<'_>) -> Value {
    let mut members = Vec::new();
    let mut pairs = Vec::new();
    for property in properties.iter() {
        match property {
            Property::UserProperty(name, value) => pairs.push(Value::List(vec![name.into(), value.into()])),
            other => members.push((name(&other), property_value(&other))),
        }
    }
    if !pairs.is_empty() {
        members.push(("user-property".to_owned(), Value::List(pairs)));
    }
    Value::Map(members.into_iter().map(|(name, value)| (Value::Text(name), value)).collect())
}

/// The specification's name as options and JSON have it: `content-type`.
pub(crate) fn name(property: &Property<'_>) -> String {
    property.id().name().to_lowercase().replace(' ', "-")
}

pub(crate) fn property_value(property: &Property<'_>) -> Value {
    match *property {
        Property::PayloadFormatIndicator(value) => u32::from(value).into(),
        Property::MessageExpiryInterval(value)
        | Property::SubscriptionIdentifier(value)
        | Property::SessionExpiryInterval(value)
        | Property::WillDelayInterval(value)
        | Property::MaximumPacketSize(value) => value.into(),
        Property::ServerKeepAlive(value)
        | Property::ReceiveMaximum(value)
        | Property::TopicAliasMaximum(value)
        | Property::TopicAlias(value) => u32::from(value).into(),
        Property::MaximumQoS(qos) => u32::from(qos.bits()).into(),
        Property::RequestProblemInformation(value)
        | Property::RequestResponseInformation(value)
        | Property::RetainAvailable(value)
        | Property::WildcardSubscriptionAvailable(value)
        | Property::SubscriptionIdentifierAvailable(value)
        | Property::SharedSubscriptionAvailable(value) => value.into(),
        Property::ContentType(text)
        | Property::ResponseTopic(text)
        | Property::AssignedClientIdentifier(text)
        | Property::AuthenticationMethod(text)
        | Property::ResponseInformation(text)
        | Property::ServerReference(text)
        | Property::ReasonString(text) => text.into(),
        Property::CorrelationData(data) | Property::AuthenticationData(data) => match str::from_utf8(data) {
            Ok(text) => text.into(),
            Err(_) => Value::Bytes(data.to_vec()),
        },
        Property::UserProperty(name, value) => Value::List(vec![name.into(), value.into()]),
    }
}

#[cfg(test)]
mod tests {
    use cork_packet::PropertiesBuf;

    use super::*;

    #[test]
    fn json_has_the_value_itself() {
        let properties: PropertiesBuf = [
            Property::ContentType("text/plain"),
            Property::UserProperty("a", "1"),
            Property::UserProperty("a", "2"),
            Property::CorrelationData(&[0xff]),
        ]
        .into_iter()
        .collect();
        let mut message = Message {
            topic: "a/b",
            payload: b" {\"t\" : 21.5}",
            qos: QoS::AtLeastOnce,
            retain: true,
            dup: false,
            packet_id: 1,
            properties: properties.as_properties(),
        };
        let moment = Moment::at(1_770_000_000, 0, 1);
        let mut out = String::new();
        message.write_json(&moment, &mut out);
        let wanted = r#"{"time":"2026-02-02T02:40:00.000000Z","topic":"a/b","qos":1,"retain":true,"properties":{"content-type":"text/plain","correlation-data":"/w==","user-property":[["a","1"],["a","2"]]},"type":"json","payload":{"t":21.5}}"#;
        assert_eq!(out, wanted);
        message.payload = b"\xff\x00";
        message.properties = Properties::EMPTY;
        message.dup = true;
        out.clear();
        message.write_json(&moment, &mut out);
        assert!(out.ends_with(r#""retain":true,"dup":true,"type":"binary","payload":"/wA="}"#), "{out}");
    }
}
