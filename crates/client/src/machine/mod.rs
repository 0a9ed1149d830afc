//! The client's half of the protocol, without a socket, a clock or a thread.
//!
//! A [`Machine`] outlives its Network Connections, as a Session does. Its driver does four things:
//!
//! 1. tells it that a connection is open ([`Machine::opened`]) or gone ([`Machine::closed`]);
//! 2. gives it what was read ([`Machine::handle_bytes`]) and, at [`Machine::next_timeout`], the time
//!    ([`Machine::handle_timeout`]);
//! 3. drains [`Machine::poll_event`];
//! 4. writes what [`Machine::transmit`] has to send. Records that came out as events are saved before that.
//!
//! ```
//! use cork_client::machine::{Event, Machine, Settings};
//! use cork_client::{Publish, QoS};
//! use cork_proto::Time;
//!
//! let mut machine = Machine::new(Settings { client_id: "lamp".into(), ..Settings::default() });
//! machine.opened(Time::ZERO);
//! let mut sent = Vec::new();
//! machine.transmit(&mut sent);
//! assert_eq!(sent[0], 0x10); // CONNECT
//!
//! machine.handle_bytes(Time::ZERO, &[0x20, 3, 0, 0, 0]); // CONNACK
//! assert!(matches!(machine.poll_event(), Some(Event::Connected(_))));
//!
//! machine.publish(Time::ZERO, Publish::new("a", "on").qos(QoS::AtLeastOnce), Some(7))?;
//! machine.handle_bytes(Time::ZERO, &[0x40, 2, 0, 1]); // PUBACK
//! assert!(matches!(machine.poll_event(), Some(Event::Published(7, Ok(_)))));
//! # Ok::<(), cork_client::PublishError>(())
//! ```

mod acks;
mod connect;
mod event;
mod limits;
mod outgoing;
mod receive;
mod record;
mod settings;
mod subscribe;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use cork_packet::{
    Disconnect, EncodeError, Packet, PacketId, Properties, ProtocolVersion, ReasonCode, Receiver, decode,
};
use cork_proto::{AliasIn, AliasOut, Inbound, Inflight, PeerError, Time, split_packet};

use crate::{Disconnected, auth::Exchange};
use acks::Acks;
pub(crate) use event::Flying;
pub use event::{AckKey, Connected, Event, Granted, Incoming, Published, Token};
pub use limits::ServerLimits;
pub use outgoing::Accepted;
pub use record::Record;
pub use settings::{Direction, Observer, Settings, Will};
pub use subscribe::Request;

/// Where the machine is between two connections.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// No Network Connection.
    Offline,
    /// CONNECT was sent.
    Connecting,
    /// CONNACK came.
    Online,
    /// The connection is to be closed; nothing more is read or sent.
    Ending,
}

/// One client, its Session included. See the [module](self).
pub struct Machine {
    settings: Settings,
    phase: Phase,
    /// Spoken on the present, or last, connection.
    version: ProtocolVersion,
    inbound: Inbound,
    /// What is to be sent.
    out: Vec<u8>,
    /// Bytes put into `out` on this connection, ever.
    produced: u64,
    events: VecDeque<Event>,
    limits: Option<ServerLimits>,
    client_id: Arc<str>,
    /// Whether this end has a Session: after the first CONNACK, or when an earlier run left one.
    has_session: bool,
    /// Whether a connection was accepted already, so that the next one resumes.
    connected_before: bool,

    inflight: Inflight<Flying>,
    /// Accepted, but not sent yet, in order.
    queue: VecDeque<Flying>,
    queue_bytes: usize,
    /// QoS 2 publications under way.
    second_open: usize,
    /// QoS 2 publications that wait for PUBCOMP.
    released: BTreeMap<PacketId, Released>,
    next_number: u64,
    alias_out: AliasOut,

    acks: Acks,
    alias_in: AliasIn,
    /// The last Topic Name that came, shared by messages that follow each other.
    last_topic: Arc<str>,
    requests: BTreeMap<PacketId, (Token, Request)>,
    /// What could not be sent yet.
    waiting_requests: VecDeque<(Token, Request)>,

    exchange: Option<Box<dyn Exchange>>,
    last_sent: Time,
    last_heard: Time,
    /// When the server must have been heard after a PINGREQ.
    pong_due: Option<Time>,
}

/// A QoS 2 publication the server has taken.
struct Released {
    token: Option<Token>,
    number: u64,
    result: Published,
}

