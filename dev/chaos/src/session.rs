//! A client's end of the protocol: what it must remember across connections, and how it takes up where it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use cork_packet::{
    Ack, Connect, Disconnect, Packet, PacketId, PropertiesBuf, Property, ProtocolVersion, Publish, QoS,
    ReasonCode, Receiver, SubscribeBuf, SubscriptionOptions, UnsubscribeBuf, Will, decode,
};

use crate::link::Link;

/// What the application of a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// CONNACK that lets it in.
    Open { present: bool },
    /// CONNACK that does not.
    Denied,
    /// A message, once for each QoS 2 delivery.
    Message { topic: String, payload: Vec<u8>, qos: QoS, retain: bool },
    /// PUBACK or PUBREC: from now on the broker answers for the publication with this number.
    Taken(usize),
    /// PUBACK or PUBREC with an error.
    Refused(usize, ReasonCode),
    /// PUBACK or PUBCOMP: the last one.
    Done(usize),
    /// SUBACK, UNSUBACK for the request with this number, with the codes.
    Answered(usize, Vec<u8>),
    /// PINGRESP.
    Pong,
    /// The connection is over.
    Closed,
    /// The broker broke the protocol.
    Broken(String),
}

/// How to connect.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) persistent: bool,
    pub(crate) keep_alive: u16,
    /// Topic, payload, QoS.
    pub(crate) will: Option<(String, Vec<u8>, QoS)>,
}

/// A message to publish.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// The caller's number for it.
    pub(crate) number: usize,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

#[derive(Clone, Debug)]
struct Flight {
    id: PacketId,
    message: Outgoing,
    /// PUBREC came.
    released: bool,
}

#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    version: ProtocolVersion,
    link: Option<Link>,
    open: bool,
    flights: Vec<Flight>,
    /// QoS 2 identifiers taken and not released.
    received: BTreeSet<PacketId>,
    requests: BTreeMap<PacketId, usize>,
    next_id: PacketId,
    /// Since when every packet is told on standard error; for whoever looks for a cause.
    tells: Option<Instant>,
}

/// Seconds a persistent Session outlives its connection.
const EXPIRY: u32 = 7200;

impl Session {
    pub(crate) fn new(id: String, version: ProtocolVersion) -> Self {
        Self {
            id,
            version,
            link: None,
            open: false,
            flights: Vec::new(),
            received: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_id: PacketId::FIRST,
            tells: None,
        }
    }

    pub(crate) fn tell(&mut self, since: Instant) {
        self.tells = Some(since);
    }

