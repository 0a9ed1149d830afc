//! CONNECT: the first packet of a Network Connection (section 3.1).
//!
//! ```text
//! Protocol Name | Protocol Level | Connect Flags | Keep Alive | 5.0: Properties
//! Client Identifier | Will: 5.0: Will Properties, Will Topic, Will Payload | User Name | Password
//! ```

use std::fmt;

use crate::packet::{check_minimal, split};
use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, Field, PacketType, Properties, PropertyPlace, ProtocolVersion, QoS, write,
};

#[cfg(test)]
pub(crate) mod tests;

/// A client's request to connect.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    /// The version the client speaks.
    pub version: ProtocolVersion,
    /// Bit 7 of the Protocol Level: by custom of other brokers the client is a bridge. Never set in 5.0.
    pub bridge: bool,
    /// Clean Start; in 3.x the CleanSession bit, which also ends the Session with the connection.
    pub clean_start: bool,
    /// Seconds between packets of the client; 0 for no limit.
    pub keep_alive: u16,
    /// The Client Identifier, maybe empty; its length is not checked here (3.1 allows 1 to 23 characters).
    pub client_id: &'a str,
    /// The message to send should the connection end without DISCONNECT.
    pub will: Option<Will<'a>>,
    /// User Name, maybe empty.
    pub user_name: Option<&'a str>,
    /// Password: any bytes.
    pub password: Option<&'a [u8]>,
    /// Properties of the connection; empty in 3.x.
    pub properties: Properties<'a>,
}

/// The message a server sends for a client that is gone (section 3.1.2.5).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// QoS it is published with.
    pub qos: QoS,
    /// Whether it is published as a retained message.
    pub retain: bool,
    /// Topic Name: not empty, no wildcards.
    pub topic: &'a str,
    /// Payload (3.1.1: Will Message).
    pub payload: &'a [u8],
    /// Will Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

/// Why a CONNECT was refused, and in which version the refusal can be told.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ConnectError {
    /// The version, if Protocol Name and Level got that far.
    pub version: Option<ProtocolVersion>,
    /// The broken rule.
    pub error: DecodeError,
}

/// Decodes the first packet of a connection: `packet` is the whole packet with its fixed header, and nothing
/// else.
///
/// Borrows, allocates nothing, linear in the bytes.
///
/// 3.1 is read as it was written down: the reserved flag means nothing, nor do Will QoS and Will Retain
/// without Will; User Name and Password may be missing at the end although their flags are set, because the
/// Remaining Length has precedence.
///
/// # Errors
/// The first rule the bytes break, with the version if it was read by then.
pub fn decode_connect(packet: &[u8]) -> Result<Connect<'_>, ConnectError> {
    let mut version = None;
    decode_whole(packet, &mut version).map_err(|error| ConnectError { version, error })
}

fn decode_whole<'a>(
    packet: &'a [u8],
    known: &mut Option<ProtocolVersion>,
) -> Result<Connect<'a>, DecodeError> {
    let (header, body) = split(packet)?;
    match header.packet_type() {
        None => return Err(DecodeError::PacketType(0)),
        // 3.1.1, 5.0 [MQTT-3.1.0-1]
        Some(other) if other != PacketType::Connect => return Err(DecodeError::NotConnect),
        // 3.1.1 [MQTT-2.2.2-2], 5.0 [MQTT-2.1.3-1]
        Some(connect) if header.flags() != 0 => return Err(DecodeError::Flags(connect)),
        Some(_) => {}
    }
    let mut reader = Reader::new(body);
    let (version, bridge) = protocol(&mut reader)?;
    *known = Some(version);
    if version.is_v5() {
        check_minimal(&header)?;
    }
    let flags = Flags::decode(version, reader.u8(Field::ConnectFlags)?)?;
    let keep_alive = reader.u16(Field::KeepAlive)?;
    let properties = reader.properties(version, PropertyPlace::Connect)?;
    // The order of the payload: 3.1.1, 5.0 [MQTT-3.1.3-1].
    let client_id = reader.string(Field::ClientId)?;
    let will = flags.will.map(|(qos, retain)| Will::decode(version, qos, retain, &mut reader)).transpose()?;
    let present =
        |flag: bool, reader: &Reader<'_>| flag && !(version == ProtocolVersion::V31 && reader.is_empty());
    let user_name =
        if present(flags.user_name, &reader) { Some(reader.string(Field::UserName)?) } else { None };
    let password =
        if present(flags.password, &reader) { Some(reader.binary(Field::Password)?) } else { None };
    reader.finish()?;
    let clean_start = flags.clean_start;
    Ok(Connect { version, bridge, clean_start, keep_alive, client_id, will, user_name, password, properties })
}

