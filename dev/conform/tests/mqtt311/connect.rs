//! CONNECT: order, names, flags, Keep Alive, payload (sections 3.1.0 to 3.1.4).

use std::{cell::RefCell, rc::Rc, time::Duration};

use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V31, V311, Will, string},
};
use cork_core::{AuthOutcome, Door};

use crate::support::{
    DAY, PINGRESP, closes_at_connect, closes_on, connack, connect_bytes, guarded, message, open_with,
    persistent, persistent_subscriber, publish_once, raw, retained, subscribe, subscriber, with_password,
};

#[test]
fn mqtt311_3_1_0_1_the_first_packet_is_connect() {
    let others = [
        wire::publish(V311, 0, "t", None, b"x"),
        wire::publish(V311, 0x02, "t", Some(1), b"x"),
        wire::ack(0x40, 1),
        wire::ack(0x50, 1),
        wire::ack(0x62, 1),
        wire::ack(0x70, 1),
        wire::subscribe(V311, 1, &[("t", 0)]),
        wire::unsubscribe(V311, 1, &["t"]),
        wire::pingreq(),
        wire::disconnect(),
        vec![0x20, 2, 0, 0],
    ];
    for packet in others {
        assert!(closes_at_connect(&packet), "{packet:x?}");
    }
}

#[test]
fn mqtt311_3_1_0_2_a_second_connect_closes_the_connection() {
    for name in ["a", "b", ""] {
        for clean in [true, false] {
            assert!(closes_on(&Connect { clean, ..Connect::new(V311, name) }.bytes()), "{name:?}");
        }
    }
}

#[test]
fn mqtt311_3_1_2_1_another_protocol_name_is_not_served() {
    for name in ["", "M", "MQTt", "mqtt", "MQTTX", "MQTT ", "MQT", "\u{FEFF}MQTT", "HTTP"] {
        let connect = Connect { name: name.to_owned(), ..Connect::new(V311, "a") };
        assert!(closes_at_connect(&connect.bytes()), "{name:?}");
    }
}

#[test]
fn mqtt311_3_1_2_2_an_unsupported_level_gets_return_code_1() {
    for level in [0, 1, 2, 6, 7, 0x40, 0x7F, 0x86, 0xFF] {
        let mut connect = Connect::new(V311, "a").bytes();
        connect[8] = level;
        let mut lab = Lab::new();
        let client = open_with(&mut lab, &connect);
        let code = connack(&mut lab, client).map(|(_, code)| code);
        assert_eq!((code, lab.is_closed(client)), (Some(1), true), "level {level}");
    }
}

#[test]
fn mqtt311_3_1_2_3_the_reserved_connect_flag_is_zero() {
    for connect in [Connect::new(V311, "a"), Connect::persistent(V311, "a").with_will("w", b"x")] {
        assert!(closes_at_connect(&connect.bytes_with_flags(connect.flags() | 1)));
    }
}

/// How an earlier connection is left.
type Leave = fn(&mut Lab, ClientIx);

fn by_disconnect(lab: &mut Lab, client: ClientIx) {
    lab.send(client, &wire::disconnect());
}

fn by_breaking(lab: &mut Lab, client: ClientIx) {
    lab.cut(client);
}

fn by_takeover(_: &mut Lab, _: ClientIx) {}

/// Whether a subscription of a first connection works for a second one: CleanSession of both, how the first ends.
fn subscription_survives(first_clean: bool, leave: Leave, clean: bool) -> bool {
    let mut lab = Lab::new();
    let connect = Connect::new(V311, "a");
    let first = lab.connect_with(V311, &Connect { clean: first_clean, ..connect.clone() });
    subscribe(&mut lab, first, "t", 0);
    leave(&mut lab, first);
    let again = lab.connect_with(V311, &Connect { clean, ..connect });
    publish_once(&mut lab, 0, "t", b"x");
    !lab.publishes(again).is_empty()
}

#[test]
fn mqtt311_3_1_2_4_clean_session_0_resumes_the_stored_session() {
    assert!(subscription_survives(false, by_disconnect, false));
    assert!(subscription_survives(false, by_breaking, false));
    // No Session yet: a new one, in which one can work.
    let mut lab = Lab::new();
    let client = persistent_subscriber(&mut lab, "new", "t", 0);
    publish_once(&mut lab, 0, "t", b"x");
    assert_eq!(lab.payloads(client), [b"x"]);
}

