//! MQTT 3.1 (`MQIsdp`), as clients in the field still speak it.

use std::time::Duration;

use cork_conform::{
    Lab, Received,
    wire::{self, Connect, V5, V31, V311, Will},
};

use crate::common::{PUBCOMP, PUBREC, PUBREL, acks_of, subacks};

#[test]
fn mqtt5_beyond_mqtt31_connects_under_its_own_name_and_level() {
    for (name, version, code) in [
        ("MQIsdp", 3, Some(0)),
        ("MQTT", 3, Some(1)),
        ("MQIsdp", 4, Some(1)),
        ("MQIsdp", 5, Some(1)),
        ("MQTx", 3, None),
    ] {
        let mut lab = Lab::new();
        let client = lab.open(V31);
        lab.send(client, &Connect { name: name.to_owned(), version, ..Connect::new(V31, "a") }.bytes());
        let codes: Vec<u8> = lab
            .packets(client)
            .iter()
            .filter_map(|packet| if let Received::ConnAck { code, .. } = packet { Some(*code) } else { None })
            .collect();
        assert_eq!(codes.first().copied(), code, "{name} {version}");
        assert_eq!(lab.is_closed(client), code != Some(0), "{name} {version}");
    }
}

#[test]
fn mqtt5_beyond_mqtt31_connack_has_no_session_present() {
    let mut lab = Lab::new();
    for _ in 0..2 {
        let client = lab.open(V31);
        lab.send(client, &Connect::persistent(V31, "a").bytes());
        assert_eq!(lab.bytes(client), [0x20, 2, 0, 0]);
        lab.cut(client);
    }
}

#[test]
fn mqtt5_beyond_mqtt31_an_empty_client_identifier_is_refused() {
    for clean in [true, false] {
        let mut lab = Lab::new();
        let client = lab.open(V31);
        lab.send(client, &Connect { clean, ..Connect::new(V31, "") }.bytes());
        assert_eq!(lab.bytes(client), [0x20, 2, 0, 2]);
        assert!(lab.is_closed(client));
    }
}

#[test]
fn mqtt5_beyond_mqtt31_a_long_client_identifier_is_taken() {
    for length in [23, 24, 200] {
        let mut lab = Lab::new();
        let client = lab.open(V31);
        lab.send(client, &Connect::new(V31, &"a".repeat(length)).bytes());
        assert_eq!(lab.bytes(client), [0x20, 2, 0, 0], "{length} characters");
    }
}

#[test]
fn mqtt5_beyond_mqtt31_user_name_and_password_may_be_missing_though_flagged() {
    for flags in [0x82, 0xC2] {
        let mut lab = Lab::new();
        let client = lab.open(V31);
        lab.send(client, &Connect::new(V31, "a").bytes_with_flags(flags));
        assert_eq!(lab.bytes(client), [0x20, 2, 0, 0], "flags {flags:02x}");
    }
    let mut lab = Lab::new();
    let client = lab.open(V31);
    lab.send(
        client,
        &Connect { user: Some("u".to_owned()), ..Connect::new(V31, "a") }.bytes_with_flags(0xC2),
    );
    assert_eq!(lab.bytes(client), [0x20, 2, 0, 0], "a password that is missing behind a user name");
    // Not so in later versions.
    for version in [V311, V5] {
        let mut lab = Lab::new();
        let client = lab.open(version);
        lab.send(client, &Connect::new(version, "a").bytes_with_flags(0xC2));
        assert!(lab.is_closed(client));
    }
}

#[test]
fn mqtt5_beyond_mqtt31_dup_and_qos_flags_are_taken_on_their_packets() {
    for dup in [0x00, 0x08] {
        let mut lab = Lab::new();
        let client = lab.connect(V31, "a");
        let mut subscribe = wire::subscribe(V31, 1, &[("t", 2)]);
        subscribe[0] |= dup;
        lab.send(client, &subscribe);
        assert_eq!(subacks(&mut lab, client), [(1, vec![2])]);
        lab.send(client, &wire::publish(V31, 4 | dup, "t", Some(2), b"x"));
        let packets = lab.packets(client);
        let id = packets.iter().find_map(|p| p.clone().into_publish()).unwrap().id.unwrap();
        lab.send(client, &wire::ack(PUBREL | dup, 2));
        assert_eq!(acks_of(&mut lab, client, PUBCOMP).len(), 1);
        lab.send(client, &wire::ack(PUBREC, id));
        assert_eq!(acks_of(&mut lab, client, PUBREL).len(), 1);
        lab.send(client, &wire::ack(PUBCOMP, id));
        let mut unsubscribe = wire::unsubscribe(V31, 3, &["t"]);
        unsubscribe[0] |= dup;
        lab.send(client, &unsubscribe);
        assert_eq!(lab.bytes(client), [0xB0, 2, 0, 3]);
        assert!(!lab.is_closed(client));
    }
}

#[test]
fn mqtt5_beyond_mqtt31_keep_alive_will_and_disconnect_work_as_later() {
    for (finish, gone) in [("silence", true), ("cut", true), ("disconnect", false)] {
        let mut lab = Lab::new();
        let watcher = lab.connect(V31, "watcher");
        lab.send(watcher, &wire::subscribe(V31, 1, &[("will", 1)]));
        let will = Will {
            topic: "will".to_owned(),
            payload: b"gone".to_vec(),
            qos: 1,
            retain: true,
            ..Will::default()
        };
        let connect = Connect { keep_alive: 10, will: Some(will), ..Connect::new(V31, "a") };
        let client = lab.connect_with(V31, &connect);
        match finish {
            "silence" => lab.advance(Duration::from_secs(16)),
            "cut" => lab.cut(client),
            _ => lab.send(client, &wire::disconnect()),
        }
        assert_eq!(!lab.payloads(watcher).is_empty(), gone, "{finish}");
        assert!(lab.bytes(client).is_empty(), "3.1 knows no DISCONNECT from the broker");
    }
}

#[test]
fn mqtt5_beyond_mqtt31_and_later_versions_hear_each_other() {
    for from in [V31, V311, V5] {
        for to in [V31, V311, V5] {
            for qos in 0..3u8 {
                let mut lab = Lab::new();
                let client = lab.connect(to, "to");
                lab.send(client, &wire::subscribe(to, 1, &[("t", 2)]));
                let publisher = lab.connect(from, "from");
                lab.send(publisher, &wire::publish(from, qos << 1, "t", (qos > 0).then_some(1), b"x"));
                let got = lab.publishes(client);
                assert_eq!(got.len(), 1);
                assert_eq!((got[0].qos, &got[0].payload[..]), (qos, &b"x"[..]), "{from} to {to}");
            }
        }
    }
}
