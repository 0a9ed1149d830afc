//! Any MQTT Control Packet, and the way from bytes to one and back.

use crate::{
    Ack, Auth, ConnAck, Connect, DecodeError, Disconnect, EncodeError, Field, FixedHeader, PacketId,
    PacketType, ProtocolVersion, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe, decode_connect, write,
};

#[cfg(test)]
pub(crate) mod tests;

/// Which end of the connection decodes. A packet that only travels towards the other end is refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub enum Receiver {
    /// The bytes came from a client.
    Server,
    /// The bytes came from a server.
    Client,
}

/// An MQTT Control Packet that borrows its strings and bytes from the buffer it was decoded in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Client asks to connect.
    Connect(Connect<'a>),
    /// Server answers CONNECT.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// Ends a QoS 1 delivery.
    PubAck(Ack<'a>),
    /// QoS 2, first answer.
    PubRec(Ack<'a>),
    /// QoS 2, sender lets go of the message.
    PubRel(Ack<'a>),
    /// QoS 2, last answer.
    PubComp(Ack<'a>),
    /// Client subscribes.
    Subscribe(Subscribe<'a>),
    /// Server answers SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// Client unsubscribes.
    Unsubscribe(Unsubscribe<'a>),
    /// Server answers UNSUBSCRIBE.
    UnsubAck(UnsubAck<'a>),
    /// Client asks for a sign of life.
    PingReq,
    /// Server answers PINGREQ.
    PingResp,
    /// The Network Connection is about to end.
    Disconnect(Disconnect<'a>),
    /// A step of extended authentication; 5.0 only.
    Auth(Auth<'a>),
}

/// Decodes one packet of an established connection: `packet` is the whole packet with its fixed header, and
/// nothing else.
///
/// Borrows, allocates nothing, linear in the bytes. A CONNECT is decoded for the version it names itself; use
/// [`decode_connect`] for the first packet, which also tells the version of a broken one.
///
/// # Errors
/// The first rule the bytes break; [`DecodeError::reason_code`] says how to report it.
#[inline]
pub fn decode<'a>(
    version: ProtocolVersion,
    receiver: Receiver,
    packet: &'a [u8],
) -> Result<Packet<'a>, DecodeError> {
    let (header, body) = split(packet)?;
    if version.is_v5() {
        check_minimal(&header)?;
    }
    if header.first >> 4 == PacketType::Publish as u8 {
        return Publish::decode(version, receiver, header.flags(), body).map(Packet::Publish);
    }
    // The acknowledgements of QoS 1 and 2 in the form that says success; the same in all versions.
    if let [first, 2, high, low] = *packet
        && let Some(packet_id) = PacketId::new(u16::from_be_bytes([high, low]))
    {
        match first {
            0x40 => return Ok(Packet::PubAck(Ack::success(packet_id))),
            0x50 => return Ok(Packet::PubRec(Ack::success(packet_id))),
            0x62 => return Ok(Packet::PubRel(Ack::success(packet_id))),
            0x70 => return Ok(Packet::PubComp(Ack::success(packet_id))),
            _ => {}
        }
    }
    decode_rare(version, receiver, header, packet, body)
}

/// Everything but what brokers see all the time; apart, so that those decode inline in a small frame.
#[inline(never)]
fn decode_rare<'a>(
    version: ProtocolVersion,
    receiver: Receiver,
    header: FixedHeader,
    packet: &'a [u8],
    body: &'a [u8],
) -> Result<Packet<'a>, DecodeError> {
    let packet_type = header.packet_type().ok_or(DecodeError::PacketType(0))?;
    check_direction(version, receiver, packet_type)?;
    if !packet_type.accepts_flags(version, header.flags()) {
        return Err(DecodeError::Flags(packet_type));
    }
    Ok(match packet_type {
        PacketType::Connect => Packet::Connect(decode_connect(packet).map_err(|error| error.error)?),
        PacketType::ConnAck => Packet::ConnAck(ConnAck::decode(version, body)?),
        PacketType::Publish => Packet::Publish(Publish::decode(version, receiver, header.flags(), body)?),
        PacketType::PubAck => Packet::PubAck(Ack::decode(version, packet_type, body)?),
        PacketType::PubRec => Packet::PubRec(Ack::decode(version, packet_type, body)?),
        PacketType::PubRel => Packet::PubRel(Ack::decode(version, packet_type, body)?),
        PacketType::PubComp => Packet::PubComp(Ack::decode(version, packet_type, body)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(version, body)?),
        PacketType::SubAck => Packet::SubAck(SubAck::decode(version, body)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(version, body)?),
        PacketType::UnsubAck => Packet::UnsubAck(UnsubAck::decode(version, body)?),
        PacketType::PingReq => empty(body, Packet::PingReq)?,
        PacketType::PingResp => empty(body, Packet::PingResp)?,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(version, receiver, body)?),
        PacketType::Auth => Packet::Auth(Auth::decode(body)?),
    })
}

/// The fixed header and what follows it, if that is exactly what the header announces.
#[inline]
pub(crate) fn split(packet: &[u8]) -> Result<(FixedHeader, &[u8]), DecodeError> {
    let header = FixedHeader::decode(packet)?.ok_or(DecodeError::Incomplete)?;
    let body = packet.get(header.len..).ok_or(DecodeError::Incomplete)?;
    if packet.len() == header.packet_len() {
        Ok((header, body))
    } else if packet.len() < header.packet_len() {
        Err(DecodeError::Incomplete)
    } else {
        Err(DecodeError::TrailingBytes)
    }
}

/// 5.0 [MQTT-1.5.5-1]; 3.1 and 3.1.1 have no such rule.
#[inline]
pub(crate) const fn check_minimal(header: &FixedHeader) -> Result<(), DecodeError> {
    if header.is_minimal() { Ok(()) } else { Err(DecodeError::VarIntNotMinimal(Field::RemainingLength)) }
}

/// The "Direction of flow" column of section 2.2.1 (5.0: 2.1.2).
const fn check_direction(
    version: ProtocolVersion,
    receiver: Receiver,
    packet: PacketType,
) -> Result<(), DecodeError> {
    let wrong = match packet {
        PacketType::Auth if !version.is_v5() => return Err(DecodeError::PacketType(15)),
        PacketType::Connect | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::PingReq => {
            matches!(receiver, Receiver::Client)
        }
        PacketType::Disconnect => matches!(receiver, Receiver::Client) && !version.is_v5(),
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
            matches!(receiver, Receiver::Server)
        }
        PacketType::Publish
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp
        | PacketType::Auth => false,
    };
    if wrong { Err(DecodeError::WrongDirection(packet)) } else { Ok(()) }
}

const fn empty<'a>(body: &[u8], packet: Packet<'a>) -> Result<Packet<'a>, DecodeError> {
    if body.is_empty() { Ok(packet) } else { Err(DecodeError::TrailingBytes) }
}

impl Packet<'_> {
    /// The type of this packet.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet to `out`; after an error `out` is as it was.
    ///
    /// What 3.x has no room for (Properties, Reason Codes of acknowledgements, Subscription Options above the
    /// QoS) is left out. A CONNECT is written for its own version. Contents are taken on trust: topics,
    /// Reason Codes and the choice of Properties are not checked.
    ///
    /// # Errors
    /// See [`EncodeError`].
    #[inline]
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let packet_type = self.packet_type();
        let first = packet_type.first_byte();
        match self {
            Self::Publish(publish) => publish.encode(version, out),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encode(version, packet_type, out)
            }
            Self::Connect(connect) => write::packet(out, first, |out| connect.encode_body(out)),
            Self::ConnAck(connack) => write::packet(out, first, |out| connack.encode_body(version, out)),
            Self::Subscribe(subscribe) => {
                write::packet(out, first, |out| subscribe.encode_body(version, out))
            }
            Self::SubAck(suback) => write::packet(out, first, |out| suback.encode_body(version, out)),
            Self::Unsubscribe(unsubscribe) => {
                write::packet(out, first, |out| unsubscribe.encode_body(version, out))
            }
            Self::UnsubAck(unsuback) => write::packet(out, first, |out| unsuback.encode_body(version, out)),
            Self::Disconnect(disconnect) => {
                write::packet(out, first, |out| disconnect.encode_body(version, out))
            }
            Self::Auth(auth) => write::packet(out, first, |out| auth.encode_body(version, out)),
            Self::PingReq | Self::PingResp => {
                out.extend_from_slice(&[first, 0]);
                Ok(())
            }
        }
    }
}
