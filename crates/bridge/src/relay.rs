//! The machine of a link: packets from one session to the other, under the same Packet Identifiers. It knows no socket,
//! clock or thread.
//!
//! ```text
//! this broker ── session of the link ──  Relay  ── session of the link ── the other broker
//!      PUBLISH 7 ───────────────────────►        ───────────────────────► PUBLISH 7
//!      PUBREC 7  ◄───────────────────────        ◄─────────────────────── PUBREC 7
//! ```
//!
//! Both sessions are durable and both give a message the identifier it had before, so the relay remembers nothing: when
//! either connection ends, both do, and the flows go on from what the two brokers know of them. What it answers itself is
//! little: messages that cannot pass, flows one of the two has forgotten, and ways in which the other broker knows less
//! than this one (3.1.1, a lower QoS).
//!
//! The driver's rule: one of [`Relay::handle`], [`Relay::local_opened`] and [`Relay::handle_timeout`]; then write what is in
//! both [`Relay::output`]s, open this broker's connection if [`Relay::wants_local`], stop if [`Relay::ended`], and wait.

mod alone;
mod breaker;
mod echo;
mod open;
mod pass;
mod skip;
mod suspects;
#[cfg(test)]
mod tests;

pub(crate) use open::{local_connect, local_options};
pub(crate) use suspects::{Found, Suspects};

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use cork_packet::{
    Ack, ConnectReturnCode, Packet, PacketId, PropertiesBuf, Property, ProtocolVersion, QoS, ReasonCode,
    Receiver, decode,
};
use cork_proto::{Inbound, PeerError, Time, split_packet};
use cork_store::{LANE_ASKED_BY, QUEUE_BYTES_ASKED_BY};

use self::{breaker::Breaker, suspects::Trial};
use crate::{
    ids::Ids,
    map::{Map, Rule},
};

/// One of the two connections.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// To this broker.
    Local,
    /// To the other one.
    Remote,
}

/// What a link does, all the time it exists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// From here to there.
    pub(crate) out: Map,
    /// From there to here.
    pub(crate) into: Map,
    /// Of the session in this broker.
    pub(crate) local_id: String,
    /// Of the session in the other one.
    pub(crate) remote_id: String,
    /// This is the second lane of a link, whose first one has the subscriptions.
    pub(crate) second: bool,
    /// What it is for while the first one has a backlog: `LANE_STRICT` or `LANE_LIVE_FIRST`; nothing any more: `None`.
    pub(crate) lane: Option<&'static str>,
    /// What may wait in the session in this broker, in bytes.
    pub(crate) queue_max_bytes: Option<u64>,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    /// Whole seconds.
    pub(crate) keep_alive: Duration,
    pub(crate) ack_timeout: Duration,
    /// Most messages under way at once, in each direction.
    pub(crate) inflight: u16,
    /// Most messages in a second that go out; 0: any number.
    pub(crate) messages_per_second: u32,
    /// Older ones do not go out.
    pub(crate) max_age: Option<Duration>,
    /// What this broker takes.
    pub(crate) packet_bytes_max: u32,
    /// Likewise; 0: any number.
    pub(crate) topic_levels_max: usize,
    /// Of this broker, for messages that go out.
    pub(crate) mark: String,
    /// That stands for the other broker, for messages that come in.
    pub(crate) remote_mark: String,
}

impl Plan {
    /// What this broker is asked for its session.
    pub(crate) fn wishes(&self, properties: &mut PropertiesBuf) {
        if let (true, Some(order)) = (self.second, self.lane) {
            properties.push(Property::UserProperty(LANE_ASKED_BY, order));
        }
        if let Some(bytes) = self.queue_max_bytes {
            properties.push(Property::UserProperty(QUEUE_BYTES_ASKED_BY, &bytes.to_string()));
        }
    }

    /// What the other broker says, which may repeat the password, without it.
    pub(crate) fn blot(&self, text: &str) -> String {
        let password = self.password.as_deref().and_then(|password| std::str::from_utf8(password).ok());
        blot(text, password)
    }

    /// What is subscribed in this broker.
    pub(crate) fn subscribed(&self) -> &[Rule] {
        if self.second { &[] } else { self.out.rules() }
    }
}

/// A text without a password.
pub(crate) fn blot(text: &str, password: Option<&str>) -> String {
    match password {
        // It is shown as it was escaped.
        Some(password) if !password.is_empty() => {
            let escaped = password.escape_debug().to_string();
            text.replace(password, "***").replace(&escaped, "***")
        }
        _ => text.to_owned(),
    }
}

