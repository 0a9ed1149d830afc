//! AUTH: a step of extended authentication, 5.0 only (section 3.15).
//!
//! ```text
//! Reason Code | Properties
//! `-- both may be left out: 0x00, none
//! ```

use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, Field, PacketType, Properties, PropertyPlace, ProtocolVersion, ReasonCode,
    write,
};

#[cfg(test)]
pub(crate) mod tests;

/// A message of the authentication method that CONNECT named.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// Authentication Method and Data, Reason String, User Properties. That the method is the one of CONNECT
    /// is for the caller to check (5.0 [MQTT-4.12.0-5]).
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        // 5.0 section 3.15.2.1: the short form of success.
        if body.is_empty() {
            return Ok(Self { reason: ReasonCode::SUCCESS, properties: Properties::EMPTY });
        }
        let mut reader = Reader::new(body);
        let reason = ReasonCode(reader.u8(Field::ReasonCode)?);
        // 5.0 [MQTT-3.15.2-1]
        if !matches!(reason.0, 0x00 | 0x18 | 0x19) {
            return Err(DecodeError::ReasonCode(reason.0));
        }
        let properties = reader.properties(ProtocolVersion::V5, PropertyPlace::Auth)?;
        reader.finish()?;
        Ok(Self { reason, properties })
    }

    /// Writes the shortest form.
    pub(crate) fn encode_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NotInVersion(PacketType::Auth));
        }
        if self.reason == ReasonCode::SUCCESS && self.properties.encodable()?.is_empty() {
            return Ok(());
        }
        out.push(self.reason.0);
        write::properties(out, version, self.properties)
    }
}
