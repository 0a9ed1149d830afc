//! What the broker sent, taken apart by hand.

use crate::wire::{V5, Version, packet_length};

/// Raw properties, by identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Props(pub Vec<(u8, Vec<u8>)>);

impl Props {
    /// The value bytes of the first property with this identifier: integers big-endian, strings without their length,
    /// a User Property as name, 0x00, value.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<&[u8]> {
        self.0.iter().find(|(other, _)| *other == id).map(|(_, value)| value.as_slice())
    }

    /// All values of an identifier, in order.
    #[must_use]
    pub fn all(&self, id: u8) -> Vec<&[u8]> {
        self.0.iter().filter(|(other, _)| *other == id).map(|(_, value)| value.as_slice()).collect()
    }

    /// A numeric property of any width; a Subscription Identifier comes decoded.
    #[must_use]
    pub fn number(&self, id: u8) -> Option<u32> {
        Some(self.get(id)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// A text property.
    #[must_use]
    pub fn text(&self, id: u8) -> Option<String> {
        Some(String::from_utf8_lossy(self.get(id)?).into_owned())
    }
}

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// DUP.
    pub dup: bool,
    /// QoS bits.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name.
    pub topic: String,
    /// Packet Identifier, QoS above 0.
    pub id: Option<u16>,
    /// v5 properties.
    pub props: Props,
    /// Payload.
    pub payload: Vec<u8>,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The first byte.
    pub first: u8,
    /// Packet Identifier.
    pub id: u16,
    /// v5 Reason Code; 0 when left out, and in 3.x.
    pub reason: u8,
    /// v5 properties.
    pub props: Props,
}

/// A packet from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// CONNACK.
    ConnAck {
        /// The flags byte.
        flags: u8,
        /// Return or Reason Code.
        code: u8,
        /// v5 properties.
        props: Props,
    },
    /// PUBLISH.
    Publish(Published),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack(Ack),
    /// SUBACK.
    SubAck {
        /// Packet Identifier.
        id: u16,
        /// v5 properties.
        props: Props,
        /// One code per filter.
        codes: Vec<u8>,
    },
    /// UNSUBACK.
    UnsubAck {
        /// Packet Identifier.
        id: u16,
        /// v5 properties.
        props: Props,
        /// One code per filter; none in 3.x.
        codes: Vec<u8>,
    },
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect {
        /// Reason Code.
        reason: u8,
        /// Properties.
        props: Props,
    },
    /// AUTH.
    Auth {
        /// Reason Code.
        reason: u8,
        /// Properties.
        props: Props,
    },
    /// Anything that is none of these, whole.
    Unknown(Vec<u8>),
}

impl Received {
    /// The PUBLISH, if it is one.
    #[must_use]
    pub fn into_publish(self) -> Option<Published> {
        if let Self::Publish(publish) = self { Some(publish) } else { None }
    }

    /// The acknowledgement, if it is one.
    #[must_use]
    pub fn into_ack(self) -> Option<Ack> {
        if let Self::Ack(ack) = self { Some(ack) } else { None }
    }
}

/// Cuts bytes into packets; an unfinished one at the end is left out.
pub fn split(version: Version, mut bytes: &[u8]) -> Vec<Received> {
    let mut packets = Vec::new();
    while let Some(length) = packet_length(bytes) {
        let (packet, rest) = bytes.split_at(length);
        packets.push(parse(version, packet).unwrap_or_else(|| Received::Unknown(packet.to_vec())));
        bytes = rest;
    }
    packets
}

/// Reads a packet's body from front to back; `None` as soon as something is missing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn properties(&mut self) -> Option<Props> {
        let length = self.varint()?;
        let mut inner = Reader(self.take(usize::try_from(length).ok()?)?);
        let mut found = Vec::new();
        while !inner.0.is_empty() {
            let id = inner.byte()?;
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => inner.take(1)?.to_vec(),
                0x13 | 0x21 | 0x22 | 0x23 => inner.take(2)?.to_vec(),
                0x02 | 0x11 | 0x18 | 0x27 => inner.take(4)?.to_vec(),
                0x0B => inner.varint()?.to_be_bytes().to_vec(),
                0x26 => [inner.string()?, &[0][..], inner.string()?].concat(),
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => inner.string()?.to_vec(),
                _ => return None,
            };
            found.push((id, value));
        }
        Some(Props(found))
    }

    fn properties_of(&mut self, version: Version) -> Option<Props> {
        if version == V5 { self.properties() } else { Some(Props::default()) }
    }

    /// Reason Code and properties that may be left out from the end.
    fn reason_and_properties(&mut self, version: Version) -> Option<(u8, Props)> {
        if version != V5 || self.0.is_empty() {
            return Some((0, Props::default()));
        }
        let reason = self.byte()?;
        let props = if self.0.is_empty() { Props::default() } else { self.properties()? };
        Some((reason, props))
    }
}

fn parse(version: Version, packet: &[u8]) -> Option<Received> {
    let mut reader = Reader(packet);
    let first = reader.byte()?;
    reader.varint()?;
    let received = match first {
        0x20 => {
            let (flags, code) = (reader.byte()?, reader.byte()?);
            // A refusal of an unknown protocol level comes in the short form whatever the client speaks.
            let short = reader.0.is_empty();
            let props = if short { Props::default() } else { reader.properties_of(version)? };
            Received::ConnAck { flags, code, props }
        }
        0x30..=0x3F => {
            let topic = String::from_utf8(reader.string()?.to_vec()).ok()?;
            let qos = (first >> 1) & 3;
            let id = if qos > 0 { Some(reader.short()?) } else { None };
            let props = reader.properties_of(version)?;
            let payload = reader.rest();
            let (dup, retain) = (first & 8 != 0, first & 1 != 0);
            Received::Publish(Published { dup, qos, retain, topic, id, props, payload })
        }
        0x40 | 0x50 | 0x62 | 0x70 => {
            let id = reader.short()?;
            let (reason, props) = reader.reason_and_properties(version)?;
            Received::Ack(Ack { first, id, reason, props })
        }
        0x90 => {
            let id = reader.short()?;
            let props = reader.properties_of(version)?;
            Received::SubAck { id, props, codes: reader.rest() }
        }
        0xB0 => {
            let id = reader.short()?;
            let props = reader.properties_of(version)?;
            Received::UnsubAck { id, props, codes: reader.rest() }
        }
        0xD0 => Received::PingResp,
        0xE0 => {
            let (reason, props) = reader.reason_and_properties(version)?;
            Received::Disconnect { reason, props }
        }
        0xF0 => {
            let (reason, props) = reader.reason_and_properties(version)?;
            Received::Auth { reason, props }
        }
        _ => return None,
    };
    reader.0.is_empty().then_some(received)
}
