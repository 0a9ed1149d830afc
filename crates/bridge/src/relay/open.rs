//! From CONNECT to both subscriptions.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use cork_packet::{
    ConnAck, Connect, ConnectReturnCode, Packet, PacketId, Properties, PropertiesBuf, Property,
    ProtocolVersion, QoS, ReasonCode, RetainHandling, SubAck, SubscribeBuf, SubscriptionOptions,
    UnsubscribeBuf,
};
use cork_proto::Time;
use cork_store::Facts;

use super::{Breaker, Counters, End, Note, Opening, Peer, Phase, Plan, Relay, Side, Subacks};
use crate::{hops, ids::Ids};

/// QoS 2 messages to a broker of 3.1.1, which cannot say what it takes: Mosquitto 2.0 loses what is beyond 20.
const QOS2_V311_MAX: u16 = 20;

impl Relay {
    /// A relay whose connection to the other broker is open.
    pub(crate) fn new(plan: Arc<Plan>, mut opening: Opening, now: Time) -> Self {
        let (keep_alive, packet_bytes_max) = (plan.keep_alive, plan.packet_bytes_max as usize);
        let (out_mark, in_mark) = (hops::encoded(&plan.mark), hops::encoded(&plan.remote_mark));
        let breaker = Breaker::new(now, opening.probe_pause);
        let mut suspects = std::mem::take(&mut opening.suspects);
        suspects.begin(now);
        let peer = || Peer { packet_bytes_max: usize::MAX, ..Peer::default() };
        let mut relay = Self {
            plan,
            opening,
            phase: Phase::Remote,
            now,
            local: Peer { packet_bytes_max, ..peer() },
            remote: peer(),
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            keep_alive,
            swept_local: Ids::default(),
            swept_remote: Ids::default(),
            owed_filters: Vec::new(),
            lowered_out: Ids::default(),
            lowered_in: Ids::default(),
            taken: Ids::default(),
            incoming: Ids::default(),
            incoming_max: usize::from(u16::MAX),
            incoming_count: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            skipping: 0,
            subacks: Subacks::default(),
            paced: Time::ZERO,
            packets: 0,
            awaiting: 0,
            progress: now,
            sent: now,
            received: now,
            moved: now,
            pinged: None,
            topic: String::new(),
            properties: Vec::new(),
            out_mark,
            in_mark,
            breaker_out: breaker.clone(),
            breaker_in: breaker,
            suspects,
            local_held: false,
            unreleased: 0,
            counters: Counters::default(),
            noted: 0,
            notes: Vec::new(),
            end: None,
        };
        relay.connect_remote();
        relay
    }

    fn connect_remote(&mut self) {
        let plan = Arc::clone(&self.plan);
        let mut properties = PropertiesBuf::default();
        let version = self.opening.version;
        if version.is_v5() {
            properties.push(Property::SessionExpiryInterval(u32::MAX));
            properties.push(Property::ReceiveMaximum(plan.inflight));
            properties.push(Property::MaximumPacketSize(plan.packet_bytes_max));
        }
        let connect = Connect {
            version,
            bridge: self.opening.bridge,
            clean_start: false,
            keep_alive: u16::try_from(plan.keep_alive.as_secs()).unwrap_or(u16::MAX),
            client_id: &plan.remote_id,
            will: None,
            user_name: plan.user_name.as_deref(),
            password: plan.password.as_deref(),
            properties: properties.as_properties(),
        };
        if let Err(error) = Packet::Connect(connect).encode(version, &mut self.remote.output) {
            self.end_with(End::Local(format!("CONNECT cannot be written: {error}")));
        }
    }

