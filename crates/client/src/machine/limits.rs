//! What the server said it allows (5.0 3.2.2.3).

use cork_packet::{ConnAck, ProtocolVersion, QoS};

use super::Settings;

/// What holds on the present connection, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Most QoS 1 and 2 publications under way to the server.
    pub receive_maximum: u16,
    /// Largest QoS of a publication (5.0 [MQTT-3.2.2-11]).
    pub maximum_qos: QoS,
    /// Whether there are retained messages (5.0 [MQTT-3.2.2-14]).
    pub retain_available: bool,
    /// Largest packet the server takes, in bytes.
    pub maximum_packet_size: u32,
    /// Topic Aliases this client may use (5.0 [MQTT-3.2.2-17]).
    pub topic_alias_maximum: u16,
    /// Whether Topic Filters may have wildcards.
    pub wildcard_subscriptions: bool,
    /// Whether Subscription Identifiers may be used.
    pub subscription_identifiers: bool,
    /// Whether there are shared subscriptions.
    pub shared_subscriptions: bool,
    /// Seconds of Keep Alive in effect (5.0 [MQTT-3.1.2-21], [MQTT-3.2.2-21]).
    pub keep_alive: u16,
    /// Seconds the Session lives on after the connection.
    pub session_expiry: u32,
}

impl ServerLimits {
    pub(super) fn of(connack: &ConnAck<'_>, version: ProtocolVersion, settings: &Settings) -> Self {
        let properties = connack.properties;
        let v5 = version.is_v5();
        Self {
            receive_maximum: properties.receive_maximum().unwrap_or(u16::MAX),
            maximum_qos: properties.maximum_qos().unwrap_or(QoS::ExactlyOnce),
            retain_available: properties.retain_available().unwrap_or(true),
            maximum_packet_size: properties.maximum_packet_size().unwrap_or(u32::MAX),
            topic_alias_maximum: properties.topic_alias_maximum().unwrap_or(0),
            wildcard_subscriptions: properties.wildcard_subscription_available().unwrap_or(true),
            subscription_identifiers: v5 && properties.subscription_identifier_available().unwrap_or(true),
            shared_subscriptions: v5 && properties.shared_subscription_available().unwrap_or(true),
            keep_alive: properties.server_keep_alive().unwrap_or(settings.keep_alive),
            session_expiry: properties.session_expiry_interval().unwrap_or(settings.session_expiry),
        }
    }
}