#[test]
fn mqtt311_3_1_2_5_messages_for_an_absent_session_are_stored() {
    let mut lab = Lab::new();
    for (name, leave) in [("a", by_disconnect as Leave), ("b", by_breaking)] {
        let client = persistent_subscriber(&mut lab, name, "t/+", 2);
        leave(&mut lab, client);
    }
    publish_once(&mut lab, 1, "t/1", b"one");
    publish_once(&mut lab, 2, "t/2", b"two");
    for name in ["a", "b"] {
        let client = persistent(&mut lab, name);
        let stored = lab.payloads(client);
        publish_once(&mut lab, 0, "t/0", b"now");
        // A Session that is gone altogether is another statement's business.
        if lab.payloads(client).contains(&b"now".to_vec()) {
            assert!([b"one", b"two"].iter().all(|payload| stored.contains(&payload.to_vec())), "{name}");
        }
    }
}

#[test]
fn mqtt311_3_1_2_6_clean_session_1_begins_anew_and_leaves_nothing() {
    for leave in [by_disconnect as Leave, by_breaking] {
        assert!(!subscription_survives(false, leave, true), "a Session that was stored");
        assert!(!subscription_survives(true, leave, false), "a Session with CleanSession 1");
        assert!(!subscription_survives(true, leave, true));
    }
    // What waited for the stored Session is gone too, also for a third connection.
    let mut lab = Lab::new();
    let first = persistent_subscriber(&mut lab, "a", "t", 1);
    lab.cut(first);
    publish_once(&mut lab, 1, "t", b"waiting");
    let second = lab.connect(V311, "a");
    lab.cut(second);
    publish_once(&mut lab, 1, "t", b"later");
    let third = persistent(&mut lab, "a");
    assert!(lab.publishes(second).is_empty() && lab.publishes(third).is_empty());
}

#[test]
fn mqtt311_3_1_4_3_clean_session_also_counts_when_a_connection_is_taken_over() {
    let resumes = |leave| subscription_survives(false, leave, false);
    let goes_on = |leave| subscription_survives(false, leave, true);
    // That CleanSession counts at all is for 3.1.2-4 and 3.1.2-6.
    assert!(resumes(by_takeover) || !resumes(by_disconnect));
    assert!(!goes_on(by_takeover) || goes_on(by_disconnect));
}

#[test]
fn mqtt311_3_1_2_18_without_its_flag_there_is_no_user_name() {
    assert!(closes_at_connect(&connect_bytes(0x02, &[string("a"), string("user")])));
    assert!(closes_at_connect(&connect_bytes(0x06, &[string("a"), string("w"), string(""), string("user")])));
}

#[test]
fn mqtt311_3_1_2_19_with_its_flag_there_is_a_user_name() {
    assert!(closes_at_connect(&connect_bytes(0x82, &[string("a")])));
    assert!(closes_at_connect(&connect_bytes(0x86, &[string("a"), string("w"), string("")])));
}

#[test]
fn mqtt311_3_1_2_20_without_its_flag_there_is_no_password() {
    assert!(closes_at_connect(&connect_bytes(0x82, &[string("a"), string("user"), string("password")])));
}

#[test]
fn mqtt311_3_1_2_21_with_its_flag_there_is_a_password() {
    assert!(closes_at_connect(&connect_bytes(0xC2, &[string("a"), string("user")])));
}

#[test]
fn mqtt311_3_1_2_22_password_flag_needs_user_flag() {
    assert!(closes_at_connect(&connect_bytes(0x42, &[string("a"), string("password")])));
    assert!(closes_at_connect(&connect_bytes(0x42, &[string("a"), string("user"), string("password")])));
}

#[test]
fn mqtt311_3_1_2_24_silence_for_one_and_a_half_keep_alive_ends_the_connection() {
    let second = Duration::from_secs(1);
    for keep_alive in [1, 10, 300, 65_535] {
        let connect = Connect { keep_alive, ..Connect::new(V311, "a") };
        let limit = second * u32::from(keep_alive) * 3 / 2;

        let mut lab = Lab::new();
        let client = lab.connect_with(V311, &connect);
        lab.advance(limit - second / 2);
        assert!(!lab.is_closed(client), "{keep_alive} s: not before the time");
        lab.advance(second);
        assert!(lab.is_closed(client), "{keep_alive} s");

        // Every packet counts from anew, but not a part of one.
        let mut lab = Lab::new();
        let client = lab.connect_with(V311, &connect);
        lab.advance(limit * 2 / 3);
        lab.send(client, &wire::pingreq());
        lab.advance(limit * 2 / 3);
        assert!(!lab.is_closed(client), "{keep_alive} s, with a packet in between");
        lab.send(client, &message(0, "t", b"x")[..2]);
        lab.advance(limit / 3 + second / 2);
        assert!(lab.is_closed(client), "{keep_alive} s, with half a packet");
    }
    let mut lab = Lab::new();
    let client = lab.connect(V311, "a");
    lab.advance(DAY);
    assert!(!lab.is_closed(client), "Keep Alive 0 is none");
}