    pub(super) fn remote_answered(&mut self, ack: &ConnAck<'_>) {
        if ack.code != 0 {
            let reason = match self.opening.version {
                ProtocolVersion::V5 => ReasonCode(ack.code),
                _ => reason_of(ConnectReturnCode(ack.code)),
            };
            let text = ack.properties.reason_string().map(str::to_owned);
            return self.end_with(End::Refused(reason, text));
        }
        if self.opening.doubtful {
            return self.end_with(End::Doubtful(ack.session_present));
        }
        self.remote.present = ack.session_present && !self.opening.fresh;
        let said = &ack.properties;
        if let Some(bytes) = said.maximum_packet_size() {
            self.remote.packet_bytes_max = bytes as usize;
        }
        if let Some(seconds) = said.server_keep_alive() {
            self.keep_alive = Duration::from_secs(u64::from(seconds));
        }
        self.qos_max = said.maximum_qos().unwrap_or(QoS::ExactlyOnce);
        self.retain_available = said.retain_available().unwrap_or(true);
        let inflight = match (self.opening.version, self.plan.out.qos_max()) {
            (ProtocolVersion::V5, _) => said.receive_maximum().unwrap_or(u16::MAX),
            (_, QoS::ExactlyOnce) => QOS2_V311_MAX,
            _ => u16::MAX,
        };
        // What this broker has under way is what the other one takes: nothing needs to be held in between.
        self.opening.inflight = inflight.min(self.plan.inflight).max(1);
        self.phase = Phase::WantLocal;
    }

    /// The connection to this broker is open.
    pub(crate) fn local_opened(&mut self, now: Time) {
        self.now = now;
        let mut properties = PropertiesBuf::default();
        properties.push(Property::SessionExpiryInterval(u32::MAX));
        properties.push(Property::ReceiveMaximum(self.suspects.window(self.opening.inflight)));
        let plan = Arc::clone(&self.plan);
        if plan.max_age.is_some() {
            properties.push(Property::UserProperty(Facts::ASKED_BY, ""));
        }
        plan.wishes(&mut properties);
        let connect = local_connect(&plan.local_id, properties.as_properties());
        if let Err(error) = Packet::Connect(connect).encode(ProtocolVersion::V5, &mut self.local.output) {
            self.end_with(End::Local(format!("CONNECT cannot be written: {error}")));
        }
        self.phase = Phase::Local;
    }

    pub(super) fn local_answered(&mut self, ack: &ConnAck<'_>) {
        if ack.code != 0 {
            let text = ack.properties.reason_string().unwrap_or_default();
            return self.end_with(End::Local(format!("{} ({text})", ReasonCode(ack.code))));
        }
        self.local.present = ack.session_present;
        self.incoming_max = usize::from(ack.properties.receive_maximum().unwrap_or(u16::MAX));
        self.phase = Phase::Settling;
        self.progress = self.now;
        // What only one of the two remembers of flows would be taken for repetitions of new ones with their identifiers.
        if self.local.present && !self.remote.present && self.plan.into.qos_max() == QoS::ExactlyOnce {
            self.swept_local = sweep(&mut self.local.output);
        }
        if self.remote.present && !self.local.present && self.plan.out.qos_max() == QoS::ExactlyOnce {
            self.swept_remote = sweep(&mut self.remote.output);
        }
        self.subscribe_local();
        self.settle();
        let kept = self.remote.inbound.take();
        self.feed(Side::Remote, &kept);
    }

    /// The subscriptions here are there already, see [`crate::session`]; only what is retained is asked for, where the
    /// other broker does not have it.
    fn subscribe_local(&mut self) {
        let plan = Arc::clone(&self.plan);
        let mut filters = SubscribeBuf::new();
        let mut any = false;
        for rule in plan.subscribed() {
            let filter = rule.subscription();
            if !self.remote.present || self.opening.new_filters.contains(&filter) {
                // Each connection of a search ends, and a broker that keeps no sessions would get all of it each time, what it
                // hangs up at as well.
                if self.suspects.is_searching() {
                    self.owed_filters.push(filter);
                    continue;
                }
                any |=
                    filters.push(&filter, local_options(rule.qos, RetainHandling::SendAtSubscribe)).is_ok();
            }
        }
        if any {
            let subscribe = filters.subscribe(SUBSCRIBE_ID, Properties::EMPTY);
            self.subacks.local =
                Packet::Subscribe(subscribe).encode(ProtocolVersion::V5, &mut self.local.output).is_ok();
        }
    }

    /// Subscribes there once nothing is in the way, and notes when everything is done.
    pub(super) fn settle(&mut self) {
        if self.phase != Phase::Settling || self.subacks.local || !self.swept_local.is_empty() {
            return;
        }
        if !self.subacks.remote_asked {
            self.subacks.remote_asked = true;
            self.subscribe_remote();
        }
        if !self.subacks.remote {
            self.phase = Phase::Online;
        }
    }

