//! Steps and properties that the tests share. A step asserts nothing.

use std::time::Duration;

use cork_access::Acl;
use cork_conform::{
    ClientIx, Lab, Published, Received,
    wire::{self, Connect, V5},
};
use cork_core::{AuthOutcome, Door, Event};
use cork_store::{Message, Record};

pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
pub(crate) const CONTENT_TYPE: u8 = 0x03;
pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
pub(crate) const CORRELATION_DATA: u8 = 0x09;
pub(crate) const SUBSCRIPTION_ID: u8 = 0x0B;
pub(crate) const SESSION_EXPIRY: u8 = 0x11;
pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(crate) const AUTH_METHOD: u8 = 0x15;
pub(crate) const AUTH_DATA: u8 = 0x16;
pub(crate) const REQUEST_PROBLEM_INFO: u8 = 0x17;
pub(crate) const WILL_DELAY: u8 = 0x18;
pub(crate) const REQUEST_RESPONSE_INFO: u8 = 0x19;
pub(crate) const RESPONSE_INFO: u8 = 0x1A;
pub(crate) const REASON_STRING: u8 = 0x1F;
pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(crate) const TOPIC_ALIAS: u8 = 0x23;
pub(crate) const MAXIMUM_QOS: u8 = 0x24;
pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
pub(crate) const USER_PROPERTY: u8 = 0x26;
pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// Byte strings that are not UTF-8: surrogates, overlong forms, beyond U+10FFFF, cut short, stray bytes.
pub(crate) const NOT_UTF8: [&[u8]; 8] = [
    &[0xED, 0xA0, 0x80],
    &[0xED, 0xBF, 0xBF],
    &[0xC0, 0xAF],
    &[0xE0, 0x80, 0x80],
    &[0xF4, 0x90, 0x80, 0x80],
    &[0xC3],
    &[0x80],
    &[b'a', 0xFF],
];

/// A one-byte property.
pub(crate) fn byte(id: u8, value: u8) -> Vec<u8> {
    vec![id, value]
}

/// A two-byte property.
pub(crate) fn short(id: u8, value: u16) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

/// A four-byte property.
pub(crate) fn long(id: u8, value: u32) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

/// A property that is a string, or binary data.
pub(crate) fn text(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[id][..], &wire::string(value)].concat()
}

/// A User Property.
pub(crate) fn pair(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[USER_PROPERTY][..], &wire::string(name), &wire::string(value)].concat()
}

/// A Subscription Identifier.
pub(crate) fn sub_id(value: usize) -> Vec<u8> {
    [&[SUBSCRIPTION_ID][..], &wire::varint(value)].concat()
}

/// Clean Start, Session Expiry Interval 0.
pub(crate) fn fresh(client_id: &str) -> Connect {
    Connect::new(V5, client_id)
}

/// Clean Start with these properties.
pub(crate) fn with(client_id: &str, properties: &[u8]) -> Connect {
    Connect { properties: properties.to_vec(), ..fresh(client_id) }
}

/// No Clean Start, and a Session that lives for `seconds`.
pub(crate) fn durable(client_id: &str, seconds: u32) -> Connect {
    Connect { clean: false, ..with(client_id, &long(SESSION_EXPIRY, seconds)) }
}

/// Clean Start, and a Session that lives for `seconds`.
pub(crate) fn lasting(client_id: &str, seconds: u32) -> Connect {
    Connect { clean: true, ..durable(client_id, seconds) }
}

/// [`durable`] with more properties.
pub(crate) fn durable_with(client_id: &str, seconds: u32, properties: &[u8]) -> Connect {
    let mut connect = durable(client_id, seconds);
    connect.properties.extend_from_slice(properties);
    connect
}

/// A CONNECT of which everything is said: flags, properties, and the fields of the payload as they stand in a row.
pub(crate) fn connect_raw(flags: u8, properties: &[u8], fields: &[Vec<u8>]) -> Vec<u8> {
    let mut body = wire::string("MQTT");
    body.extend([V5, flags, 0, 0]);
    body.extend(wire::properties(properties));
    body.extend(fields.concat());
    wire::packet(0x10, &body)
}