    fn told(&self, way: &str, packet: &Packet<'_>) {
        let Some(since) = self.tells else { return };
        let what = match packet {
            Packet::Publish(publish) => {
                let text = String::from_utf8_lossy(&publish.payload[..publish.payload.len().min(12)]);
                let (id, topic) = (publish.packet_id, publish.topic);
                format!("PUBLISH {id:?} {:?} dup {} {topic} {text}", publish.qos, publish.dup)
            }
            Packet::Connect(_) => "CONNECT".to_owned(),
            other => format!("{other:?}"),
        };
        eprintln!("{:9.4} {} {way} {what}", since.elapsed().as_secs_f64(), self.id);
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Whether CONNACK has come.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Publications that are not answered for good.
    pub(crate) fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// Opens a connection and sends CONNECT; an earlier one is left without a word.
    pub(crate) fn connect(&mut self, port: u16, hello: &Hello) -> bool {
        self.cut();
        let Ok(mut link) = Link::open(port) else { return false };
        let v5 = self.version.is_v5();
        let mut properties = PropertiesBuf::new();
        if v5 && hello.persistent {
            properties.push(Property::SessionExpiryInterval(EXPIRY));
        }
        let nothing = PropertiesBuf::new();
        let packet = Packet::Connect(Connect {
            version: self.version,
            bridge: false,
            clean_start: !hello.persistent,
            keep_alive: hello.keep_alive,
            client_id: &self.id,
            will: hello.will.as_ref().map(|(topic, payload, qos)| Will {
                qos: *qos,
                retain: false,
                topic,
                payload,
                properties: nothing.as_properties(),
            }),
            user_name: None,
            password: None,
            properties: properties.as_properties(),
        });
        self.told(">", &packet);
        link.send(self.version, &packet);
        let alive = link.pump();
        self.link = alive.then_some(link);
        alive
    }

    /// Drops the connection without a word.
    pub(crate) fn cut(&mut self) {
        self.link = None;
        self.open = false;
        self.requests.clear();
    }

    /// Says goodbye; the connection stays until the broker closes it.
    pub(crate) fn disconnect(&mut self, reason: ReasonCode) {
        let nothing = PropertiesBuf::new();
        self.send(&Packet::Disconnect(Disconnect { reason, properties: nothing.as_properties() }));
        self.open = false;
        if let Some(link) = &mut self.link {
            link.pump();
        }
    }

    pub(crate) fn publish(&mut self, message: Outgoing) {
        if message.qos == QoS::AtMostOnce {
            return self.send_publish(None, &message, false);
        }
        let id = self.free_id();
        self.send_publish(Some(id), &message, false);
        self.flights.push(Flight { id, message, released: false });
    }

    /// Subscribes; the answer comes as [`Event::Answered`] with `number`.
    pub(crate) fn subscribe(&mut self, number: usize, filter: &str, qos: QoS) {
        let id = self.free_id();
        let mut filters = SubscribeBuf::new();
        filters.push(filter, SubscriptionOptions::with_qos(qos)).expect("a short filter");
        let nothing = PropertiesBuf::new();
        self.send(&Packet::Subscribe(filters.subscribe(id, nothing.as_properties())));
        self.requests.insert(id, number);
    }

    pub(crate) fn unsubscribe(&mut self, number: usize, filter: &str) {
        let id = self.free_id();
        let mut filters = UnsubscribeBuf::new();
        filters.push(filter).expect("a short filter");
        let nothing = PropertiesBuf::new();
        self.send(&Packet::Unsubscribe(filters.unsubscribe(id, nothing.as_properties())));
        self.requests.insert(id, number);
    }

    pub(crate) fn ping(&mut self) {
        self.send(&Packet::PingReq);
    }

    /// Moves bytes both ways and tells what came of it.
    pub(crate) fn pump(&mut self) -> Vec<Event> {
        let Some(link) = &mut self.link else { return Vec::new() };
        let alive = link.pump();
        let mut events = Vec::new();
        let packets = link.packets().unwrap_or_else(|wrong| {
            events.push(Event::Broken(wrong));
            Vec::new()
        });
        for bytes in packets {
            match decode(self.version, Receiver::Client, &bytes) {
                Ok(packet) => self.on_packet(&packet, &mut events),
                Err(error) => events.push(Event::Broken(format!("{bytes:02x?}: {error}"))),
            }
        }
        if let Some(link) = self.link.as_mut().filter(|_| alive) {
            link.pump();
        } else {
            if let Some(since) = self.tells {
                eprintln!("{:9.4} {} is disconnected", since.elapsed().as_secs_f64(), self.id);
            }
            self.cut();
            events.push(Event::Closed);
        }
        events
    }

    fn on_packet(&mut self, packet: &Packet<'_>, events: &mut Vec<Event>) {
        self.told("<", packet);
        match *packet {
            Packet::ConnAck(ack) if ack.code == 0 => {
                self.open = true;
                events.push(Event::Open { present: ack.session_present });
                self.take_up(ack.session_present);
            }
            Packet::ConnAck(_) => events.push(Event::Denied),
            Packet::Publish(publish) => self.on_publish(&publish, events),
            Packet::PubAck(ack) | Packet::PubRec(ack) if ack.reason.is_error() => {
                if let Some(flight) = self.end(ack.packet_id) {
                    events.push(Event::Refused(flight.message.number, ack.reason));
                }
            }
            Packet::PubAck(ack) => {
                if let Some(flight) = self.end(ack.packet_id) {
                    events.extend([Event::Taken(flight.message.number), Event::Done(flight.message.number)]);
                } else {
                    events.push(Event::Broken(format!("PUBACK {} for nothing", ack.packet_id.get())));
                }
            }
            Packet::PubRec(ack) => self.on_pubrec(ack.packet_id, events),
            Packet::PubComp(ack) => {
                if let Some(flight) = self.end(ack.packet_id) {
                    events.push(Event::Done(flight.message.number));
                }
            }
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_id);
                self.send(&Packet::PubComp(Ack::success(ack.packet_id)));
            }
            Packet::SubAck(ack) => self.answered(ack.packet_id, ack.codes, events),
            Packet::UnsubAck(ack) => self.answered(ack.packet_id, &[], events),
            Packet::PingResp => events.push(Event::Pong),
            Packet::Disconnect(_) => {}
            ref other => events.push(Event::Broken(format!("unexpected {other:?}"))),
        }
    }

    fn on_publish(&mut self, publish: &Publish<'_>, events: &mut Vec<Event>) {
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.send(&Packet::PubAck(Ack::success(id))),
            (QoS::ExactlyOnce, Some(id)) => {
                self.send(&Packet::PubRec(Ack::success(id)));
                // 3.1.1 section 4.3.3: until its PUBREL this is the same message again.
                if !self.received.insert(id) {
                    return;
                }
            }
            _ => {}
        }
        events.push(Event::Message {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
        });
    }

    fn on_pubrec(&mut self, id: PacketId, events: &mut Vec<Event>) {
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id) {
            flight.released = true;
            events.push(Event::Taken(flight.message.number));
        }
        self.send(&Packet::PubRel(Ack::success(id)));
    }

    fn answered(&mut self, id: PacketId, codes: &[u8], events: &mut Vec<Event>) {
        if let Some(number) = self.requests.remove(&id) {
            events.push(Event::Answered(number, codes.to_vec()));
        }
    }

    /// Sends again what is under way, in order; without a Session there nothing is under way any more.
    fn take_up(&mut self, present: bool) {
        if !present {
            self.flights.clear();
            self.received.clear();
            return;
        }
        for flight in self.flights.clone() {
            if flight.released {
                self.send(&Packet::PubRel(Ack::success(flight.id)));
            } else {
                self.send_publish(Some(flight.id), &flight.message, true);
            }
        }
    }

    fn end(&mut self, id: PacketId) -> Option<Flight> {
        let at = self.flights.iter().position(|flight| flight.id == id)?;
        Some(self.flights.remove(at))
    }

    fn send_publish(&mut self, packet_id: Option<PacketId>, message: &Outgoing, dup: bool) {
        let nothing = PropertiesBuf::new();
        self.send(&Packet::Publish(Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic: &message.topic,
            packet_id,
            properties: nothing.as_properties(),
            payload: &message.payload,
        }));
    }

    fn send(&mut self, packet: &Packet<'_>) {
        self.told(">", packet);
        if let Some(link) = &mut self.link {
            link.send(self.version, packet);
        }
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            let id = self.next_id;
            self.next_id = id.next();
            if !self.requests.contains_key(&id) && self.flights.iter().all(|flight| flight.id != id) {
                return id;
            }
        }
    }
}
