//! CONNACK: the answer to CONNECT (section 3.2).
//!
//! ```text
//! Connect Acknowledge Flags (bit 0: Session Present) | Reason Code or return code | 5.0: Properties
//! ```

use crate::read::Reader;
use crate::{DecodeError, EncodeError, Field, Properties, PropertyPlace, ProtocolVersion, write};

#[cfg(test)]
pub(crate) mod tests;

/// The server's answer to CONNECT.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ConnAck<'a> {
    /// Whether the server has a Session for this client. Does not exist in 3.1.
    pub session_present: bool,
    /// A [`ReasonCode`](crate::ReasonCode) in 5.0, a [`ConnectReturnCode`](crate::ConnectReturnCode) in 3.x;
    /// 0 is success in both.
    pub code: u8,
    /// What the server allows and wants; empty in 3.x.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    pub(crate) fn decode(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8(Field::ConnAckFlags)?;
        let code = reader.u8(Field::ReasonCode)?;
        let properties = reader.properties(version, PropertyPlace::ConnAck)?;
        reader.finish()?;
        // 3.1 leaves the byte unused.
        let flags = if version == ProtocolVersion::V31 { 0 } else { flags };
        // 5.0 [MQTT-3.2.2-1]; 3.1.1 section 3.2.2.1
        if flags > 1 {
            return Err(DecodeError::ConnAckFlags);
        }
        if !is_code(version, code) {
            return Err(DecodeError::ReasonCode(code));
        }
        // 3.1.1 [MQTT-3.2.2-4], 5.0 [MQTT-3.2.2-6]
        if flags == 1 && code != 0 {
            return Err(DecodeError::SessionPresent);
        }
        Ok(Self { session_present: flags == 1, code, properties })
    }

    pub(crate) fn encode_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let session_present = self.session_present && version != ProtocolVersion::V31;
        out.extend_from_slice(&[u8::from(session_present), self.code]);
        write::properties(out, version, self.properties)
    }
}

/// 5.0 [MQTT-3.2.2-8]; 3.1.1 section 3.2.2.3.
const fn is_code(version: ProtocolVersion, code: u8) -> bool {
    match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => code <= 5,
        ProtocolVersion::V5 => {
            matches!(code, 0 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
        }
    }
}