/// Seconds go by.
pub(crate) fn wait(lab: &mut Lab, seconds: u64) {
    lab.advance(Duration::from_secs(seconds));
}

/// Opens a connection and connects; returns the CONNACK, if the first answer is one.
pub(crate) fn connack(lab: &mut Lab, connect: &Connect) -> (ClientIx, Option<Received>) {
    let client = lab.open(V5);
    lab.send(client, &connect.bytes());
    let first = lab.take_one(client).filter(|packet| matches!(packet, Received::ConnAck { .. }));
    (client, first)
}

/// Whether a new broker refuses this as a first packet: there is no CONNACK that says success. That it closes then is a
/// statement of its own.
pub(crate) fn refuses(first_packet: &[u8]) -> bool {
    let mut lab = Lab::new();
    let client = lab.open(V5);
    lab.send(client, first_packet);
    !lab.packets(client).iter().any(|packet| matches!(packet, Received::ConnAck { code: 0, .. }))
}

/// Whether a new broker refuses this as a first packet, and closes.
pub(crate) fn refuses_and_closes(first_packet: &[u8]) -> bool {
    let mut lab = Lab::new();
    let client = lab.open(V5);
    lab.send(client, first_packet);
    lab.is_closed(client) && refuses(first_packet)
}

/// The code of the CONNACK, and else of the DISCONNECT, that a new broker answers a first packet with.
pub(crate) fn refusal_code(first_packet: &[u8]) -> Option<u8> {
    let mut lab = Lab::new();
    let client = lab.open(V5);
    lab.send(client, first_packet);
    lab.packets(client).into_iter().find_map(|packet| match packet {
        Received::ConnAck { code, .. } => Some(code),
        Received::Disconnect { reason, .. } => Some(reason),
        _ => None,
    })
}

/// Whether a broker ends the connection of a client that sends this.
pub(crate) fn closes(packet: &[u8]) -> bool {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "client");
    lab.send(client, packet);
    lab.is_closed(client)
}

/// The reason of the DISCONNECT that a connected client gets for this.
pub(crate) fn disconnect_code(packet: &[u8]) -> Option<u8> {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "client");
    lab.send(client, packet);
    disconnect_reason(&mut lab, client)
}

/// The reason of the DISCONNECT that came.
pub(crate) fn disconnect_reason(lab: &mut Lab, client: ClientIx) -> Option<u8> {
    lab.packets(client).into_iter().find_map(|packet| match packet {
        Received::Disconnect { reason, .. } => Some(reason),
        _ => None,
    })
}

/// A PUBACK with a Reason String: a string that is nothing but a string.
pub(crate) fn puback_with_reason_string(string: &[u8]) -> Vec<u8> {
    let properties = wire::properties(&text(REASON_STRING, string));
    wire::packet(0x40, &[&[0, 1, 0x00][..], &properties].concat())
}

/// Whether `part` is `whole` with some items left out: what there is has kept its order.
pub(crate) fn keeps_order(part: &[&[u8]], whole: &[Vec<u8>]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|item| rest.any(|other| other == item))
}

/// A client subscribes one filter; the SUBACK stays in its inbox.
pub(crate) fn subscribe(lab: &mut Lab, client: ClientIx, filter: &str, options: u8) {
    lab.send(client, &wire::subscribe(V5, 1, &[(filter, options)]));
}

/// A client publishes; the whole QoS 2 flow, if it is one. `flags` as in [`wire::publish`].
pub(crate) fn publish(lab: &mut Lab, client: ClientIx, flags: u8, topic: &str, payload: &[u8]) {
    publish_with(lab, client, flags, topic, &[], payload);
}

/// The same with properties.
pub(crate) fn publish_with(
    lab: &mut Lab,
    client: ClientIx,
    flags: u8,
    topic: &str,
    props: &[u8],
    payload: &[u8],
) {
    let qos = (flags >> 1) & 3;
    lab.send(client, &wire::publish_with(V5, flags, topic, (qos > 0).then_some(1), props, payload));
    if qos == 2 {
        lab.send(client, &wire::ack(0x62, 1));
    }
}

