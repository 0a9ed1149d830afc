//! Steps that many tests take. None of them asserts anything about the broker.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use cork_access::{Acl, Actions, Rule, Who};
use cork_conform::{
    Ack, ClientIx, Lab, Props, Published, Received,
    wire::{self, Connect, V5},
};

pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

/// Property Identifiers the tests look for.
pub(crate) const SESSION_EXPIRY: u8 = 0x11;
pub(crate) const AUTH_METHOD: u8 = 0x15;
pub(crate) const REASON_STRING: u8 = 0x1F;
pub(crate) const USER_PROPERTY: u8 = 0x26;

/// Rights with the given denials; everything else is allowed.
pub(crate) fn deny(denied: &[(Actions, &str)]) -> Arc<Acl> {
    let rules = denied.iter().map(|(actions, topic)| Rule {
        who: Who::Everybody,
        actions: *actions,
        allow: false,
        topic: (*topic).to_owned(),
        source: "lab:1".to_owned(),
    });
    Arc::new(Acl::from_rules(rules.collect(), true).expect("the filters of the tests are well-formed"))
}

/// Connects with raw CONNECT properties added to a clean session.
pub(crate) fn connect_props(lab: &mut Lab, client_id: &str, properties: &[u8]) -> ClientIx {
    let connect = Connect { properties: properties.to_vec(), ..Connect::new(V5, client_id) };
    lab.connect_with(V5, &connect)
}

/// Connects with a Maximum Packet Size.
pub(crate) fn connect_sized(lab: &mut Lab, client_id: &str, maximum: u32) -> ClientIx {
    connect_props(lab, client_id, &[&[0x27][..], &maximum.to_be_bytes()].concat())
}

/// Connects (or comes back) to a Session that stays for an hour, with raw CONNECT properties added.
pub(crate) fn resume_with(lab: &mut Lab, client_id: &str, properties: &[u8]) -> ClientIx {
    let mut connect = Connect::persistent(V5, client_id);
    connect.properties.extend(properties);
    lab.connect_with(V5, &connect)
}

/// Connects (or comes back) to a Session that stays for an hour.
pub(crate) fn resume(lab: &mut Lab, client_id: &str) -> ClientIx {
    resume_with(lab, client_id, &[])
}

/// The Receive Maximum property.
pub(crate) fn receive_maximum(maximum: u16) -> Vec<u8> {
    [&[0x21][..], &maximum.to_be_bytes()].concat()
}

/// Subscribes to one filter and drops everything that comes of it.
pub(crate) fn subscribe(lab: &mut Lab, client: ClientIx, filter: &str, options: u8) {
    lab.send(client, &wire::subscribe(V5, 100, &[(filter, options)]));
    lab.bytes(client);
}

/// Publishes without properties. `id` is ignored at QoS 0.
pub(crate) fn publish(lab: &mut Lab, client: ClientIx, topic: &str, qos: u8, id: u16, payload: &[u8]) {
    lab.send(client, &wire::publish(V5, qos << 1, topic, (qos > 0).then_some(id), payload));
}

/// Publishes and, at QoS 2, releases; drops what the publisher is answered. The Packet Identifier is a fresh one: that
/// an old one may be used again is for others to prove.
pub(crate) fn publish_done(lab: &mut Lab, client: ClientIx, topic: &str, qos: u8, payload: &[u8]) {
    static LAST: AtomicU16 = AtomicU16::new(0);
    let id = LAST.fetch_add(1, Ordering::Relaxed).max(1);
    publish(lab, client, topic, qos, id, payload);
    if qos == 2 {
        lab.send(client, &wire::ack(PUBREL, id));
    }
    lab.bytes(client);
}

/// A retained message by a client that leaves again.
pub(crate) fn retain(lab: &mut Lab, topic: &str, qos: u8, payload: &[u8]) {
    let client = lab.connect(V5, "retainer");
    lab.send(client, &wire::publish(V5, 1 | qos << 1, topic, (qos > 0).then_some(1), payload));
    if qos == 2 {
        lab.send(client, &wire::ack(PUBREL, 1));
    }
    lab.send(client, &wire::disconnect());
}

/// The acknowledgements of one kind.
pub(crate) fn acks_of(lab: &mut Lab, client: ClientIx, first: u8) -> Vec<Ack> {
    lab.acks(client).into_iter().filter(|ack| ack.first == first).collect()
}

/// Identifier and codes of each SUBACK.
pub(crate) fn subacks(lab: &mut Lab, client: ClientIx) -> Vec<(u16, Vec<u8>)> {
    let codes = |packet| match packet {
        Received::SubAck { id, codes, .. } => Some((id, codes)),
        _ => None,
    };
    lab.packets(client).into_iter().filter_map(codes).collect()
}

/// Identifier and codes of each UNSUBACK.
pub(crate) fn unsubacks(lab: &mut Lab, client: ClientIx) -> Vec<(u16, Vec<u8>)> {
    let codes = |packet| match packet {
        Received::UnsubAck { id, codes, .. } => Some((id, codes)),
        _ => None,
    };
    lab.packets(client).into_iter().filter_map(codes).collect()
}

/// The Reason Code of the DISCONNECT, if one came.
pub(crate) fn disconnect_code(lab: &mut Lab, client: ClientIx) -> Option<u8> {
    lab.packets(client).into_iter().find_map(|packet| match packet {
        Received::Disconnect { reason, .. } => Some(reason),
        _ => None,
    })
}

/// Whether the broker took the last packet for malformed: the connection is closed, with no other reason given.
pub(crate) fn was_malformed(lab: &mut Lab, client: ClientIx) -> bool {
    lab.is_closed(client) && matches!(disconnect_code(lab, client), None | Some(0x81))
}

/// The properties of a packet that is not PUBLISH.
pub(crate) fn props_of(packet: &Received) -> Props {
    match packet {
        Received::ConnAck { props, .. }
        | Received::SubAck { props, .. }
        | Received::UnsubAck { props, .. }
        | Received::Disconnect { props, .. }
        | Received::Auth { props, .. } => props.clone(),
        Received::Ack(ack) => ack.props.clone(),
        Received::Publish(_) | Received::PingResp | Received::Unknown(_) => Props::default(),
    }
}

/// Whether the broker granted the filter: a SUBACK came and says so.
pub(crate) fn is_granted(filter: &[u8]) -> bool {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    let body = [&[0, 1, 0][..], &wire::string(filter), &[0]].concat();
    lab.send(client, &wire::packet(0x82, &body));
    subacks(&mut lab, client).iter().any(|(_, codes)| codes.iter().any(|code| *code < 0x80))
}

/// The Packet Identifier of a publication above QoS 0.
pub(crate) fn id_of(publish: &Published) -> u16 {
    publish.id.expect("a publication above QoS 0 has one")
}

/// Answers a publication as its QoS wants, without looking at what comes back.
pub(crate) fn take(lab: &mut Lab, client: ClientIx, publish: &Published) {
    let Some(id) = publish.id else { return };
    if publish.qos == 1 {
        lab.send(client, &wire::ack(PUBACK, id));
    } else {
        lab.send(client, &wire::ack(PUBREC, id));
        lab.send(client, &wire::ack(PUBCOMP, id));
    }
}

/// Answers everything until nothing more comes; returns it in order.
pub(crate) fn take_all(lab: &mut Lab, client: ClientIx) -> Vec<Published> {
    let mut taken = Vec::new();
    loop {
        let publishes = lab.publishes(client);
        if publishes.is_empty() {
            return taken;
        }
        for publish in &publishes {
            take(lab, client, publish);
        }
        taken.extend(publishes);
    }
}
