//! CONNACK: first packet, Session Present, return codes (section 3.2).

use cork_conform::{
    Lab,
    wire::{self, Connect, V311},
};

use crate::support::{
    CONNACK, connack, forbid, guarded, message, open_with, persistent_subscriber, publish_once, raw,
    subscribe, with_password,
};

#[test]
fn mqtt311_3_2_0_1_connack_is_the_first_packet_to_the_client() {
    let first_kind = |lab: &mut Lab, client| raw(lab, client).first().map(|packet| packet.kind);
    let expected = |kind: Option<u8>| kind.is_none_or(|kind| kind == CONNACK);

    // Packets right behind CONNECT, in one read.
    let mut lab = Lab::new();
    let behind = [
        Connect::new(V311, "a").bytes(),
        wire::pingreq(),
        wire::subscribe(V311, 1, &[("t", 2)]),
        message(1, "t", b"x"),
    ];
    let client = open_with(&mut lab, &behind.concat());
    assert!(expected(first_kind(&mut lab, client)));

    // Messages under way and messages queued wait for the Session, and a new one comes meanwhile.
    for store_is_slow in [false, true] {
        let mut lab = Lab::new();
        let client = persistent_subscriber(&mut lab, "a", "t", 2);
        publish_once(&mut lab, 1, "t", b"under way");
        lab.cut(client);
        publish_once(&mut lab, 2, "t", b"queued");
        let publisher = lab.connect(V311, "publisher");
        if store_is_slow {
            lab.pause_store();
        }
        let client = open_with(&mut lab, &Connect::persistent(V311, "a").with_will("w", b"x").bytes());
        lab.send(client, &wire::pingreq());
        for qos in 0..3 {
            lab.send(publisher, &message(qos, "t", b"new"));
        }
        lab.store_answers();
        assert!(expected(first_kind(&mut lab, client)));
    }
}

/// Session Present in the answer to a CONNECT, and whether a subscription to `t` from before still works.
fn session_present(lab: &mut Lab, connect: &Connect) -> (Option<bool>, bool) {
    let client = open_with(lab, &connect.bytes());
    let present = connack(lab, client).filter(|(_, code)| *code == 0).map(|(flags, _)| flags & 1 == 1);
    lab.bytes(client);
    publish_once(lab, 0, "t", b"x");
    (present, !lab.publishes(client).is_empty())
}

#[test]
fn mqtt311_3_2_2_1_session_present_is_0_with_clean_session_1() {
    let mut lab = Lab::new();
    assert_ne!(session_present(&mut lab, &Connect::new(V311, "new")).0, Some(true));
    persistent_subscriber(&mut lab, "known", "t", 0);
    // A Session that was not discarded is for 3.1.2-6.
    let (present, works) = session_present(&mut lab, &Connect::new(V311, "known"));
    assert!(present != Some(true) || works);
}

#[test]
fn mqtt311_3_2_2_2_session_present_is_1_when_there_is_stored_state() {
    for disconnect in [true, false] {
        let mut lab = Lab::new();
        let client = persistent_subscriber(&mut lab, "known", "t", 0);
        if disconnect {
            lab.send(client, &wire::disconnect());
        } else {
            lab.cut(client);
        }
        // A Session that was lost is for 3.1.2-4.
        let (present, works) = session_present(&mut lab, &Connect::persistent(V311, "known"));
        assert!(present != Some(false) || !works);
    }
}

#[test]
fn mqtt311_3_2_2_3_session_present_is_0_when_there_is_no_stored_state() {
    let mut lab = Lab::new();
    persistent_subscriber(&mut lab, "another", "t", 0);
    let (present, _) = session_present(&mut lab, &Connect::persistent(V311, "new"));
    assert_ne!(present, Some(true));
}

/// CONNECT packets this broker refuses with a return code, each with the answer, and whether it was closed.
fn refusals() -> Vec<(Option<(u8, u8)>, bool)> {
    let bad_level = |connect: Connect| {
        let mut connect = connect.bytes();
        connect[8] = 9;
        connect
    };
    let known = with_password(Connect::persistent(V311, "known"), b"good");
    let mut refusals = Vec::new();
    let mut refuse = |lab: &mut Lab, connect: &[u8]| {
        let client = open_with(lab, connect);
        refusals.push((connack(lab, client), lab.is_closed(client)));
    };
    // For a client with a stored Session.
    let mut lab = guarded();
    let client = lab.connect_with(V311, &known);
    subscribe(&mut lab, client, "t", 1);
    lab.cut(client);
    refuse(&mut lab, &bad_level(known.clone()));
    refuse(&mut lab, &Connect { password: Some(b"bad".to_vec()), ..known.clone() }.bytes());
    refuse(&mut lab, &Connect { user: Some("eve".to_owned()), ..known.clone() }.bytes());
    refuse(&mut lab, &Connect::persistent(V311, "").bytes());
    lab.set_rights(&forbid("secret"));
    refuse(&mut lab, &known.clone().with_will("secret", b"x").bytes());
    lab.drain();
    refuse(&mut lab, &known.bytes());
    refusals
}

#[test]
fn mqtt311_3_2_2_4_session_present_is_0_in_a_refusal() {
    for (answer, _) in refusals() {
        assert!(answer.is_none_or(|(flags, code)| code == 0 || flags & 1 == 0), "{answer:?}");
    }
}

#[test]
fn mqtt311_3_2_2_5_a_refusal_closes_the_connection() {
    for (answer, closed) in refusals() {
        assert!(closed || answer.is_none_or(|(_, code)| code == 0), "{answer:?}");
    }
}

#[test]
fn mqtt311_3_2_2_6_where_no_return_code_applies_the_connection_is_closed_without_connack() {
    let too_long = wire::packet(0x10, &[0; 600_000]);
    let other_protocol = Connect { name: "MQTTX".to_owned(), ..Connect::new(V311, "a") }.bytes();
    for connect in [too_long, other_protocol] {
        let mut lab = Lab::new();
        let client = open_with(&mut lab, &connect);
        assert!(lab.bytes(client).is_empty());
        assert!(lab.is_closed(client));
    }
    for (answer, _) in refusals() {
        assert!(answer.is_none_or(|(_, code)| code <= 5), "{answer:?} is not in the table");
    }
}
