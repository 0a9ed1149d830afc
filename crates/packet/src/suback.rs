//! SUBACK: the answer to SUBSCRIBE (section 3.9).
//!
//! ```text
//! Packet Identifier | 5.0: Properties | one code per Topic Filter, in order
//! ```

use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, PacketId, PacketType, Properties, PropertyPlace, ProtocolVersion, ReasonCode,
    write,
};

#[cfg(test)]
pub(crate) mod tests;

/// What became of each subscription.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SubAck<'a> {
    /// Identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Reason String and User Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// One code for each Topic Filter in its order: the granted QoS 0 to 2, or a failure from 0x80. For 3.x
    /// every failure is written as 0x80 (3.1.1 [MQTT-3.9.3-2]).
    pub codes: &'a [u8],
}

impl<'a> SubAck<'a> {
    pub(crate) fn decode(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = reader.properties(version, PropertyPlace::Acknowledgement)?;
        let codes = reader.rest();
        if codes.is_empty() {
            return Err(DecodeError::NoReasonCode);
        }
        // 3.1.1, 5.0 [MQTT-3.9.3-2]
        if let Some(&code) = codes.iter().find(|code| !is_code(version, **code)) {
            return Err(DecodeError::ReasonCode(code));
        }
        Ok(Self { packet_id, properties, codes })
    }

    pub(crate) fn encode_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.codes.is_empty() {
            return Err(EncodeError::Empty(PacketType::SubAck));
        }
        out.extend_from_slice(&self.packet_id.get().to_be_bytes());
        write::properties(out, version, self.properties)?;
        if version.is_v5() {
            out.extend_from_slice(self.codes);
        } else {
            out.extend(self.codes.iter().map(|code| ReasonCode::UNSPECIFIED_ERROR.0.min(*code)));
        }
        Ok(())
    }
}

const fn is_code(version: ProtocolVersion, code: u8) -> bool {
    match code {
        0..=2 | 0x80 => true,
        0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2 => version.is_v5(),
        _ => false,
    }
}
