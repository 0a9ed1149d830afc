//! The two to five bytes every MQTT Control Packet begins with (3.1.1 section 2.2, 5.0 section 2.1).
//!
//! ```text
//! byte 1      packet type (high nibble) | flags (low nibble)
//! byte 2..=5  Remaining Length: seven bits per byte, least significant first, bit 7 set while more follow
//! ```

use std::fmt;

use crate::{DecodeError, ProtocolVersion};

/// The largest Remaining Length four bytes can say: 268 435 455.
pub const MAX_REMAINING_LENGTH: u32 = 0x0FFF_FFFF;

/// What a packet is, by the number in the high nibble of its first byte.
#[derive(Copy, Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client asks to connect.
    Connect = 1,
    /// Server answers CONNECT.
    ConnAck = 2,
    /// A message.
    Publish = 3,
    /// Ends a QoS 1 delivery.
    PubAck = 4,
    /// QoS 2, first answer.
    PubRec = 5,
    /// QoS 2, sender lets go of the message.
    PubRel = 6,
    /// QoS 2, last answer.
    PubComp = 7,
    /// Client subscribes.
    Subscribe = 8,
    /// Server answers SUBSCRIBE.
    SubAck = 9,
    /// Client unsubscribes.
    Unsubscribe = 10,
    /// Server answers UNSUBSCRIBE.
    UnsubAck = 11,
    /// Client asks for a sign of life.
    PingReq = 12,
    /// Server answers PINGREQ.
    PingResp = 13,
    /// The Network Connection is about to end. From a server only in 5.0.
    Disconnect = 14,
    /// A step of extended authentication. 5.0 only.
    Auth = 15,
}

/// The fixed header of a packet whose rest may not have arrived yet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FixedHeader {
    /// The first byte: type and flags.
    pub first: u8,
    /// Bytes that follow the fixed header, at most [`MAX_REMAINING_LENGTH`].
    pub remaining: u32,
    /// Bytes of the fixed header itself, 2 to 5.
    pub len: usize,
}

impl FixedHeader {
    /// Reads the header at the start of `buf`; `Ok(None)` when `buf` ends inside it.
    ///
    /// An encoding with needless zero bytes is accepted here, because 3.1 and 3.1.1 do not forbid it; see
    /// [`is_minimal`](Self::is_minimal). [`decode`](crate::decode) refuses it for 5.0.
    ///
    /// # Errors
    /// [`DecodeError::RemainingLength`] when the fourth length byte announces a fifth.
    #[inline]
    pub fn decode(buf: &[u8]) -> Result<Option<Self>, DecodeError> {
        // Nearly every packet is shorter than 128 bytes.
        if let [first, length @ 0..=0x7F, ..] = *buf {
            return Ok(Some(Self { first, remaining: u32::from(length), len: 2 }));
        }
        Self::decode_long(buf)
    }

    fn decode_long(buf: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some((&first, length)) = buf.split_first() else { return Ok(None) };
        let mut remaining = 0;
        for (at, &byte) in length.iter().take(4).enumerate() {
            remaining |= u32::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(Some(Self { first, remaining, len: at + 2 }));
            }
        }
        if length.len() < 4 { Ok(None) } else { Err(DecodeError::RemainingLength) }
    }

    /// The whole packet in bytes, fixed header included.
    #[inline]
    #[must_use]
    pub const fn packet_len(&self) -> usize {
        self.len + self.remaining as usize
    }

    /// The type of the packet; `None` for the reserved number 0.
    #[inline]
    #[must_use]
    pub const fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_bits(self.first >> 4)
    }

    /// The low nibble of the first byte.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.first & 0x0F
    }

    /// Whether Remaining Length is written with as few bytes as possible (5.0 [MQTT-1.5.5-1]).
    #[inline]
    #[must_use]
    pub const fn is_minimal(&self) -> bool {
        self.len == 2 || self.remaining >> (7 * (self.len - 2)) != 0
    }
}