/// What the access port was asked: Client Identifier, User Name, Password.
type Asked = (String, Option<String>, Option<Vec<u8>>);

/// What the broker reads out of a CONNECT.
fn read_by_the_broker(connect: &[u8]) -> Option<Asked> {
    let asked = Rc::new(RefCell::new(None));
    let note = Rc::clone(&asked);
    let mut lab = Lab::with(|config| config.door = Door::Checked);
    lab.on_authenticate(move |credentials| {
        let (user, password) = (credentials.user_name.clone(), credentials.password.clone());
        *note.borrow_mut() = Some((credentials.client_id.clone(), user, password));
        AuthOutcome::Denied { user: None }
    });
    open_with(&mut lab, connect);
    asked.take()
}

#[test]
fn mqtt311_3_1_3_1_the_payload_has_its_fields_in_order() {
    let will = Will { topic: "w".to_owned(), payload: b"gone".to_vec(), ..Will::default() };
    let connect = with_password(Connect { will: Some(will), ..Connect::new(V311, "client") }, b"good");
    let asked = read_by_the_broker(&connect.bytes());
    assert_eq!(asked, Some(("client".to_owned(), Some("ann".to_owned()), Some(b"good".to_vec()))));

    let mut lab = Lab::new();
    let watcher = subscriber(&mut lab, "watcher", "#", 0);
    let client = lab.connect_with(V311, &connect);
    lab.cut(client);
    for publish in lab.publishes(watcher) {
        assert_eq!((publish.topic.as_str(), publish.payload.as_slice()), ("w", &b"gone"[..]));
    }
}

#[test]
fn mqtt311_3_1_3_2_the_client_identifier_tells_sessions_apart() {
    let mut lab = Lab::new();
    let first = persistent_subscriber(&mut lab, "device", "t", 1);
    let others = ["Device", "DEVICE", "device ", " device", "devic", "device1", "device/"];
    for name in others {
        let other = persistent(&mut lab, name);
        assert!(!lab.is_closed(first), "{name:?} is somebody else");
        publish_once(&mut lab, 1, "t", b"x");
        assert!(lab.publishes(other).is_empty(), "{name:?} has not subscribed");
        lab.cut(other);
    }
}

#[test]
fn mqtt311_3_1_3_3_the_client_identifier_is_there_and_first() {
    assert!(closes_at_connect(&connect_bytes(0x02, &[])));
    assert!(closes_at_connect(&connect_bytes(0x00, &[])));
    let asked = read_by_the_broker(&connect_bytes(0x82, &[string("first"), string("second")]));
    assert!(asked.is_none_or(|(client_id, ..)| client_id == "first"));
}

#[test]
fn mqtt311_3_1_3_5_letters_and_digits_up_to_23_are_allowed_as_client_identifier() {
    let characters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut lab = Lab::new();
    let windows = (0..=characters.len() - 23).map(|at| &characters[at..at + 23]);
    let lengths = (1..=23).map(|length| &characters[..length]);
    let single = (0..characters.len()).map(|at| &characters[at..=at]);
    for name in windows.chain(lengths).chain(single) {
        let client = open_with(&mut lab, &Connect::new(V311, name).bytes());
        let refused = connack(&mut lab, client).is_some_and(|(_, code)| code == 2);
        assert!(!refused && !lab.is_closed(client), "{name:?}");
    }
}

#[test]
fn mqtt311_3_1_3_6_an_empty_client_identifier_is_replaced_by_a_unique_one() {
    let mut lab = Lab::new();
    let clients: Vec<_> = (0..3).map(|_| subscriber(&mut lab, "", "t", 0)).collect();
    publish_once(&mut lab, 0, "t", b"x");
    for client in clients {
        assert!(!lab.is_closed(client), "nobody else has the same identifier");
        assert_eq!(lab.payloads(client), [b"x"], "a Session like any other");
    }
}

/// The return code of a CONNECT, and whether the connection was closed.
fn answer_to(lab: &mut Lab, connect: &Connect) -> (Option<u8>, bool) {
    let client = open_with(lab, &connect.bytes());
    (connack(lab, client).map(|(_, code)| code), lab.is_closed(client))
}

/// Whether refused clients are closed, for another reason than their identifier.
fn closes_the_refused() -> bool {
    answer_to(&mut guarded(), &with_password(Connect::new(V311, "a"), b"bad")).1
}

