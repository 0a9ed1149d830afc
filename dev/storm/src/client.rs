//! A simulated client: a well-behaved one on a bad network. What it sends is in `actions.rs`, how it takes what it gets
//! in `receive.rs`; here is its state and how connections begin and end.

use std::collections::{BTreeMap, VecDeque};

use cork_packet::{
    Connect, Packet, PacketId, PacketType, PropertiesBuf, Property, ProtocolVersion, QoS, Will,
};

use crate::{
    context::Context,
    ledger::{Fate, Publication},
    link::{Greeting, LinkIx},
    presence::Seen,
};

/// What a client is there for.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Publishes and subscribes.
    Plain,
    /// Only takes messages of one shared subscription: share name and filter.
    Worker { share: usize, filter: &'static str },
    /// Looks who is there, at this QoS.
    Watcher { filter: &'static str, qos: QoS },
    /// Has the past delivered to it, and then what comes, on each connection anew.
    LooksBack,
    /// Comes at the end and looks at what is retained.
    Late { found: Vec<(String, Vec<u8>)> },
}

/// How far a publication of the client is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Published,
    Released,
}

/// A publication of the client that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) id: PacketId,
    pub(crate) publication: usize,
    pub(crate) step: Step,
    /// The connection its PUBLISH last went out on.
    pub(crate) link: LinkIx,
}

/// A request that waits for SUBACK or UNSUBACK: subscriptions in the ledger.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Subscribe(Vec<usize>),
    Unsubscribe(Vec<usize>),
    Past,
}

/// Connected, or on the way there.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) link: LinkIx,
    pub(crate) open: bool,
    /// Bytes of an unfinished packet.
    pub(crate) inbox: Vec<u8>,
    pub(crate) aliases_in: BTreeMap<u16, String>,
    pub(crate) aliases_out: Vec<&'static str>,
    pub(crate) server_alias_max: u16,
    /// Identifiers the broker has under way here; true when their PUBLISH came on this connection.
    pub(crate) busy: BTreeMap<PacketId, bool>,
    pub(crate) requests: BTreeMap<PacketId, Request>,
    /// Acknowledgements to be sent some time.
    pub(crate) owed: Vec<(PacketType, PacketId)>,
    /// Flights of an earlier connection to be sent again.
    pub(crate) resend: VecDeque<PacketId>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) ix: usize,
    pub(crate) id: String,
    pub(crate) role: Role,
    pub(crate) line: Option<Line>,
    // ---- the client's part of the Session
    pub(crate) flights: Vec<Flight>,
    /// QoS 2 messages taken and not released.
    pub(crate) incoming: BTreeMap<PacketId, usize>,
    pub(crate) next_id: PacketId,
    /// The Session as of the last CONNACK. A client that never reads the CONNACK that says "no Session" and finds one
    /// the next time would take it for its old one, and its QoS 2 messages would come twice; no broker can help that,
    /// so the storm's clients know better.
    pub(crate) incarnation: Option<usize>,
    /// A Clean Start was asked for and not answered: what the broker keeps is not known.
    pub(crate) must_clean: bool,
    /// Whether its Sessions outlive their connections, as a rule.
    pub(crate) persistent: bool,
    /// What it was told of who is there.
    pub(crate) seen: Seen,
}

impl Client {
    pub(crate) fn new(ix: usize, id: String, role: Role) -> Self {
        Self {
            ix,
            id,
            role,
            line: None,
            flights: Vec::new(),
            incoming: BTreeMap::new(),
            next_id: PacketId::FIRST,
            incarnation: None,
            must_clean: false,
            persistent: true,
            seen: Seen::new(),
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.role, Role::Plain)
    }

    pub(crate) fn is_watcher(&self) -> bool {
        matches!(self.role, Role::Watcher { .. })
    }

    /// Whether nothing is left to do for it.
    pub(crate) fn is_settled(&self) -> bool {
        self.line.as_ref().is_none_or(|line| {
            line.open && line.owed.is_empty() && line.requests.is_empty() && line.resend.is_empty()
        }) && self.flights.is_empty()
    }

    /// Connects, also when it is connected: then the broker has to notice that the new connection is the same client.
    pub(crate) fn connect(&mut self, cx: &mut Context, calm: Option<bool>) {
        if let Some(line) = self.line.take() {
            cx.coverage.hit("connects while connected");
            self.leave(cx, line.link);
        }
        self.forget_unanswered(cx);
        let greeting = self.greeting(cx, calm);
        if greeting.clean {
            self.forget_session(cx, LinkIx::MAX);
            self.must_clean = true;
        }
        cx.coverage.hit("connects");
        let shard = cx.rng.below(cx.net.shards());
        let will = greeting.will;
        let link = cx.net.open(cx.now, self.ix, shard, greeting.clone());
        if let Some((publication, _)) = will {
            cx.ledger.publications[publication].link = link;
        }
        self.send_connect(cx, link, &greeting);
        self.line = Some(Line {
            link,
            open: false,
            inbox: Vec::new(),
            aliases_in: BTreeMap::new(),
            aliases_out: Vec::new(),
            server_alias_max: 0,
            busy: BTreeMap::new(),
            requests: BTreeMap::new(),
            owed: Vec::new(),
            resend: VecDeque::new(),
        });
    }

    /// Gives up a connection. It stays half open for the broker, and what is on its way there may still arrive.
    fn leave(&mut self, cx: &mut Context, link: LinkIx) {
        cx.net.links[link].abandoned = true;
        cx.net.links[link].down.clear();
    }

