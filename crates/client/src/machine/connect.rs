//! CONNECT, CONNACK and AUTH: how a connection begins.

use std::sync::Arc;

use cork_packet::{
    Auth, ConnAck, Connect, ConnectReturnCode, Packet, Properties, PropertiesBuf, Property, PropertyId,
    ProtocolVersion, ReasonCode, Will,
};
use cork_proto::{AliasOut, PeerError, Time};

use super::{Connected, Event, Machine, Phase, Record, ServerLimits};
use crate::{Disconnected, Refusal, publish::set};

/// A server that knows no 5.0 says so in a CONNACK of 3.1.1.
pub(super) fn is_old_refusal(version: ProtocolVersion, packet: &[u8]) -> bool {
    version.is_v5() && matches!(packet, [0x20, 2, 0, 1])
}

impl Machine {
    pub(super) fn send_connect(&mut self) {
        let version = self.version;
        let properties = if version.is_v5() { self.connect_properties() } else { PropertiesBuf::new() };
        let settings = &self.settings;
        let settings_will = settings.will.as_ref();
        let will_properties = settings_will.map(|will| {
            let mut properties = will.publish.properties.clone();
            if will.delay > 0 {
                set(&mut properties, Property::WillDelayInterval(will.delay));
            }
            properties
        });
        let will = settings_will.zip(will_properties.as_ref()).map(|(will, properties)| Will {
            qos: will.publish.qos,
            retain: will.publish.retain,
            topic: &will.publish.topic,
            payload: &will.publish.payload,
            properties: if version.is_v5() { properties.as_properties() } else { Properties::EMPTY },
        });
        let connect = Connect {
            version,
            bridge: false,
            clean_start: self.wants_clean_start(),
            keep_alive: settings.keep_alive,
            client_id: &self.client_id,
            will,
            // 3.1.1 [MQTT-3.1.2-22]: no password without a name.
            user_name: match (&settings.user_name, &settings.password) {
                (None, Some(_)) if !version.is_v5() => Some(""),
                (name, _) => name.as_deref(),
            },
            password: settings.password.as_deref(),
            properties: properties.as_properties(),
        };
        let start = self.out.len();
        match Packet::Connect(connect).encode(version, &mut self.out) {
            Ok(()) => self.wrote(start),
            Err(error) => self.end(Disconnected::Authentication(error.to_string())),
        }
    }

    /// The first connection as the program wants it; later ones resume what can be resumed.
    fn wants_clean_start(&self) -> bool {
        let settings = &self.settings;
        if self.version.is_v5() {
            return settings.clean_start && !self.has_session;
        }
        // 3.1.1: Clean Session says both, and without a Client Identifier it must be set ([MQTT-3.1.3-7]).
        let ends_with_connection = settings.session_expiry == 0 && settings.clean_start;
        self.client_id.is_empty() || ends_with_connection || (settings.clean_start && !self.connected_before)
    }

    fn connect_properties(&mut self) -> PropertiesBuf {
        let settings = &self.settings;
        let mut properties = settings.properties.clone();
        if settings.session_expiry > 0 {
            properties.push(Property::SessionExpiryInterval(settings.session_expiry));
        }
        if settings.receive_maximum < u16::MAX {
            properties.push(Property::ReceiveMaximum(settings.receive_maximum.max(1)));
        }
        properties.push(Property::MaximumPacketSize(settings.max_packet_size.max(2)));
        if settings.topic_alias_maximum > 0 {
            properties.push(Property::TopicAliasMaximum(settings.topic_alias_maximum));
        }
        if let Some(authentication) = &settings.authentication {
            let mut exchange = authentication.begin();
            properties.push(Property::AuthenticationMethod(authentication.method()));
            if let Some(data) = exchange.first() {
                properties.push(Property::AuthenticationData(&data));
            }
            self.exchange = Some(exchange);
        }
        properties
    }

    pub(super) fn refused_in_old_form(&mut self) {
        self.refuse(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, Properties::EMPTY);
    }

    fn refuse(&mut self, reason: ReasonCode, properties: Properties<'_>) {
        self.end(Disconnected::Refused(Refusal {
            reason,
            version: self.version,
            reason_string: properties.reason_string().map(str::to_owned),
            server_reference: properties.server_reference().map(str::to_owned),
        }));
    }

