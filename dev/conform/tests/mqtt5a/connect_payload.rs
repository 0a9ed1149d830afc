//! The payload of CONNECT: Client Identifier, User Name, Password (5.0 3.1.3; the Will is in `will`).

use std::{cell::RefCell, rc::Rc};

use cork_conform::{
    Lab, Received,
    wire::{self, Connect, V5},
};
use cork_core::{AuthOutcome, Door};

use crate::steps::{
    ASSIGNED_CLIENT_ID, NOT_UTF8, SESSION_EXPIRY, closes, connack, connect_raw, durable, fresh, lasting,
    let_in, long, puback_with_reason_string, publish, refused_connects, refuses, stored_wills, subscribe,
    with,
};

#[test]
fn mqtt5_3_1_3_1_the_fields_of_the_payload_are_read_in_their_order() {
    let mut lab = Lab::with(|config| config.door = Door::Checked);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&seen);
    lab.on_authenticate(move |credentials| {
        log.borrow_mut().push(credentials.clone());
        AuthOutcome::Allowed { user: None, data: None }
    });
    let fields = [
        wire::string("client"),
        wire::properties(&long(0x18, 0)),
        wire::string("will/topic"),
        wire::string("will payload"),
        wire::string("user"),
        wire::string("password"),
    ];
    let client = lab.open(V5);
    lab.send(client, &connect_raw(0xC6, &[], &fields));
    let seen = seen.borrow();
    let credentials = seen.first().expect("the CONNECT is understood");
    assert_eq!(credentials.client_id, "client");
    assert_eq!(credentials.user_name.as_deref(), Some("user"));
    assert_eq!(credentials.password.as_deref(), Some(&b"password"[..]));
    for will in stored_wills(&lab) {
        assert_eq!((will.topic(), will.payload()), ("will/topic", &b"will payload"[..]));
    }
    // In another order they are something else: the Will Topic takes the place of the Will Properties here.
    let swapped =
        [wire::string("client"), wire::string("will/topic"), wire::properties(&[]), wire::string("x")];
    assert!(refuses(&connect_raw(0x06, &[], &swapped)));
}

#[test]
fn mqtt5_3_1_3_2_a_session_belongs_to_its_client_identifier() {
    let ids = ["a", "A", "aa", "a ", "\u{E1}", "a\u{301}"];
    let mut lab = Lab::new();
    for id in ids {
        let client = lab.connect_with(V5, &durable(id, 1000));
        subscribe(&mut lab, client, &format!("to/{id}"), 1);
    }
    let sender = lab.connect(V5, "sender");
    for id in ids {
        let again = lab.connect_with(V5, &durable(id, 1000));
        for other in ids {
            publish(&mut lab, sender, 0x02, &format!("to/{other}"), other.as_bytes());
        }
        let got = lab.payloads(again);
        assert!(got.iter().all(|payload| payload == id.as_bytes()), "{id:?} got {got:?}");
    }
}

#[test]
fn mqtt5_3_1_3_3_a_connect_without_client_identifier_is_refused() {
    assert!(refuses(&connect_raw(0x02, &[], &[])));
    assert!(refuses(&connect_raw(0x00, &long(SESSION_EXPIRY, 10), &[])));
}

#[test]
fn mqtt5_3_1_3_4_a_client_identifier_is_a_utf8_string() {
    for bad in NOT_UTF8 {
        let wrong = closes(&puback_with_reason_string(bad));
        assert!(!wrong || refuses(&connect_raw(0x02, &[], &[wire::string(bad)])), "{bad:x?}");
    }
}

#[test]
fn mqtt5_3_1_3_5_client_identifiers_of_1_to_23_digits_and_letters_are_taken() {
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut ids: Vec<&str> = (0..alphabet.len()).map(|at| &alphabet[at..=at]).collect();
    ids.extend((1..=23).map(|length| &alphabet[..length]));
    ids.extend((1..=23).map(|length| &alphabet[alphabet.len() - length..]));
    for id in ids {
        let mut lab = Lab::new();
        let client = lab.connect_with(V5, &fresh(id));
        assert!(!lab.is_closed(client), "{id:?}");
        assert_eq!(let_in(&lab).len(), 1, "{id:?}");
    }
}

#[test]
fn mqtt5_3_1_3_6_clients_without_identifier_get_unique_ones() {
    let mut lab = Lab::new();
    let clients: Vec<_> = (0..50).map(|_| lab.connect_with(V5, &fresh(""))).collect();
    for (n, client) in clients.into_iter().enumerate() {
        assert!(!lab.is_closed(client), "client {n} was taken for another one");
    }
    let mut ids = let_in(&lab);
    assert_eq!(ids.len(), 50);
    assert!(ids.iter().all(|id| !id.is_empty()));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 50, "{ids:?}");
}

#[test]
fn mqtt5_3_1_3_7_an_assigned_identifier_is_returned_and_works_like_a_given_one() {
    let mut lab = Lab::new();
    let (first, answer) = connack(&mut lab, &lasting("", 100));
    let Some(Received::ConnAck { props, .. }) = answer else { return };
    let id = props.text(ASSIGNED_CLIENT_ID).expect("CONNACK says which identifier was assigned");
    assert_eq!(let_in(&lab), [id.as_str()], "the identifier in force");
    subscribe(&mut lab, first, "t", 1);
    // Who names it is that client: a second connection of the same name takes over.
    let second = lab.connect_with(V5, &with(&id, &[]));
    assert!(lab.is_closed(first) && !lab.is_closed(second));
}

#[test]
fn mqtt5_3_1_3_8_after_a_rejected_client_identifier_the_connection_is_closed() {
    for (name, mut lab, connect) in refused_connects() {
        if name != "another user's Session" {
            continue;
        }
        let client = lab.open(V5);
        lab.send(client, &connect);
        let welcome = lab.packets(client).iter().any(|p| matches!(p, Received::ConnAck { code: 0, .. }));
        assert!(welcome || lab.is_closed(client), "refused, but open");
    }
}

#[test]
fn mqtt5_3_1_3_12_a_user_name_is_a_utf8_string() {
    for bad in NOT_UTF8 {
        let wrong = closes(&puback_with_reason_string(bad));
        let fields = [wire::string("c"), wire::string(bad)];
        assert!(!wrong || refuses(&connect_raw(0x82, &[], &fields)), "{bad:x?}");
    }
}

#[test]
fn mqtt5_beyond_a_password_is_any_bytes_and_needs_no_user_name() {
    for password in [&b""[..], b"pw", b"\0\xFF\xED\xA0\x80"] {
        let mut lab = Lab::new();
        let connect = Connect { password: Some(password.to_vec()), ..fresh("c") };
        let (_, answer) = connack(&mut lab, &connect);
        assert!(matches!(answer, Some(Received::ConnAck { code: 0, .. })), "{password:x?}: {answer:?}");
    }
}

#[test]
fn mqtt5_beyond_long_and_unusual_client_identifiers_are_taken() {
    for id in ["a/b", "+", "#", "\u{1F600}", &"x".repeat(65_535)] {
        let mut lab = Lab::new();
        let (client, answer) = connack(&mut lab, &fresh(id));
        assert!(matches!(answer, Some(Received::ConnAck { code: 0, .. })), "{answer:?}");
        assert!(!lab.is_closed(client));
    }
}
