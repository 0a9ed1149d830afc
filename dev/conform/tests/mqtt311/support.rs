//! Steps that many tests take. None of them asserts anything.

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Published,
    wire::{self, Connect, V311},
};
use cork_core::{AuthOutcome, Door};

/// Packet types: the high nibble of the first byte.
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const UNSUBSCRIBE: u8 = 10;
pub(crate) const UNSUBACK: u8 = 11;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const PINGRESP: u8 = 13;
pub(crate) const DISCONNECT: u8 = 14;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The first byte of a client's answer to a PUBLISH.
pub(crate) const ACK: u8 = 0x40;
pub(crate) const REC: u8 = 0x50;
pub(crate) const REL: u8 = 0x62;
pub(crate) const COMP: u8 = 0x70;

/// A packet of the broker, told apart by its type alone: wrong flags, lengths or codes are for the tests about them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Raw {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    /// The first two bytes: where all but CONNACK and PUBLISH have their Packet Identifier.
    pub(crate) fn id(&self) -> Option<u16> {
        self.body.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// The Packet Identifier of a PUBLISH with QoS 1 or 2.
    pub(crate) fn publish_id(&self) -> Option<u16> {
        let topic_len = usize::from(u16::from_be_bytes(*self.body.first_chunk()?));
        self.body.get(2 + topic_len..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn is_dup(&self) -> bool {
        self.flags & 0x08 != 0
    }
}

/// All packets the client got since it last looked.
pub(crate) fn raw(lab: &mut Lab, client: ClientIx) -> Vec<Raw> {
    let bytes = lab.bytes(client);
    let (mut rest, mut packets) = (bytes.as_slice(), Vec::new());
    while let Some(length) = wire::packet_length(rest) {
        let (packet, after) = rest.split_at(length);
        let header = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        packets.push(Raw {
            kind: packet[0] >> 4,
            flags: packet[0] & 0x0F,
            body: packet.get(header..).unwrap_or_default().to_vec(),
        });
        rest = after;
    }
    packets
}

/// Those of one type.
pub(crate) fn raw_of(lab: &mut Lab, client: ClientIx, kind: u8) -> Vec<Raw> {
    raw(lab, client).into_iter().filter(|packet| packet.kind == kind).collect()
}

/// The identifiers of the packets of one type.
pub(crate) fn ids_of(lab: &mut Lab, client: ClientIx, kind: u8) -> Vec<u16> {
    raw_of(lab, client, kind).iter().filter_map(Raw::id).collect()
}

/// Flags and code of the CONNACK, if one came.
pub(crate) fn connack(lab: &mut Lab, client: ClientIx) -> Option<(u8, u8)> {
    let ack = raw_of(lab, client, CONNACK).into_iter().next()?;
    Some((*ack.body.first()?, *ack.body.get(1)?))
}

/// Opens a connection and sends the bytes as its first ones; the answer stays in the inbox.
pub(crate) fn open_with(lab: &mut Lab, bytes: &[u8]) -> ClientIx {
    let client = lab.open(V311);
    lab.send(client, bytes);
    client
}

/// Whether a fresh connection is closed after these first bytes.
pub(crate) fn closes_at_connect(bytes: &[u8]) -> bool {
    let mut lab = Lab::new();
    let client = open_with(&mut lab, bytes);
    lab.is_closed(client)
}

/// Whether the connection of a client that is in is closed after these bytes.
pub(crate) fn closes_on(bytes: &[u8]) -> bool {
    let mut lab = Lab::new();
    let client = lab.connect(V311, "a");
    lab.send(client, bytes);
    lab.is_closed(client)
}

/// Connects a client of that name and subscribes.
pub(crate) fn subscriber(lab: &mut Lab, name: &str, filter: &str, qos: u8) -> ClientIx {
    let client = lab.connect(V311, name);
    subscribe(lab, client, filter, qos);
    client
}

/// The same with a Session that stays.
pub(crate) fn persistent_subscriber(lab: &mut Lab, name: &str, filter: &str, qos: u8) -> ClientIx {
    let client = persistent(lab, name);
    subscribe(lab, client, filter, qos);
    client
}

/// Subscribes to one filter; what comes of it (SUBACK, retained messages) is dropped.
pub(crate) fn subscribe(lab: &mut Lab, client: ClientIx, filter: &str, qos: u8) {
    lab.send(client, &wire::subscribe(V311, 99, &[(filter, qos)]));
    lab.bytes(client);
}

/// Connects with CleanSession 0.
pub(crate) fn persistent(lab: &mut Lab, name: &str) -> ClientIx {
    lab.connect_with(V311, &Connect::persistent(V311, name))
}

/// A PUBLISH without DUP and RETAIN, with a Packet Identifier if it needs one.
pub(crate) fn message(qos: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    wire::publish(V311, qos << 1, topic, (qos > 0).then_some(7), payload)
}

/// A PUBLISH with RETAIN.
pub(crate) fn retained(qos: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    wire::publish(V311, qos << 1 | 1, topic, (qos > 0).then_some(7), payload)
}

/// Sends a PUBLISH of [`message`] or [`retained`], and releases its identifier should it have QoS 2.
pub(crate) fn publish(lab: &mut Lab, client: ClientIx, packet: &[u8]) {
    lab.send(client, packet);
    lab.send(client, &wire::ack(REL, 7));
}

/// A client named by the payload publishes a message; a QoS 2 one is released too.
pub(crate) fn publish_once(lab: &mut Lab, qos: u8, topic: &str, payload: &[u8]) {
    let name = format!("publisher of {}", String::from_utf8_lossy(payload));
    let client = lab.connect(V311, &name);
    publish(lab, client, &message(qos, topic, payload));
}

/// What somebody gets who subscribes now, with QoS 2.
pub(crate) fn newcomer(lab: &mut Lab, filter: &str) -> Vec<Published> {
    let client = lab.connect(V311, "newcomer");
    lab.send(client, &wire::subscribe(V311, 1, &[(filter, 2)]));
    let got = lab.publishes(client);
    lab.send(client, &wire::disconnect());
    got
}

/// Whether one of the messages has this payload.
pub(crate) fn has(messages: &[Published], payload: &[u8]) -> bool {
    messages.iter().any(|message| message.payload == payload)
}

/// A lab that lets in whoever has the password `good`.
pub(crate) fn guarded() -> Lab {
    let mut lab = Lab::with(|config| config.door = Door::Checked);
    lab.on_authenticate(|credentials| match credentials.password.as_deref() {
        Some(b"good") => AuthOutcome::Allowed { user: None, data: None },
        _ => AuthOutcome::Denied { user: None },
    });
    lab
}

/// A CONNECT with user name and password.
pub(crate) fn with_password(connect: Connect, password: &[u8]) -> Connect {
    Connect { user: Some("ann".to_owned()), password: Some(password.to_vec()), ..connect }
}

/// The CONNECT of a client with a clean session and these connect flags; the payload is given as it is.
pub(crate) fn connect_bytes(flags: u8, payload: &[Vec<u8>]) -> Vec<u8> {
    let head = [wire::string("MQTT"), vec![4, flags, 0, 0]].concat();
    wire::packet(0x10, &[head, payload.concat()].concat())
}

/// Matching as section 4.7 describes it.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// The rights: everybody may do everything, except what concerns this topic.
pub(crate) fn forbid(topic: &str) -> std::sync::Arc<cork_access::Acl> {
    let rule = cork_access::Rule {
        who: cork_access::Who::Everybody,
        actions: cork_access::Actions::BOTH,
        allow: false,
        topic: topic.to_owned(),
        source: "test".to_owned(),
    };
    std::sync::Arc::new(cork_access::Acl::from_rules(vec![rule], true).expect("a plain topic is a filter"))
}