#[test]
fn mqtt311_3_1_3_8_an_empty_client_identifier_needs_clean_session_1() {
    let (code, closed) = answer_to(&mut Lab::new(), &Connect::persistent(V311, ""));
    assert_eq!(code, Some(2));
    assert!(closed || !closes_the_refused());
}

#[test]
fn mqtt311_3_1_3_9_a_rejected_client_identifier_gets_return_code_2() {
    // Odd ones, most of which this broker takes; the empty one of a 3.1 client it does not.
    let long = "x".repeat(65_535);
    let names = ["a b", "a/b", "+", "#", "$SYS", "größe", "0123456789abcdef012345678", &long];
    let odd = names.map(|name| Connect::new(V311, name));
    for connect in odd.into_iter().chain([Connect::new(V31, "")]) {
        let mut lab = Lab::new();
        let (code, closed) = answer_to(&mut lab, &connect);
        let rejected = (code, closed) != answer_to(&mut Lab::new(), &Connect::new(V311, "ordinary"));
        assert!(!rejected || code == Some(2), "{:?}", connect.client_id);
        assert!(!rejected || closed || !closes_the_refused());
    }
}

#[test]
fn mqtt311_3_1_4_1_a_connect_that_is_malformed_is_closed_without_connack() {
    let whole = connect_bytes(0xC6, &["client", "w", "gone", "user", "password"].map(string));
    let body = &whole[2..];
    // Ends inside a field: variable header, Client Identifier, Will Topic, Will Message, user, password.
    let mut malformed: Vec<Vec<u8>> = [0, 1, 4, 6, 7, 8, 9, 11, 15, 19, 22, 25, 28, 30, 34, 40]
        .map(|end| wire::packet(0x10, &body[..end]))
        .to_vec();
    // Goes on after the last field.
    malformed.push(wire::packet(0x10, &[body, &[0]].concat()));
    for connect in malformed {
        let mut lab = Lab::new();
        let client = open_with(&mut lab, &connect);
        assert!(lab.is_closed(client), "{connect:x?}");
        assert!(lab.bytes(client).is_empty(), "{connect:x?}");
    }
}

#[test]
fn mqtt311_3_1_4_2_the_existing_client_of_an_identifier_is_disconnected() {
    for (first_clean, clean) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut lab = Lab::new();
        let first = lab.connect_with(V311, &Connect { clean: first_clean, ..Connect::new(V311, "a") });
        lab.connect_with(V311, &Connect { clean, ..Connect::new(V311, "a") });
        assert!(lab.is_closed(first), "{first_clean}, {clean}");
    }
}

#[test]
fn mqtt311_3_1_4_4_a_connect_that_is_accepted_gets_return_code_0() {
    let plain = Connect::new(V311, "a");
    let full = with_password(plain.clone().with_will("w", b"x"), b"good");
    for connect in [plain, Connect::persistent(V311, "b"), Connect { keep_alive: 9, ..full }] {
        let mut lab = Lab::new();
        for _ in 0..2 {
            let client = open_with(&mut lab, &connect.bytes());
            assert_eq!(connack(&mut lab, client).map(|(_, code)| code), Some(0), "{connect:?}");
            lab.cut(client);
        }
    }
}

#[test]
fn mqtt311_3_1_4_5_nothing_is_processed_after_a_rejected_connect() {
    let bad_level = {
        let mut connect = Connect::new(V311, "a").bytes();
        connect[8] = 9;
        connect
    };
    let rejected = [
        with_password(Connect::new(V311, "a"), b"bad").bytes(),
        Connect::persistent(V311, "").bytes(),
        bad_level,
    ];
    for connect in rejected {
        for apart in [false, true] {
            let mut lab = guarded();
            let watcher = lab.connect_with(V311, &with_password(Connect::new(V311, "watcher"), b"good"));
            subscribe(&mut lab, watcher, "#", 2);
            let data =
                [message(0, "t", b"x"), message(1, "t", b"y"), retained(0, "t", b"z"), wire::pingreq()];
            let client = if apart {
                let client = open_with(&mut lab, &connect);
                data.iter().for_each(|packet| lab.send(client, packet));
                client
            } else {
                open_with(&mut lab, &[connect.clone(), data.concat()].concat())
            };
            assert!(lab.publishes(watcher).is_empty(), "{connect:x?}");
            assert!(raw(&mut lab, client).iter().all(|packet| packet.kind != PINGRESP));
            assert_eq!(lab.stats(0).retained, 0);
        }
    }
}
