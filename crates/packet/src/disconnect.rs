//! DISCONNECT: the last packet of a Network Connection (section 3.14).
//!
//! ```text
//! 5.0: Reason Code | Properties
//!      `-- may be left out from the end: 0x00, none
//! ```

use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, Field, Properties, PropertyPlace, ProtocolVersion, ReasonCode, Receiver, write,
};

#[cfg(test)]
pub(crate) mod tests;

/// Says that, and in 5.0 why, the sender ends the Network Connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    /// [`ReasonCode::NORMAL_DISCONNECTION`] in 3.x, which cannot say anything else.
    pub reason: ReasonCode,
    /// Session Expiry Interval, Reason String, Server Reference, User Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    pub(crate) fn decode(
        version: ProtocolVersion,
        receiver: Receiver,
        body: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut disconnect = Self { reason: ReasonCode::NORMAL_DISCONNECTION, properties: Properties::EMPTY };
        // 5.0 section 3.14.2.1: both the Reason Code and the Properties may be missing.
        if version.is_v5() && !reader.is_empty() {
            disconnect.reason = ReasonCode(reader.u8(Field::ReasonCode)?);
            if !is_code(disconnect.reason) {
                return Err(DecodeError::ReasonCode(disconnect.reason.0));
            }
            if !reader.is_empty() {
                disconnect.properties = reader.properties(version, place(receiver))?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    /// Writes the shortest form.
    pub(crate) fn encode_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !version.is_v5() {
            return Ok(());
        }
        if !self.properties.encodable()?.is_empty() {
            out.push(self.reason.0);
            return write::properties(out, version, self.properties);
        }
        if self.reason != ReasonCode::NORMAL_DISCONNECTION {
            out.push(self.reason.0);
        }
        Ok(())
    }
}

/// 5.0 [MQTT-3.14.2-1]. Which side may send which code is not looked at: the connection ends either way.
const fn is_code(code: ReasonCode) -> bool {
    matches!(
        code.0,
        0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x8F | 0x90 | 0x93..=0x9F | 0xA0..=0xA2
    )
}

const fn place(receiver: Receiver) -> PropertyPlace {
    match receiver {
        Receiver::Server => PropertyPlace::DisconnectToServer,
        Receiver::Client => PropertyPlace::DisconnectToClient,
    }
}