    fn subscribe_remote(&mut self) {
        let (plan, version) = (Arc::clone(&self.plan), self.opening.version);
        let mut old = UnsubscribeBuf::new();
        let mut any = false;
        for filter in &self.opening.old_filters {
            any |= old.push(filter).is_ok();
        }
        if any {
            let unsubscribe = Packet::Unsubscribe(old.unsubscribe(UNSUBSCRIBE_ID, Properties::EMPTY));
            // A filter that is too long was never subscribed.
            let _ = unsubscribe.encode(version, &mut self.remote.output);
        }
        // 3.1.1 would send everything that is retained again.
        let there = !version.is_v5() && self.remote.present && self.opening.subscribed;
        if there || plan.into.is_empty() {
            return;
        }
        let mut filters = SubscribeBuf::new();
        for rule in plan.into.rules() {
            let options = match version {
                ProtocolVersion::V5 => local_options(rule.qos, RetainHandling::SendIfNew),
                _ => SubscriptionOptions::with_qos(rule.qos),
            };
            // Filters of a configuration that was judged are short enough.
            let _ = filters.push(&rule.filter, options);
        }
        let subscribe = Packet::Subscribe(filters.subscribe(SUBSCRIBE_ID, Properties::EMPTY));
        self.subacks.remote = subscribe.encode(version, &mut self.remote.output).is_ok();
    }

    pub(super) fn subscribed(&mut self, side: Side, ack: &SubAck<'_>) {
        let plan = Arc::clone(&self.plan);
        match side {
            Side::Local => {
                if let Some(code) = ack.codes.iter().copied().map(ReasonCode).find(|code| code.is_error()) {
                    self.end_with(End::Local(format!("it refuses a subscription: {code}")));
                }
                self.subacks.local = false;
            }
            Side::Remote => {
                self.subacks.remote = false;
                for (rule, code) in plan.into.rules().iter().zip(ack.codes) {
                    let reason = ReasonCode(*code);
                    if reason.is_error() {
                        self.notes.push(Note::Subscription { filter: rule.filter.clone(), reason });
                    }
                }
            }
        }
        self.settle();
    }
}

/// CONNECT to this broker.
pub(crate) fn local_connect<'a>(client_id: &'a str, properties: Properties<'a>) -> Connect<'a> {
    Connect {
        version: ProtocolVersion::V5,
        bridge: false,
        clean_start: false,
        keep_alive: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties,
    }
}

/// How a link subscribes where it can say it: nothing of its own comes back, and what is to be retained says so.
pub(crate) const fn local_options(qos: QoS, retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { qos, no_local: true, retain_as_published: true, retain_handling }
}

/// Releases every identifier.
fn sweep(output: &mut Vec<u8>) -> Ids {
    output.reserve(4 * usize::from(u16::MAX));
    for id in 1..=u16::MAX {
        let [high, low] = id.to_be_bytes();
        output.extend_from_slice(&[0x62, 2, high, low]);
    }
    Ids::all()
}

pub(super) fn reason_of(code: ConnectReturnCode) -> ReasonCode {
    match code {
        ConnectReturnCode::UNACCEPTABLE_PROTOCOL_VERSION => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
        ConnectReturnCode::IDENTIFIER_REJECTED => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        ConnectReturnCode::SERVER_UNAVAILABLE => ReasonCode::SERVER_UNAVAILABLE,
        ConnectReturnCode::BAD_USER_NAME_OR_PASSWORD => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        ConnectReturnCode::NOT_AUTHORIZED => ReasonCode::NOT_AUTHORIZED,
        _ => ReasonCode::UNSPECIFIED_ERROR,
    }
}

/// The publications of a connection have the identifiers of the other side, which counts from 1: these are the farthest
/// from there, and an answer to SUBSCRIBE cannot be taken for one to PUBLISH.
const SUBSCRIBE_ID: PacketId = match PacketId::new(u16::MAX) {
    Some(id) => id,
    None => PacketId::FIRST,
};
const UNSUBSCRIBE_ID: PacketId = match PacketId::new(u16::MAX - 1) {
    Some(id) => id,
    None => PacketId::FIRST,
};
