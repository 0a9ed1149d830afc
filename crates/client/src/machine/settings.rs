//! What a machine is told once, before its first connection.

use std::sync::Arc;

use bytes::Bytes;
use cork_packet::{Field, Packet, Properties, PropertiesBuf, PropertyPlace, ProtocolVersion, validate_name};

use crate::{ConnectError, Publish, auth::Authentication};

/// Which way a packet goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From this client to the server.
    Sent,
    /// From the server to this client.
    Received,
}

/// Called with every packet, both ways; on the client's own thread, so it must not block.
pub type Observer = Arc<dyn Fn(Direction, &Packet<'_>) + Send + Sync>;

/// The Will: what the server publishes when this client goes without DISCONNECT.
#[derive(Clone, Debug)]
pub struct Will {
    /// The message.
    pub publish: Publish,
    /// Seconds the server waits before it publishes it (5.0 3.1.3.2.2).
    pub delay: u32,
}

/// What CONNECT says, and what this end promises and wants.
#[derive(Clone)]
pub struct Settings {
    /// The version to speak.
    pub version: ProtocolVersion,
    /// Client Identifier; empty: the server chooses one.
    pub client_id: String,
    /// Whether the first connection begins a new Session. Later ones resume it where it lives on.
    pub clean_start: bool,
    /// Seconds within which a packet is sent; 0: never for its own sake.
    pub keep_alive: u16,
    /// Seconds to wait for PINGRESP, or any packet, after PINGREQ.
    pub ping_timeout: u16,
    /// Seconds the Session outlives a connection, `u32::MAX` for ever. In 3.1.1 all but 0 clears Clean Session
    /// after the first connection.
    pub session_expiry: u32,
    /// Most QoS 1 and 2 messages the server may have under way to this client, never 0.
    pub receive_maximum: u16,
    /// Largest packet taken, in bytes.
    pub max_packet_size: u32,
    /// Topic Aliases the server may use.
    pub topic_alias_maximum: u16,
    /// Whether to use Topic Aliases where the server allows them.
    pub topic_aliases: bool,
    /// Most QoS 1 and 2 publications under way to the server, whatever it would allow, never 0.
    pub inflight_max: u16,
    /// The same for QoS 2 in 3.1.1, where servers cannot tell what they take: Mosquitto 2.0 loses messages when
    /// more than 20 (its `max_inflight_messages`) are under way.
    pub inflight_qos2_v311_max: u16,
    /// The Will.
    pub will: Option<Will>,
    /// User Name.
    pub user_name: Option<String>,
    /// Password.
    pub password: Option<Bytes>,
    /// Further Properties of CONNECT: User Properties, Request Response Information, Request Problem Information.
    pub properties: PropertiesBuf,
    /// Enhanced authentication (5.0 4.12).
    pub authentication: Option<Arc<dyn Authentication>>,
    /// Whether changes of the Session are handed out as [`Record`](super::Record)s, to survive the program.
    pub records: bool,
    /// Whether a PUBACK goes as soon as the program is done with its message, past those that it still holds. MQTT asks
    /// for the order of arrival (5.0 [MQTT-4.6.0-2]): this is for parts of a broker, on a connection within it.
    pub pubacks_at_once: bool,
    /// Sees every packet.
    pub observer: Option<Observer>,
}

impl Settings {
    /// Whether CONNECT can say all this.
    ///
    /// # Errors
    /// What it cannot say: it is too long, or does not belong there.
    pub fn check(&self) -> Result<(), ConnectError> {
        let will = self.will.as_ref().map(|will| &will.publish);
        let blocks = [
            (Some(&self.properties), PropertyPlace::Connect),
            (will.map(|will| &will.properties), PropertyPlace::Will),
        ];
        for (properties, place) in blocks {
            let Some(properties) = properties else { continue };
            properties.check().map_err(ConnectError::Property)?;
            let of = if place == PropertyPlace::Will { "the Will" } else { "CONNECT" };
            Properties::decode(properties.as_properties().raw(), place)
                .map_err(|error| ConnectError::Options(format!("a Property of {of}: {error}")))?;
        }
        if let Some(will) = will {
            validate_name(&will.topic)
                .map_err(|error| ConnectError::Options(format!("Will Topic: {error}")))?;
        }
        let lengths = [
            (Field::ClientId, self.client_id.len()),
            (Field::UserName, self.user_name.as_ref().map_or(0, String::len)),
            (Field::Password, self.password.as_ref().map_or(0, Bytes::len)),
            (Field::WillPayload, will.map_or(0, |will| will.payload.len())),
        ];
        match lengths.into_iter().find(|(_, length)| u16::try_from(*length).is_err()) {
            Some((field, length)) => {
                let what = format!("{field} has {length} bytes; at most 65535 fit into a packet");
                Err(ConnectError::Options(what))
            }
            None => Ok(()),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: ProtocolVersion::V5,
            client_id: String::new(),
            clean_start: true,
            keep_alive: 60,
            ping_timeout: 10,
            session_expiry: 0,
            receive_maximum: 1024,
            max_packet_size: 16 * 1024 * 1024,
            topic_alias_maximum: 64,
            topic_aliases: true,
            inflight_max: 1024,
            inflight_qos2_v311_max: 20,
            will: None,
            user_name: None,
            password: None,
            properties: PropertiesBuf::new(),
            authentication: None,
            records: false,
            pubacks_at_once: false,
            observer: None,
        }
    }
}

impl std::fmt::Debug for Settings {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("session_expiry", &self.session_expiry)
            .field("receive_maximum", &self.receive_maximum)
            .field("will", &self.will)
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}