/// One message with these properties on its way from one client to another that subscribed to everything.
pub(crate) fn forwarded(props: &[u8]) -> Vec<Published> {
    let mut lab = Lab::new();
    let receiver = lab.connect(V5, "receiver");
    subscribe(&mut lab, receiver, "#", 1);
    let sender = lab.connect(V5, "sender");
    publish_with(&mut lab, sender, 0x02, "topic", props, b"text");
    lab.publishes(receiver)
}

/// Acknowledges a publication for good.
pub(crate) fn take(lab: &mut Lab, client: ClientIx, publish: &Published) {
    let Some(id) = publish.id else { return };
    if publish.qos == 1 {
        lab.send(client, &wire::ack(0x40, id));
    } else {
        lab.send(client, &wire::ack(0x50, id));
        lab.send(client, &wire::ack(0x70, id));
    }
}

/// What a new client that subscribes `filter` gets.
pub(crate) fn retained(lab: &mut Lab, filter: &str) -> Vec<Published> {
    let late = lab.connect(V5, "late");
    subscribe(lab, late, filter, 2);
    lab.publishes(late)
}

/// The Wills that were put into the store, in order.
pub(crate) fn stored_wills(lab: &Lab) -> Vec<&Message> {
    let records = lab.stored.iter().flat_map(|(_, records)| records);
    records
        .filter_map(|record| match record {
            Record::WillArmed { will, .. } => Some(&*will.message),
            _ => None,
        })
        .collect()
}

/// Client Identifiers of those that were let in, in order.
pub(crate) fn let_in(lab: &Lab) -> Vec<String> {
    let ids = lab.events.iter().filter_map(|event| match event {
        Event::Connected { client_id, .. } => Some(client_id.to_string()),
        _ => None,
    });
    ids.collect()
}

/// A broker that asks everybody for the password `pw`.
pub(crate) fn checked_lab() -> Lab {
    let mut lab = Lab::with(|config| config.door = Door::Checked);
    lab.on_authenticate(|credentials| match credentials.password.as_deref() {
        Some(b"pw") => AuthOutcome::Allowed { user: None, data: None },
        _ => AuthOutcome::Denied { user: None },
    });
    lab
}

/// The CONNECT of a user of [`checked_lab`].
pub(crate) fn user(client_id: &str, name: &str, password: &str) -> Connect {
    let password = Some(password.as_bytes().to_vec());
    Connect { user: Some(name.to_owned()), password, ..durable(client_id, 100) }
}

/// Nobody may do anything from now on.
pub(crate) fn forbid_all(lab: &mut Lab) {
    let nothing = Acl::from_rules(Vec::new(), false).expect("no rule, nothing wrong with it");
    lab.set_rights(&nothing.into());
}

/// CONNECTs that are refused, each with the broker that refuses it: it has a Session for `client` already.
pub(crate) fn refused_connects() -> Vec<(&'static str, Lab, Vec<u8>)> {
    let ready = || {
        let mut lab = checked_lab();
        let client = lab.connect_with(V5, &user("client", "ann", "pw"));
        lab.cut(client);
        lab
    };
    let mut forbidding = ready();
    forbid_all(&mut forbidding);
    let mut draining = ready();
    draining.drain();
    let ann = user("client", "ann", "pw");
    let mut method = ann.clone();
    method.properties.extend(text(AUTH_METHOD, "no such method"));
    let mut malformed = ann.clone();
    malformed.properties.extend(text(CONTENT_TYPE, "a"));
    let mut twice = ann.clone();
    twice.properties.extend(long(SESSION_EXPIRY, 1));
    vec![
        ("wrong password", ready(), user("client", "ann", "no").bytes()),
        ("another user's Session", ready(), user("client", "bob", "pw").bytes()),
        ("unknown method", ready(), method.bytes()),
        ("property of another packet", ready(), malformed.bytes()),
        ("property twice", ready(), twice.bytes()),
        ("forbidden Will", forbidding, ann.clone().with_will("w", b"").bytes()),
        ("end of the broker", draining, ann.bytes()),
    ]
}