/// What is known before a connection is opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) version: ProtocolVersion,
    /// 3.1.1 only: say that this is a bridge.
    pub(crate) bridge: bool,
    /// Microseconds since 1970 when the relay's time is zero.
    pub(crate) wall: u64,
    /// The other broker was subscribed to since this link was made.
    pub(crate) subscribed: bool,
    /// 5.0 was met with silence, which need not mean that it is unknown: leave again when this version is let in.
    pub(crate) doubtful: bool,
    /// The session there was made just now, by a connection that left again.
    pub(crate) fresh: bool,
    /// Filters here whose retained messages the other broker has not been sent.
    pub(crate) new_filters: Vec<String>,
    /// Filters there that are not wanted any more.
    pub(crate) old_filters: Vec<String>,
    /// What both brokers take at once; found out.
    pub(crate) inflight: u16,
    /// So long nobody is sent a probe: one may have ended the connection before.
    pub(crate) probe_pause: Duration,
    /// Messages at which connections ended.
    pub(crate) suspects: Suspects,
}

/// Why a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The other broker's CONNACK said no.
    Refused(ReasonCode, Option<String>),
    /// The other broker's DISCONNECT.
    Disconnected(ReasonCode, Option<String>),
    /// It lets this version in, but 5.0 is to be tried once more; whether it knew the session.
    Doubtful(bool),
    /// The other broker broke a rule.
    Broken(PeerError),
    /// No sign of life for so long.
    Silent(Duration),
    /// Messages were not acknowledged for so long.
    Unacknowledged(Duration),
    /// It has no room for what it was sent, which therefore stays where it is.
    Full(Side, ReasonCode),
    /// It sent more at once than can be held.
    TooMuch,
    /// A message was taken after all at which connections had ended: begin anew with those behind it.
    Acquitted,
    /// This broker ended its side.
    Local(String),
}

impl End {
    /// Whether it may be the answer to a message.
    pub(crate) fn may_be_for_a_message(&self) -> bool {
        let reason = match self {
            Self::Disconnected(reason, _) => reason,
            // With a Reason Code that PUBACK cannot have, for example.
            Self::Broken(_) => return true,
            _ => return false,
        };
        matches!(
            *reason,
            ReasonCode::UNSPECIFIED_ERROR
                | ReasonCode::MALFORMED_PACKET
                | ReasonCode::PROTOCOL_ERROR
                | ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR
                | ReasonCode::NOT_AUTHORIZED
                | ReasonCode::TOPIC_NAME_INVALID
                | ReasonCode::PACKET_TOO_LARGE
                | ReasonCode::PAYLOAD_FORMAT_INVALID
                | ReasonCode::RETAIN_NOT_SUPPORTED
                | ReasonCode::QOS_NOT_SUPPORTED
        )
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = |f: &mut fmt::Formatter<'_>, reason: &ReasonCode, text: &Option<String>| {
            write!(f, "{reason}")?;
            text.as_ref().map_or(Ok(()), |text| write!(f, " ({})", text.escape_debug()))
        };
        match self {
            Self::Refused(reason, text) => {
                f.write_str("the other broker refuses the connection: ")?;
                why(f, reason, text)
            }
            Self::Disconnected(reason, text) => {
                f.write_str("the other broker ended the connection: ")?;
                why(f, reason, text)
            }
            Self::Doubtful(_) => f.write_str("5.0 is tried once more"),
            Self::Broken(error) => write!(f, "the other broker broke the protocol: {error}"),
            Self::Silent(time) => write!(f, "the other broker did not answer PINGREQ for {time:?}"),
            Self::Unacknowledged(time) => write!(f, "the other broker acknowledged nothing for {time:?}"),
            Self::Full(Side::Remote, reason) => write!(f, "the other broker has no room: {reason}"),
            Self::Full(Side::Local, reason) => write!(f, "this broker has no room: {reason}"),
            Self::TooMuch => f.write_str("the other broker sends more at once than can be held"),
            Self::Acquitted => f.write_str("the other broker took what was set aside"),
            Self::Local(why) => write!(f, "this broker ended its side: {why}"),
        }
    }
}

/// What has gone through, since the relay was made.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Messages sent to the other broker, repetitions included.
    pub(crate) out: u64,
    /// Messages received from it, likewise.
    pub(crate) into: u64,
    /// Refused by the other broker.
    pub(crate) refused_remote: u64,
    /// Refused by this one.
    pub(crate) refused_local: u64,
    /// Too large, or with a topic too long, for where they were to go.
    pub(crate) too_large: u64,
    /// Older than is wanted.
    pub(crate) too_old: u64,
    /// They had been where they were to go.
    pub(crate) circles: u64,
    /// No rule is for their topic.
    pub(crate) unmapped: u64,
    /// The other broker ended the connection at them, again and again.
    pub(crate) disconnected: u64,
}