/// Protocol Name and Level: 3.1.1, 5.0 [MQTT-3.1.2-1], [MQTT-3.1.2-2].
fn protocol(reader: &mut Reader<'_>) -> Result<(ProtocolVersion, bool), DecodeError> {
    let name = reader.binary(Field::ProtocolName)?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(DecodeError::ProtocolName);
    }
    let level = reader.u8(Field::ProtocolLevel)?;
    match (name, level) {
        (b"MQIsdp", 0x03) => Ok((ProtocolVersion::V31, false)),
        (b"MQIsdp", 0x83) => Ok((ProtocolVersion::V31, true)),
        (b"MQTT", 0x04) => Ok((ProtocolVersion::V311, false)),
        (b"MQTT", 0x84) => Ok((ProtocolVersion::V311, true)),
        (b"MQTT", 0x05) => Ok((ProtocolVersion::V5, false)),
        _ => Err(DecodeError::UnsupportedProtocolLevel(level)),
    }
}

/// The Connect Flags, taken apart.
struct Flags {
    user_name: bool,
    password: bool,
    will: Option<(QoS, bool)>,
    clean_start: bool,
}

impl Flags {
    fn decode(version: ProtocolVersion, bits: u8) -> Result<Self, DecodeError> {
        let v31 = version == ProtocolVersion::V31;
        // 3.1.1, 5.0 [MQTT-3.1.2-3]; unused in 3.1.
        if bits & RESERVED != 0 && !v31 {
            return Err(DecodeError::ConnectReservedFlag);
        }
        let (user_name, password) = (bits & USER_NAME != 0, bits & PASSWORD != 0);
        // 3.1.1 [MQTT-3.1.2-22], and 3.1 section 3.1; 5.0 lifts it.
        if password && !user_name && !version.is_v5() {
            return Err(DecodeError::PasswordWithoutUserName);
        }
        let (qos, retain) = (bits >> 3 & 0x03, bits & WILL_RETAIN != 0);
        let will = if bits & WILL != 0 {
            // 3.1.1 [MQTT-3.1.2-14], 5.0 [MQTT-3.1.2-12]
            Some((QoS::from_bits(qos).ok_or(DecodeError::WillQos)?, retain))
        } else if v31 {
            None
        } else if qos != 0 {
            // 3.1.1 [MQTT-3.1.2-13], 5.0 [MQTT-3.1.2-11]
            return Err(DecodeError::WillQosWithoutWill);
        } else if retain {
            // 3.1.1 [MQTT-3.1.2-15], 5.0 [MQTT-3.1.2-13]
            return Err(DecodeError::WillRetainWithoutWill);
        } else {
            None
        };
        Ok(Self { user_name, password, will, clean_start: bits & CLEAN_START != 0 })
    }

    fn of(connect: &Connect<'_>) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let will =
            connect.will.map_or(0, |will| WILL | will.qos.bits() << 3 | flag(will.retain, WILL_RETAIN));
        flag(connect.user_name.is_some(), USER_NAME)
            | flag(connect.password.is_some(), PASSWORD)
            | will
            | flag(connect.clean_start, CLEAN_START)
    }
}

impl Connect<'_> {
    pub(crate) fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.password.is_some() && self.user_name.is_none() && !self.version.is_v5() {
            return Err(EncodeError::PasswordWithoutUserName);
        }
        let bridge = if self.bridge && !self.version.is_v5() { BRIDGE } else { 0 };
        write::string(out, self.version.protocol_name(), Field::ProtocolName)?;
        out.extend_from_slice(&[self.version.level() | bridge, Flags::of(self)]);
        out.extend_from_slice(&self.keep_alive.to_be_bytes());
        write::properties(out, self.version, self.properties)?;
        write::string(out, self.client_id, Field::ClientId)?;
        if let Some(will) = &self.will {
            write::properties(out, self.version, will.properties)?;
            write::string(out, will.topic, Field::WillTopic)?;
            write::binary(out, will.payload, Field::WillPayload)?;
        }
        if let Some(user_name) = self.user_name {
            write::string(out, user_name, Field::UserName)?;
        }
        if let Some(password) = self.password {
            write::binary(out, password, Field::Password)?;
        }
        Ok(())
    }
}

impl<'a> Will<'a> {
    fn decode(
        version: ProtocolVersion,
        qos: QoS,
        retain: bool,
        reader: &mut Reader<'a>,
    ) -> Result<Self, DecodeError> {
        let properties = reader.properties(version, PropertyPlace::Will)?;
        let topic = reader.topic_name(Field::WillTopic, DecodeError::WillTopic)?;
        if topic.is_empty() {
            return Err(DecodeError::WillTopic);
        }
        let payload = reader.binary(Field::WillPayload)?;
        Ok(Self { qos, retain, topic, payload, properties })
    }
}

impl std::error::Error for ConnectError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "CONNECT of MQTT {version}: {}", self.error),
            None => write!(f, "CONNECT: {}", self.error),
        }
    }
}

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;
/// The bit of the Protocol Level that bridges of other brokers set.
const BRIDGE: u8 = 0x80;
