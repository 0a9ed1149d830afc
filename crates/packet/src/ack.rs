//! PUBACK, PUBREC, PUBREL and PUBCOMP: four names for one layout (sections 3.4 to 3.7).
//!
//! ```text
//! Packet Identifier | 5.0: Reason Code | Properties
//!                          `-- may be left out from the end: 0x00, none
//! ```

use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, Field, PacketId, PacketType, Properties, PropertyPlace, ProtocolVersion,
    ReasonCode, write,
};

#[cfg(test)]
pub(crate) mod tests;

/// A step in the delivery of a QoS 1 or QoS 2 message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// Identifier of the PUBLISH.
    pub packet_id: PacketId,
    /// [`ReasonCode::SUCCESS`] in 3.x, which cannot say anything else.
    pub reason: ReasonCode,
    /// Reason String and User Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

impl Ack<'_> {
    /// The acknowledgement that everything is well.
    #[inline]
    #[must_use]
    pub const fn success(packet_id: PacketId) -> Self {
        Self { packet_id, reason: ReasonCode::SUCCESS, properties: Properties::EMPTY }
    }
}

impl<'a> Ack<'a> {
    #[inline]
    pub(crate) fn decode(
        version: ProtocolVersion,
        packet: PacketType,
        body: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut ack = Self::success(packet_id);
        // 5.0 section 3.4.2.1: both the Reason Code and the Properties may be missing.
        if version.is_v5() && !reader.is_empty() {
            ack.reason = ReasonCode(reader.u8(Field::ReasonCode)?);
            if !is_code(packet, ack.reason) {
                return Err(DecodeError::ReasonCode(ack.reason.0));
            }
            if !reader.is_empty() {
                ack.properties = reader.properties(version, PropertyPlace::Acknowledgement)?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    /// Writes the shortest form.
    #[inline]
    pub(crate) fn encode(
        &self,
        version: ProtocolVersion,
        packet: PacketType,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let [high, low] = self.packet_id.get().to_be_bytes();
        let properties = if version.is_v5() { self.properties.encodable()? } else { &[] };
        if !version.is_v5() || (self.reason == ReasonCode::SUCCESS && properties.is_empty()) {
            out.extend_from_slice(&[packet.first_byte(), 2, high, low]);
            return Ok(());
        }
        if properties.is_empty() {
            out.extend_from_slice(&[packet.first_byte(), 3, high, low, self.reason.0]);
            return Ok(());
        }
        write::packet(out, packet.first_byte(), |out| {
            out.extend_from_slice(&[high, low, self.reason.0]);
            write::properties(out, version, self.properties)
        })
    }
}

/// 5.0 [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1].
const fn is_code(packet: PacketType, code: ReasonCode) -> bool {
    match packet {
        PacketType::PubRel | PacketType::PubComp => matches!(code.0, 0x00 | 0x92),
        _ => matches!(code.0, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99),
    }
}