    /// Breaks connections whose CONNECT is still under way: it must not arrive after the next one, which would turn the
    /// client's doings round.
    fn forget_unanswered(&mut self, cx: &mut Context) {
        for link in 0..cx.net.links.len() {
            let entry = &cx.net.links[link];
            if entry.client == self.ix && entry.incarnation.is_none() && entry.at.is_some() {
                cx.net.cut(cx.now, link);
            }
        }
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self, cx: &mut Context) {
        if let Some(line) = self.line.take() {
            cx.net.links[line.link].abandoned = true;
            cx.coverage.hit("connections lost");
        }
    }

    fn greeting(&mut self, cx: &mut Context, calm: Option<bool>) -> Greeting {
        // A replay ends with its connection, and so does the Session of who looks back.
        let calm = if matches!(self.role, Role::LooksBack) { Some(true) } else { calm };
        let (rng, options) = (&mut cx.rng, &cx.options);
        let version = match rng.pick(options.versions) {
            3 => ProtocolVersion::V31,
            4 => ProtocolVersion::V311,
            _ => ProtocolVersion::V5,
        };
        let v5 = version.is_v5();
        let persistent = calm.map_or_else(|| self.persistent != rng.chance(2), |clean| !clean);
        let wanted = calm.unwrap_or_else(|| rng.chance(options.clean)) || (!v5 && !persistent);
        let clean = wanted || self.must_clean;
        // In 3.x one bit says both: a Session that begins clean also ends with its connection.
        let expiry = match (v5, persistent) {
            (true, true) if calm.is_some() => 3600,
            (true, true) => rng.pick(&[2, 8, 3600, 3600, u32::MAX]),
            (false, _) if !clean => u32::MAX,
            _ => 0,
        };
        let plain = self.is_plain() && calm.is_none();
        let limited = plain && v5 && rng.chance(options.packet_max);
        Greeting {
            version,
            clean,
            expiry: expiry.min(30 * 86_400),
            keep_alive: if calm.is_none() && rng.chance(options.keep_alive) {
                rng.pick(&[1, 2, 10])
            } else {
                0
            },
            receive_maximum: if v5 { rng.pick(&[1, 1, 2, 3, 10, u16::MAX]) } else { u16::MAX },
            packet_max: if limited { rng.pick(&[40, 60, 100, 300]) } else { u32::MAX },
            alias_max: if v5 { rng.pick(&[0, 0, 1, 3, 100]) } else { 0 },
            will: (plain && rng.chance(options.will)).then(|| self.make_will(cx, v5)),
        }
    }

    fn make_will(&self, cx: &mut Context, v5: bool) -> (usize, u32) {
        let rng = &mut cx.rng;
        let delay = if v5 { rng.pick(&[0, 0, 1, 4, 10]) } else { 0 };
        let retain = rng.chance(cx.options.retain);
        let (topic, qos) = (rng.pick(&cx.options.topics), rng.pick(&QOS));
        let payload = cx.ledger.payload(rng.between(8, 40));
        cx.ledger.publications.push(Publication {
            client: self.ix,
            topic,
            qos,
            retain,
            payload,
            link: 0,
            sent: cx.now,
            acked: None,
            resends: 0,
            expiry: None,
            will: true,
            fate: Fate::Never,
        });
        (cx.ledger.publications.len() - 1, delay)
    }

    fn send_connect(&self, cx: &mut Context, link: LinkIx, greeting: &Greeting) {
        let mut properties = PropertiesBuf::new();
        let mut will_properties = PropertiesBuf::new();
        if greeting.version.is_v5() {
            if greeting.expiry != 0 {
                properties.push(Property::SessionExpiryInterval(greeting.expiry));
            }
            if greeting.receive_maximum != u16::MAX {
                properties.push(Property::ReceiveMaximum(greeting.receive_maximum));
            }
            if greeting.packet_max != u32::MAX {
                properties.push(Property::MaximumPacketSize(greeting.packet_max));
            }
            if greeting.alias_max != 0 {
                properties.push(Property::TopicAliasMaximum(greeting.alias_max));
            }
        }
        let will =
            greeting.will.map(|(publication, delay)| (cx.ledger.publications[publication].clone(), delay));
        if let Some((_, delay)) = will.as_ref().filter(|(_, delay)| *delay > 0) {
            will_properties.push(Property::WillDelayInterval(*delay));
        }
        let packet = Packet::Connect(Connect {
            version: greeting.version,
            bridge: false,
            clean_start: greeting.clean,
            keep_alive: greeting.keep_alive,
            client_id: &self.id,
            will: will.as_ref().map(|(will, _)| Will {
                qos: will.qos,
                retain: will.retain,
                topic: will.topic,
                payload: &will.payload,
                properties: will_properties.as_properties(),
            }),
            user_name: cx.options.user_of(&self.id),
            password: cx.options.checked.then_some(b"secret"),
            properties: properties.as_properties(),
        });
        cx.send(link, &packet);
    }

    /// The client's part of the Session ends: what it had under way, but not on `link`, may have arrived or not.
    pub(crate) fn forget_session(&mut self, cx: &mut Context, link: LinkIx) {
        let before = self.flights.len();
        self.flights.retain(|flight| flight.link == link);
        cx.coverage.many("flights given up", (before - self.flights.len()) as u64);
        self.incoming.clear();
    }

    /// A Packet Identifier that is not in use.
    pub(crate) fn free_id(&mut self) -> PacketId {
        loop {
            let id = self.next_id;
            self.next_id = id.next();
            let asked = self.line.as_ref().is_some_and(|line| line.requests.contains_key(&id));
            if !asked && self.flights.iter().all(|flight| flight.id != id) {
                return id;
            }
        }
    }

    /// Publications on this connection that the broker has not answered for good.
    pub(crate) fn under_way(&self) -> usize {
        let link = self.line.as_ref().map_or(LinkIx::MAX, |line| line.link);
        self.flights.iter().filter(|flight| flight.link == link).count()
    }
}

pub(crate) const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
