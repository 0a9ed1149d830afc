//! Errors in general (section 4.8) and what it means to conform (section 7).

use cork_conform::{
    Lab,
    wire::{self, Connect, V311},
};

use crate::support::{closes_at_connect, closes_on, message, open_with, raw, subscriber};

#[test]
fn mqtt311_4_8_0_1_a_protocol_violation_closes_its_connection() {
    // Those that no other statement speaks of.
    let violations = [
        ("CONNACK", vec![0x20, 2, 0, 0]),
        ("SUBACK", vec![0x90, 3, 0, 1, 0]),
        ("UNSUBACK", vec![0xB0, 2, 0, 1]),
        ("PINGRESP", vec![0xD0, 0]),
        ("packet type 0", vec![0x00, 0]),
        ("packet type 15", vec![0xF0, 0]),
        ("Remaining Length of five bytes", vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ("PINGREQ with a payload", vec![0xC0, 1, 0]),
        ("PUBACK without identifier", vec![0x40, 0]),
        ("PUBREC with half an identifier", vec![0x50, 1, 0]),
        ("PUBACK with more than an identifier", vec![0x40, 3, 0, 1, 0]),
        ("PUBCOMP with more than an identifier", vec![0x70, 4, 0, 1, 0, 0]),
        ("PUBLISH that ends inside its identifier", wire::packet(0x32, &[0, 1, b't', 0])),
        ("SUBSCRIBE without QoS", wire::packet(0x82, &[0, 1, 0, 1, b't'])),
    ];
    for (what, packet) in violations {
        assert!(closes_on(&packet), "{what}");
        // Only this connection.
        let mut lab = Lab::new();
        let other = lab.connect(V311, "other");
        let client = lab.connect(V311, "a");
        lab.send(client, &packet);
        assert!(!lab.is_closed(other), "{what}");
    }
}

#[test]
fn mqtt311_4_8_0_2_an_error_while_processing_closes_the_connection() {
    // The receive buffer has no room for a packet: its connection is closed, the others go on.
    let mut lab = Lab::with(|config| config.limits.packet_bytes_max = 1000);
    let other = lab.connect(V311, "other");
    for qos in 0..3 {
        let client = lab.connect(V311, "a");
        lab.send(client, &message(qos, "t", &[b'x'; 900]));
        assert!(!lab.is_closed(client));
        lab.send(client, &message(qos, "t", &[b'x'; 1100]));
        assert!(lab.is_closed(client) && !lab.is_closed(other), "QoS {qos}");
    }
}

#[test]
fn mqtt311_7_0_0_1_the_broker_speaks_as_a_server_only() {
    // It opens no connections, so it never has to be a client: on those it accepts it waits for a CONNECT, sends
    // none, and takes no answer to one.
    let mut lab = Lab::new();
    let client = lab.open(V311);
    assert!(raw(&mut lab, client).is_empty());
    assert!(closes_at_connect(&[0x20, 2, 0, 0]), "CONNACK as the first packet");
    let mut lab = Lab::new();
    let client = open_with(&mut lab, &Connect::new(V311, "a").bytes());
    lab.send(client, &wire::subscribe(V311, 1, &[("t", 2)]));
    lab.send(client, &message(2, "t", b"x"));
    // CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ and DISCONNECT are a client's.
    assert!(raw(&mut lab, client).iter().all(|packet| !matches!(packet.kind, 1 | 8 | 10 | 12 | 14)));
}

#[test]
fn mqtt311_7_0_0_2_nothing_beyond_the_standard_is_needed() {
    // The shortest CONNECT there is, without user, prefix or extension, and everything a client can do with it.
    let mut lab = Lab::new();
    let client = open_with(&mut lab, &wire::packet(0x10, b"\0\x04MQTT\x04\x02\0\0\0\0"));
    let other = subscriber(&mut lab, "other", "t", 1);
    lab.send(client, &wire::subscribe(V311, 1, &[("t", 1)]));
    lab.send(client, &message(0, "t", b"x"));
    lab.send(client, &wire::pingreq());
    assert!(!lab.is_closed(client) && !lab.is_closed(other));
    for packet in [raw(&mut lab, client), raw(&mut lab, other)].concat() {
        assert!((2..14).contains(&packet.kind), "a packet type of the standard: {packet:x?}");
    }
}