impl Machine {
    /// A client that was never connected.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            phase: Phase::Offline,
            version: settings.version,
            inbound: Inbound::default(),
            out: Vec::new(),
            produced: 0,
            events: VecDeque::new(),
            limits: None,
            client_id: settings.client_id.as_str().into(),
            has_session: false,
            connected_before: false,
            inflight: Inflight::default(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            second_open: 0,
            released: BTreeMap::new(),
            next_number: 0,
            alias_out: AliasOut::new(0),
            acks: Acks::default(),
            alias_in: AliasIn::default(),
            last_topic: "".into(),
            requests: BTreeMap::new(),
            waiting_requests: VecDeque::new(),
            exchange: None,
            last_sent: Time::ZERO,
            last_heard: Time::ZERO,
            pong_due: None,
            settings,
        }
    }

    /// What it was made with.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the version to speak from the next connection on.
    pub fn set_version(&mut self, version: ProtocolVersion) {
        self.settings.version = version;
    }

    /// Whether CONNACK came and the connection lasts.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.phase == Phase::Online
    }

    /// Whether the connection is to be closed by the driver.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.phase == Phase::Ending
    }

    /// What the server allows, once CONNACK came.
    #[must_use]
    pub const fn limits(&self) -> Option<&ServerLimits> {
        self.limits.as_ref()
    }

    /// The version spoken.
    #[must_use]
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// A transport is open: CONNECT goes out.
    pub fn opened(&mut self, now: Time) {
        self.reset_connection();
        self.phase = Phase::Connecting;
        self.version = self.settings.version;
        (self.last_sent, self.last_heard) = (now, now);
        self.send_connect();
    }

    /// The transport is gone. What was under way waits for the next one.
    pub fn closed(&mut self) {
        self.reset_connection();
        self.phase = Phase::Offline;
        self.acks.connection_ended();
        self.reopen_requests();
    }

    fn reset_connection(&mut self) {
        self.inbound = Inbound::default();
        self.out.clear();
        self.produced = 0;
        self.limits = None;
        self.alias_out = AliasOut::new(0);
        self.alias_in = AliasIn::default();
        self.exchange = None;
        self.pong_due = None;
    }

    /// Takes what was read, in any split.
    pub fn handle_bytes(&mut self, now: Time, mut input: &[u8]) {
        if !matches!(self.phase, Phase::Connecting | Phase::Online) {
            return;
        }
        self.last_heard = now;
        self.pong_due = None;
        let maximum = self.settings.max_packet_size as usize;
        if !self.inbound.is_empty() {
            let mut inbound = std::mem::take(&mut self.inbound);
            match inbound.complete(&mut input, maximum) {
                Ok(Some(packet)) => self.handle_packet(now, &packet),
                Ok(None) => self.inbound = inbound,
                Err(error) => self.violated(error),
            }
        }
        while matches!(self.phase, Phase::Connecting | Phase::Online) {
            match split_packet(&mut input, maximum) {
                Ok(Some(packet)) => self.handle_packet(now, packet),
                Ok(None) => {
                    if !input.is_empty() {
                        self.inbound.keep(input);
                    }
                    break;
                }
                Err(error) => self.violated(error),
            }
        }
        self.send_acks();
        self.fill_window(now);
    }

    fn handle_packet(&mut self, now: Time, bytes: &[u8]) {
        if self.phase == Phase::Connecting && connect::is_old_refusal(self.version, bytes) {
            return self.refused_in_old_form();
        }
        let packet = match decode(self.version, Receiver::Client, bytes) {
            Ok(packet) => packet,
            Err(error) => return self.violated(error.into()),
        };
        if let Some(observer) = &self.settings.observer {
            observer(Direction::Received, &packet);
        }
        let result = match (self.phase, packet) {
            (Phase::Connecting, Packet::ConnAck(connack)) => self.handle_connack(now, &connack),
            (_, Packet::Auth(auth)) => self.handle_auth(&auth),
            (_, Packet::Disconnect(disconnect)) => {
                self.handle_disconnect(&disconnect);
                Ok(())
            }
            (Phase::Connecting, _) => Err(PeerError::PacketBeforeConnAck),
            (_, Packet::Publish(publish)) => self.handle_publish(&publish),
            (_, Packet::PubAck(ack)) => self.handle_puback(&ack),
            (_, Packet::PubRec(ack)) => self.handle_pubrec(&ack),
            (_, Packet::PubRel(ack)) => {
                self.handle_pubrel(&ack);
                Ok(())
            }
            (_, Packet::PubComp(ack)) => {
                self.handle_pubcomp(&ack);
                Ok(())
            }
            (_, Packet::SubAck(suback)) => self.handle_suback(&suback),
            (_, Packet::UnsubAck(unsuback)) => self.handle_unsuback(&unsuback),
            (_, Packet::PingResp) => Ok(()),
            (_, Packet::ConnAck(_)) => Err(PeerError::SecondConnAck),
            // `decode` refuses what only clients send.
            (_, Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq) => {
                Err(PeerError::PacketBeforeConnAck)
            }
        };
        if let Err(error) = result {
            self.violated(error);
        }
    }

    fn handle_disconnect(&mut self, disconnect: &Disconnect<'_>) {
        self.end(Disconnected::ByServer {
            reason: disconnect.reason,
            reason_string: disconnect.properties.reason_string().map(str::to_owned),
            server_reference: disconnect.properties.server_reference().map(str::to_owned),
        });
    }

    /// The server broke a rule: it is told so in 5.0, and the connection ends (5.0 4.13).
    fn violated(&mut self, error: PeerError) {
        if self.version.is_v5() && self.phase == Phase::Online {
            self.send_disconnect(error.reason_code(), Properties::EMPTY);
        }
        self.end(Disconnected::ProtocolError(error));
    }

    fn end(&mut self, why: Disconnected) {
        if self.phase != Phase::Ending {
            self.phase = Phase::Ending;
            self.events.push_back(Event::Ended(why));
        }
    }

    /// Sends DISCONNECT and ends the connection. `properties`: Session Expiry Interval, Reason String, User
    /// Properties.
    pub fn disconnect(&mut self, reason: ReasonCode, properties: Properties<'_>) {
        if matches!(self.phase, Phase::Online | Phase::Connecting) {
            if self.phase == Phase::Online {
                self.send_disconnect(reason, properties);
            }
            self.end(Disconnected::ByUs);
        }
    }

    fn send_disconnect(&mut self, reason: ReasonCode, properties: Properties<'_>) {
        // A Property that cannot be written leaves the plain packet.
        if self.send(&Packet::Disconnect(Disconnect { reason, properties })).is_err() {
            let plain = Disconnect { reason, properties: Properties::EMPTY };
            self.send(&Packet::Disconnect(plain)).unwrap_or_default();
        }
    }

    /// Appends a packet to what is sent.
    fn send(&mut self, packet: &Packet<'_>) -> Result<(), EncodeError> {
        let start = self.out.len();
        packet.encode(self.version, &mut self.out)?;
        self.wrote(start);
        Ok(())
    }

    /// Counts what stands in `out` from `start` on, and shows it to the observer.
    fn wrote(&mut self, start: usize) {
        self.produced += (self.out.len() - start) as u64;
        if let Some(observer) = &self.settings.observer {
            let mut rest = &self.out[start..];
            while let Ok(Some(bytes)) = split_packet(&mut rest, usize::MAX) {
                if let Ok(packet) = decode(self.version, Receiver::Server, bytes) {
                    observer(Direction::Sent, &packet);
                }
            }
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Moves what is to be sent behind `out`.
    pub fn transmit(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            std::mem::swap(out, &mut self.out);
        } else {
            out.append(&mut self.out);
        }
    }

    /// Bytes that wait for [`Machine::transmit`].
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.out.len()
    }

    /// Bytes ever produced on this connection.
    #[must_use]
    pub const fn produced(&self) -> u64 {
        self.produced
    }

    /// The driver wrote bytes to the transport: Keep Alive counts from here.
    pub fn transmitted(&mut self, now: Time) {
        self.last_sent = now;
    }

    /// The driver does not read, because the program is behind: silence of the server means nothing.
    pub fn reading_paused(&mut self, now: Time) {
        self.last_heard = now;
        if self.pong_due.is_some() {
            self.pong_due = Some(now + Duration::from_secs(self.settings.ping_timeout.into()));
        }
    }

    /// When [`Machine::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        if self.phase != Phase::Online {
            return None;
        }
        let ping = self.ping_at();
        match (self.pong_due, ping) {
            (Some(due), Some(ping)) => Some(due.min(ping)),
            (due, ping) => due.or(ping),
        }
    }

    /// When Keep Alive wants a PINGREQ: after silence of either side, so that a dead connection is noticed while
    /// this end publishes, too.
    fn ping_at(&self) -> Option<Time> {
        let keep_alive = self.limits.as_ref().map_or(self.settings.keep_alive, |limits| limits.keep_alive);
        if keep_alive == 0 {
            return None;
        }
        let since =
            if self.pong_due.is_some() { self.last_sent } else { self.last_sent.min(self.last_heard) };
        // A little early, so that the server need not use its own grace.
        Some(since + Duration::from_millis(u64::from(keep_alive) * 900))
    }

    /// The time came that [`Machine::next_timeout`] named.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.phase != Phase::Online {
            return;
        }
        if self.pong_due.is_some_and(|due| due <= now) {
            return self.end(Disconnected::KeepAlive { waited: self.settings.ping_timeout });
        }
        if self.ping_at().is_some_and(|ping| ping <= now) {
            self.send(&Packet::PingReq).unwrap_or_default();
            self.last_sent = now;
            if self.pong_due.is_none() {
                self.pong_due = Some(now + Duration::from_secs(self.settings.ping_timeout.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("client_id", &self.client_id)
            .field("phase", &self.phase)
            .field("version", &self.version)
            .field("inflight", &self.inflight.len())
            .field("queue", &self.queue.len())
            .finish_non_exhaustive()
    }
}
