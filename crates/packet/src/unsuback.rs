//! UNSUBACK: the answer to UNSUBSCRIBE (section 3.11).
//!
//! ```text
//! Packet Identifier | 5.0: Properties, one code per Topic Filter, in order
//! ```

use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, PacketId, PacketType, Properties, PropertyPlace, ProtocolVersion, write,
};

#[cfg(test)]
pub(crate) mod tests;

/// What became of each subscription that was to end.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct UnsubAck<'a> {
    /// Identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Reason String and User Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// One code for each Topic Filter in its order; empty in 3.x, which has none.
    pub codes: &'a [u8],
}

impl<'a> UnsubAck<'a> {
    pub(crate) fn decode(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        if !version.is_v5() {
            reader.finish()?;
            return Ok(Self { packet_id, properties: Properties::EMPTY, codes: &[] });
        }
        let properties = reader.properties(version, PropertyPlace::Acknowledgement)?;
        let codes = reader.rest();
        if codes.is_empty() {
            return Err(DecodeError::NoReasonCode);
        }
        // 5.0 [MQTT-3.11.3-2]
        if let Some(&code) = codes.iter().find(|code| !is_code(**code)) {
            return Err(DecodeError::ReasonCode(code));
        }
        Ok(Self { packet_id, properties, codes })
    }

    pub(crate) fn encode_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.packet_id.get().to_be_bytes());
        if !version.is_v5() {
            return Ok(());
        }
        if self.codes.is_empty() {
            return Err(EncodeError::Empty(PacketType::UnsubAck));
        }
        write::properties(out, version, self.properties)?;
        out.extend_from_slice(self.codes);
        Ok(())
    }
}

const fn is_code(code: u8) -> bool {
    matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91)
}