impl Counters {
    pub(crate) const fn plus(&self, other: &Self) -> Self {
        Self {
            out: self.out + other.out,
            into: self.into + other.into,
            refused_remote: self.refused_remote + other.refused_remote,
            refused_local: self.refused_local + other.refused_local,
            too_large: self.too_large + other.too_large,
            too_old: self.too_old + other.too_old,
            circles: self.circles + other.circles,
            unmapped: self.unmapped + other.unmapped,
            disconnected: self.disconnected + other.disconnected,
        }
    }
}

/// What is worth a line in the log, once for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A broker does not take a message.
    Refused { side: Side, reason: ReasonCode },
    /// A message is too large for where it is to go.
    TooLarge { side: Side, topic: String, bytes: usize },
    /// The other broker ends the connection at a message, and takes others; whether that is news.
    Disconnected { topic: String, bytes: usize, news: bool },
    /// A message went round in a circle.
    Circle { topic: String },
    /// The other broker refuses a subscription.
    Subscription { filter: String, reason: ReasonCode },
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// CONNECT was sent to the other broker.
    Remote,
    /// It let us in; this broker is to be connected.
    WantLocal,
    /// CONNECT was sent to this broker.
    Local,
    /// Both are open; subscriptions are not.
    Settling,
    Online,
}

/// One end: what came in and is no whole packet yet, and what is to be written.
#[derive(Debug, Default)]
struct Peer {
    inbound: Inbound,
    output: Vec<u8>,
    /// What the peer takes.
    packet_bytes_max: usize,
    /// It knew the session.
    present: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Relay {
    plan: Arc<Plan>,
    opening: Opening,
    phase: Phase,
    now: Time,
    local: Peer,
    remote: Peer,
    /// What the other broker said of itself.
    qos_max: QoS,
    retain_available: bool,
    keep_alive: Duration,
    /// Identifiers that were released because nobody knows whether they are in use; their PUBCOMPs are nobody's.
    swept_local: Ids,
    swept_remote: Ids,
    /// Filters here whose retained messages the other broker will be sent another time.
    owed_filters: Vec<String>,
    /// QoS 2 messages that went out at a lower one, as the other broker or the rule wants it; not finished.
    lowered_out: Ids,
    /// Likewise what came in.
    lowered_in: Ids,
    /// QoS 2 messages that the other broker has on this connection, if it knew nothing before.
    taken: Ids,
    /// From there to here, not finished.
    incoming: Ids,
    incoming_max: usize,
    incoming_count: usize,
    /// Publications beyond what this broker takes at once; only 3.1.1 brokers send so many.
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
    /// So much of a message that is too large is still to come.
    skipping: usize,
    subacks: Subacks,
    /// When the next message may go out, at so many a second.
    paced: Time,
    /// From the other broker.
    packets: u64,
    /// Sent to the other broker and not answered.
    awaiting: u64,
    progress: Time,
    sent: Time,
    received: Time,
    /// The last sign of life that is no packet: bytes of a long one, of either side, got through.
    moved: Time,
    pinged: Option<Time>,
    topic: String,
    properties: Vec<u8>,
    out_mark: Vec<u8>,
    in_mark: Vec<u8>,
    breaker_out: Breaker,
    breaker_in: Breaker,
    suspects: Suspects,
    /// Packets of this broker wait for an answer of the other one.
    local_held: bool,
    /// QoS 2 messages that the other broker took on this connection, and did not release.
    unreleased: usize,
    counters: Counters,
    noted: u8,
    notes: Vec<Note>,
    end: Option<End>,
}

/// Which answers to SUBSCRIBE are awaited.
#[derive(Debug, Default)]
struct Subacks {
    local: bool,
    remote: bool,
    /// SUBSCRIBE went to the other broker, or none is needed.
    remote_asked: bool,
}

/// What may be held of a broker that sends more than it should at once.
const HELD_BYTES_MAX: usize = 16 << 20;

impl Relay {
    /// Both outputs.
    pub(crate) fn output(&mut self, side: Side) -> &mut Vec<u8> {
        match side {
            Side::Local => &mut self.local.output,
            Side::Remote => &mut self.remote.output,
        }
    }

    /// Whether reading a side makes sense now: its packets have somewhere to go.
    pub(crate) fn reads(&self, side: Side, output_max: usize) -> bool {
        match side {
            Side::Local => {
                self.remote.output.len() < output_max && self.paced <= self.now && !self.local_held
            }
            Side::Remote => {
                self.local.output.len() < output_max && !matches!(self.phase, Phase::WantLocal | Phase::Local)
            }
        }
    }