    pub(super) fn handle_connack(&mut self, now: Time, connack: &ConnAck<'_>) -> Result<(), PeerError> {
        if connack.code != 0 {
            let reason = if self.version.is_v5() {
                ReasonCode(connack.code)
            } else {
                Refusal::reason_of(ConnectReturnCode(connack.code))
            };
            self.refuse(reason, connack.properties);
            return Ok(());
        }
        if let Some(mut exchange) = self.exchange.take() {
            // 5.0 [MQTT-4.12.0-5]: the method stays the same, and is named again.
            self.check_method(connack.properties)?;
            if let Err(why) = exchange.finish(connack.properties.authentication_data()) {
                self.end(Disconnected::Authentication(why));
                return Ok(());
            }
        }
        // 3.1.1 3.2.2.2, 5.0 [MQTT-3.2.2-4]
        let expected = !self.wants_clean_start();
        if connack.session_present && !expected {
            self.end(Disconnected::SessionPresentUnexpected);
            return Ok(());
        }
        self.phase = Phase::Online;
        self.connected_before = true;
        if let Some(id) = connack.properties.assigned_client_identifier() {
            self.client_id = id.into();
        }
        let limits = ServerLimits::of(connack, self.version, &self.settings);
        let aliases = if self.settings.topic_aliases { limits.topic_alias_maximum } else { 0 };
        self.alias_out = AliasOut::new(aliases);
        self.limits = Some(limits.clone());
        self.events.push_back(Event::Connected(Box::new(Connected {
            version: self.version,
            session_present: connack.session_present,
            client_id: Arc::clone(&self.client_id),
            limits,
            properties: connack.properties.into(),
        })));
        if connack.session_present {
            self.inflight.reconnected();
        } else {
            // 5.0 [MQTT-3.2.2-5]; 3.1.1 3.1.2.4
            self.session_lost();
        }
        if self.settings.records && !self.has_session {
            self.events.push_back(Event::Record(Record::Session(Arc::clone(&self.client_id))));
        }
        self.has_session = true;
        self.resend_requests();
        self.fill_window(now);
        Ok(())
    }

    /// The server has no Session: identifiers begin anew, and what was under way becomes new, or is given up.
    fn session_lost(&mut self) {
        self.acks.session_lost();
        if self.settings.records && self.has_session {
            self.events.push_back(Event::Record(Record::SessionLost));
        }
        self.forget_flights();
    }

    fn check_method(&self, properties: Properties<'_>) -> Result<(), PeerError> {
        let ours = self.settings.authentication.as_ref().map(|authentication| authentication.method());
        match properties.authentication_method() {
            theirs if theirs == ours => Ok(()),
            // Some servers leave it out of CONNACK.
            None => Ok(()),
            Some(_) => Err(PeerError::AuthMethodChanged),
        }
    }

    pub(super) fn handle_auth(&mut self, auth: &Auth<'_>) -> Result<(), PeerError> {
        self.check_method(auth.properties)?;
        let Some(mut exchange) = self.exchange.take() else { return Err(PeerError::UnexpectedAuth) };
        let data = auth.properties.authentication_data();
        if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION {
            match exchange.answer(data.unwrap_or_default()) {
                // 5.0 [MQTT-4.12.0-3]
                Ok(answer) => self.send_auth(ReasonCode::CONTINUE_AUTHENTICATION, answer.as_deref()),
                Err(why) => {
                    self.end(Disconnected::Authentication(why));
                    return Ok(());
                }
            }
            self.exchange = Some(exchange);
            return Ok(());
        }
        if auth.reason != ReasonCode::SUCCESS || self.phase != Phase::Online {
            return Err(PeerError::UnexpectedAuth);
        }
        match exchange.finish(data) {
            Ok(()) => self.events.push_back(Event::Reauthenticated),
            Err(why) => self.end(Disconnected::Authentication(why)),
        }
        Ok(())
    }

    /// Begins a re-authentication (5.0 4.12.1); [`Event::Reauthenticated`] tells its end. False when there is no
    /// connection, no Authentication Method, or one is under way.
    pub fn reauthenticate(&mut self) -> bool {
        let Some(authentication) = self.settings.authentication.clone() else { return false };
        if self.phase != Phase::Online || self.exchange.is_some() || !self.version.is_v5() {
            return false;
        }
        let mut exchange = authentication.begin();
        let first = exchange.first();
        self.exchange = Some(exchange);
        self.send_auth(ReasonCode::RE_AUTHENTICATE, first.as_deref());
        true
    }

    fn send_auth(&mut self, reason: ReasonCode, data: Option<&[u8]>) {
        let Some(authentication) = &self.settings.authentication else { return };
        let mut properties = PropertiesBuf::new();
        properties.push(Property::AuthenticationMethod(authentication.method()));
        if let Some(data) = data {
            properties.push(Property::AuthenticationData(data));
        }
        let auth = Packet::Auth(Auth { reason, properties: properties.as_properties() });
        if let Err(error) = self.send(&auth) {
            self.end(Disconnected::Authentication(error.to_string()));
        }
    }

    /// Whether Reason Strings and User Properties may be sent with a packet of this length.
    pub(super) fn fits(&self, length: usize) -> bool {
        self.limits.as_ref().is_none_or(|limits| length <= limits.maximum_packet_size as usize)
    }

    /// Whether CONNECT asked for this.
    #[must_use]
    pub fn asked_for(&self, id: PropertyId) -> bool {
        self.settings.properties.as_properties().has(id)
    }
}