impl PacketType {
    /// The type with this number; `None` for 0 and for 16 and above.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type, with the flags the standard prescribes.
    ///
    /// For PUBLISH, whose flags vary, the low nibble is 0.
    #[inline]
    #[must_use]
    pub const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.fixed_flags()
    }

    /// Whether these are the flags of a packet of this type (PUBLISH aside): 3.1.1 [MQTT-2.2.2-1],
    /// 5.0 [MQTT-2.1.3-1].
    ///
    /// 3.1 gives SUBSCRIBE, UNSUBSCRIBE and PUBREL a DUP flag and a QoS, and its clients use both.
    #[inline]
    pub(crate) const fn accepts_flags(self, version: ProtocolVersion, flags: u8) -> bool {
        let fixed = self.fixed_flags();
        flags == fixed || (matches!(version, ProtocolVersion::V31) && fixed == 0x02 && flags & 0x01 == 0)
    }

    const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0x02,
            _ => 0x00,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(remaining: u32, len: usize) -> Result<Option<FixedHeader>, DecodeError> {
        Ok(Some(FixedHeader { first: 0x30, remaining, len }))
    }

    #[test]
    fn mqtt311_2_2_3_remaining_length_at_the_edges_of_each_size() {
        assert_eq!(FixedHeader::decode(&[0x30, 0x00]), header(0, 2));
        assert_eq!(FixedHeader::decode(&[0x30, 0x7F]), header(127, 2));
        assert_eq!(FixedHeader::decode(&[0x30, 0x80, 0x01]), header(128, 3));
        assert_eq!(FixedHeader::decode(&[0x30, 0xFF, 0x7F]), header(16_383, 3));
        assert_eq!(FixedHeader::decode(&[0x30, 0x80, 0x80, 0x01]), header(16_384, 4));
        assert_eq!(FixedHeader::decode(&[0x30, 0xFF, 0xFF, 0x7F]), header(2_097_151, 4));
        assert_eq!(FixedHeader::decode(&[0x30, 0x80, 0x80, 0x80, 0x01]), header(2_097_152, 5));
        assert_eq!(FixedHeader::decode(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]), header(MAX_REMAINING_LENGTH, 5));
    }

    #[test]
    fn asks_for_more_bytes_while_the_header_is_unfinished() {
        for part in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0xFF, 0xFF], &[0x30, 0xFF, 0xFF, 0xFF]] {
            assert_eq!(FixedHeader::decode(part), Ok(None), "{part:x?}");
        }
    }

    #[test]
    fn refuses_a_fifth_length_byte_before_it_arrives() {
        let error = Err(DecodeError::RemainingLength);
        assert_eq!(FixedHeader::decode(&[0x30, 0x80, 0x80, 0x80, 0x80]), error);
        assert_eq!(FixedHeader::decode(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]), error);
    }

    #[test]
    fn mqtt5_1_5_5_1_tells_minimal_encodings_from_padded_ones() {
        let minimal = |bytes: &[u8]| FixedHeader::decode(bytes).unwrap().unwrap().is_minimal();
        assert!(minimal(&[0x30, 0x00]));
        assert!(minimal(&[0x30, 0x80, 0x01]));
        assert!(minimal(&[0x30, 0x80, 0x80, 0x80, 0x01]));
        assert!(!minimal(&[0x30, 0x80, 0x00]));
        assert!(!minimal(&[0x30, 0xFF, 0x00]));
        assert!(!minimal(&[0x30, 0xFF, 0xFF, 0x80, 0x00]));
    }

    #[test]
    fn first_byte_and_type_agree() {
        for bits in 1..=15 {
            let packet_type = PacketType::from_bits(bits).unwrap();
            assert_eq!(packet_type.first_byte() >> 4, bits);
        }
        assert_eq!(PacketType::from_bits(0), None);
        assert_eq!(PacketType::from_bits(16), None);
    }
}