    /// Whether this broker is to be connected now.
    pub(crate) const fn wants_local(&self) -> bool {
        matches!(self.phase, Phase::WantLocal)
    }

    pub(crate) const fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online)
    }

    /// The other broker has not said a word.
    pub(crate) const fn is_unanswered(&self) -> bool {
        matches!(self.phase, Phase::Remote)
    }

    pub(crate) const fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    /// How long the next connection is to wait with probes.
    pub(crate) fn probe_pause(&self) -> Duration {
        self.breaker_out.pause().max(self.breaker_in.pause())
    }

    /// What [`Opening::new_filters`] is to be once this connection was online.
    pub(crate) fn take_owed_filters(&mut self) -> Vec<String> {
        std::mem::take(&mut self.owed_filters)
    }

    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// What was read from a side.
    pub(crate) fn handle(&mut self, side: Side, now: Time, bytes: &[u8]) {
        self.now = now;
        if side == Side::Remote {
            self.received = now;
        }
        let before = self.packets;
        self.feed(side, bytes);
        if side == Side::Remote && self.packets == before && self.is_in_a_long_packet() {
            // What the other broker has to answer stands behind it.
            (self.moved, self.progress) = (now, now);
        }
        self.go_on();
    }

    fn is_in_a_long_packet(&self) -> bool {
        self.skipping > 0 || self.remote.inbound.len() >= LONG_BYTES
    }

    fn feed(&mut self, side: Side, bytes: &[u8]) {
        let mut input = bytes;
        while self.end.is_none() {
            if self.is_held_back(side, input) {
                self.local_held |= side == Side::Local;
                return self.peer(side).inbound.keep(input);
            }
            match self.next_packet(side, &mut input) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.broken(side, error),
            }
        }
    }

    /// Takes one packet off the front; false when there is no whole one.
    fn next_packet(&mut self, side: Side, input: &mut &[u8]) -> Result<bool, PeerError> {
        if side == Side::Remote
            && !self.opening.version.is_v5()
            && let Some(more) = self.skip(input)
        {
            return Ok(more);
        }
        let maximum = match side {
            Side::Remote => self.plan.packet_bytes_max as usize,
            Side::Local => usize::MAX,
        };
        let inbound = &mut self.peer(side).inbound;
        if !inbound.is_empty() {
            let Some(packet) = inbound.complete(input, maximum)? else { return Ok(false) };
            self.packet(side, &packet)?;
            return Ok(true);
        }
        let Some(packet) = split_packet(input, maximum)? else {
            inbound.keep(input);
            return Ok(false);
        };
        self.packet(side, packet)?;
        Ok(true)
    }

    /// The other broker speaks before this one is there to listen, or is to be sent no message before it has answered.
    fn is_held_back(&self, side: Side, input: &[u8]) -> bool {
        match side {
            Side::Remote => matches!(self.phase, Phase::WantLocal | Phase::Local),
            Side::Local if self.suspects.hold() => {
                let first = self.local.inbound.first().or_else(|| input.first().copied()).unwrap_or_default();
                let answered = first & 6 != 0;
                // Behind those that are not, the PUBREL may stand that is waited for.
                first >> 4 == 3 && (answered || !self.waits_for_release())
            }
            Side::Local => false,
        }
    }

    fn broken(&mut self, side: Side, error: PeerError) {
        self.end_with(match side {
            Side::Remote => End::Broken(error),
            Side::Local => End::Local(error.to_string()),
        });
    }

    fn end_with(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    const fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }

    const fn version(&self, side: Side) -> ProtocolVersion {
        match side {
            Side::Local => ProtocolVersion::V5,
            Side::Remote => self.opening.version,
        }
    }

    fn packet(&mut self, side: Side, bytes: &[u8]) -> Result<(), PeerError> {
        self.packets += u64::from(side == Side::Remote);
        if let (Phase::Remote, Side::Remote, ProtocolVersion::V5, [0x20, 2, _, code @ 1..=255]) =
            (self.phase, side, self.opening.version, bytes)
        {
            // Who does not know 5.0 says so in the packet of 3.1.1.
            let reason =
                if *code < 0x80 { open::reason_of(ConnectReturnCode(*code)) } else { ReasonCode(*code) };
            self.end_with(End::Refused(reason, None));
            return Ok(());
        }
        let packet = decode(self.version(side), Receiver::Client, bytes)?;
        match (&packet, self.phase) {
            (Packet::ConnAck(ack), Phase::Remote) if side == Side::Remote => self.remote_answered(ack),
            (Packet::ConnAck(ack), Phase::Local) if side == Side::Local => self.local_answered(ack),
            (Packet::Disconnect(disconnect), _) => {
                let text = disconnect.properties.reason_string().map(str::to_owned);
                self.end_with(match side {
                    Side::Remote => End::Disconnected(disconnect.reason, text),
                    Side::Local => {
                        End::Local(format!("{} ({})", disconnect.reason, text.unwrap_or_default()))
                    }
                });
            }
            (_, Phase::Remote | Phase::Local) => return Err(PeerError::PacketBeforeConnAck),
            (Packet::ConnAck(_), _) => return Err(PeerError::SecondConnAck),
            (Packet::SubAck(ack), _) => self.subscribed(side, ack),
            (Packet::UnsubAck(_), _) => {}
            (Packet::PingResp, _) => self.pinged = None,
            (Packet::Auth(_), _) => return Err(PeerError::UnexpectedAuth),
            _ => match side {
                Side::Local => self.on_local(&packet, bytes),
                Side::Remote => self.on_remote(&packet, bytes),
            },
        }
        Ok(())
    }

    /// Appends an acknowledgement.
    fn ack(
        &mut self,
        side: Side,
        packet: fn(Ack<'static>) -> Packet<'static>,
        id: PacketId,
        reason: ReasonCode,
    ) {
        let version = self.version(side);
        let ack = packet(Ack { packet_id: id, reason, properties: cork_packet::Properties::EMPTY });
        // Nothing in it can be too long.
        let written = ack.encode(version, self.output(side));
        debug_assert!(written.is_ok(), "an acknowledgement can be written");
    }

    /// When [`Relay::handle_timeout`] is due.
    pub(crate) fn next_timeout(&self) -> Time {
        let paced = if self.paced > self.now { self.paced } else { Time::NEVER };
        paced.min(self.ack_due()).min(self.ping_due()).min(self.trial_due())
    }

    /// When the other broker must have acknowledged something.
    fn ack_due(&self) -> Time {
        if self.awaiting > 0 { self.progress + self.plan.ack_timeout } else { Time::NEVER }
    }

    /// When it is to be asked for a sign of life, or must have given one.
    fn ping_due(&self) -> Time {
        match self.pinged {
            // Behind the answer all messages are held, so it is not waited for without an end.
            Some(pinged) if self.suspects.trial() != Trial::None => {
                pinged.max(self.moved).min(pinged + self.plan.ack_timeout) + self.ping_timeout()
            }
            Some(pinged) => {
                let answered = pinged.max(self.moved) + self.ping_timeout();
                // It may stand behind a long message of which the last bytes are in buffers of this system.
                if self.awaiting > 0 { answered.max(self.ack_due()) } else { answered }
            }
            None if self.keep_alive.is_zero() || self.phase == Phase::Remote => Time::NEVER,
            None => self.sent.min(self.received) + self.keep_alive,
        }
    }

    fn ping_timeout(&self) -> Duration {
        self.keep_alive.clamp(Duration::from_secs(1), PING_TIMEOUT_MAX)
    }

    /// Bytes of the remote side's output were written; whether there had been no room for them before.
    pub(crate) fn wrote_remote(&mut self, now: Time, drained: bool) {
        self.sent = now;
        if drained {
            (self.moved, self.progress) = (now, now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if self.end.is_some() {
            return;
        }
        if now >= self.ack_due() {
            return self.end_with(End::Unacknowledged(self.plan.ack_timeout));
        }
        self.leave_after_trial();
        self.go_on();
        if now < self.ping_due() {
            return;
        }
        match self.pinged {
            Some(_) => self.end_with(End::Silent(self.ping_timeout())),
            None => self.ping(),
        }
    }

    fn ping(&mut self) {
        self.pinged = Some(self.now);
        self.remote.output.extend_from_slice(&[0xC0, 0]);
    }

    /// Says goodbye to the other broker; its session stays.
    pub(crate) fn disconnect(&mut self) {
        if self.phase != Phase::Remote {
            self.remote.output.extend_from_slice(&[0xE0, 0]);
        }
    }

    fn note(&mut self, kind: u8, note: impl FnOnce() -> Note) {
        if self.noted & kind == 0 {
            self.noted |= kind;
            self.notes.push(note());
        }
    }
}

/// A packet of which so much is there, and not all, is a long one.
const LONG_BYTES: usize = 16 << 10;

/// Longest wait for PINGRESP.
const PING_TIMEOUT_MAX: Duration = Duration::from_secs(10);
