//! What waits for the store, and that nothing else does. The store of these tests keeps its answers back.
#![forbid(unsafe_code)]

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5, V311, Version},
};

const BOTH: [Version; 2] = [V311, V5];

/// A lab with a persistent subscriber of `kept` and a passing one of `passing`, both connected; and a publisher.
fn lab(version: Version) -> (Lab, ClientIx, ClientIx, ClientIx) {
    let mut lab = Lab::new();
    let keeper = lab.connect_with(version, &Connect::persistent(version, "keeper"));
    lab.send(keeper, &wire::subscribe(version, 1, &[("kept", 2)]));
    let passer = lab.connect(version, "passer");
    lab.send(passer, &wire::subscribe(version, 1, &[("passing", 2)]));
    let publisher = lab.connect(version, "publisher");
    for client in [keeper, passer, publisher] {
        lab.bytes(client);
    }
    (lab, keeper, passer, publisher)
}

/// The first bytes of the packets a client got.
fn firsts(lab: &mut Lab, client: ClientIx) -> Vec<u8> {
    let first = |packet: &Received| match packet {
        Received::ConnAck { .. } => 0x20,
        Received::Publish(_) => 0x30,
        Received::Ack(ack) => ack.first,
        Received::SubAck { .. } => 0x90,
        Received::UnsubAck { .. } => 0xB0,
        Received::PingResp => 0xD0,
        _ => 0,
    };
    lab.packets(client).iter().map(first).collect()
}

#[test]
fn a_puback_waits_when_a_persistent_session_gets_the_message() {
    for version in BOTH {
        let (mut lab, _, _, publisher) = lab(version);
        lab.pause_store();
        lab.send(publisher, &wire::publish(version, 2, "kept", Some(1), b"x"));
        assert_eq!(firsts(&mut lab, publisher), [], "version {version}");
        lab.store_answers();
        assert_eq!(firsts(&mut lab, publisher), [0x40], "version {version}");
    }
}

#[test]
fn a_pubrec_waits_likewise_and_a_retained_update_too() {
    for version in BOTH {
        for (flags, topic, answer) in [(4, "kept", 0x50), (3, "passing", 0x40), (5, "nobody", 0x50)] {
            let (mut lab, _, _, publisher) = lab(version);
            lab.pause_store();
            lab.send(publisher, &wire::publish(version, flags, topic, Some(1), b"x"));
            assert_eq!(firsts(&mut lab, publisher), [], "version {version}, flags {flags}");
            lab.store_answers();
            assert_eq!(firsts(&mut lab, publisher), [answer], "version {version}, flags {flags}");
        }
    }
}

#[test]
fn nothing_that_no_crash_can_take_waits() {
    for version in BOTH {
        let (mut lab, keeper, passer, publisher) = lab(version);
        lab.pause_store();
        lab.send(publisher, &wire::publish(version, 2, "passing", Some(1), b"x"));
        lab.send(publisher, &wire::publish(version, 4, "passing", Some(2), b"x"));
        lab.send(publisher, &wire::publish(version, 1, "passing", None, b"retained at QoS 0"));
        lab.send(publisher, &wire::ack(0x62, 2));
        lab.send(publisher, &wire::subscribe(version, 3, &[("own", 1)]));
        lab.send(publisher, &wire::unsubscribe(version, 4, &["own"]));
        lab.send(publisher, &wire::pingreq());
        assert_eq!(firsts(&mut lab, publisher), [0x40, 0x50, 0x70, 0x90, 0xB0, 0xD0], "version {version}");
        assert_eq!(lab.payloads(passer).len(), 3, "version {version}: deliveries do not wait");
        lab.send(keeper, &wire::pingreq());
        assert_eq!(firsts(&mut lab, keeper), [0xD0], "version {version}");
        let newcomer = lab.open(version);
        lab.send(newcomer, &Connect::new(version, "newcomer").bytes());
        assert_eq!(firsts(&mut lab, newcomer), [0x20], "version {version}: a clean session is not stored");
    }
}

#[test]
fn a_message_is_delivered_before_it_is_stored_but_acknowledged_after() {
    let (mut lab, keeper, _, publisher) = lab(V5);
    lab.pause_store();
    lab.send(publisher, &wire::publish(V5, 2, "kept", Some(1), b"x"));
    assert_eq!(lab.payloads(keeper), [b"x"]);
    assert_eq!(firsts(&mut lab, publisher), []);
}

/// A sink tells messages apart by their identity, and one that is published again after a crash has another.
#[test]
fn who_is_told_the_identity_of_messages_gets_them_when_they_are_stored() {
    for flags in [2, 4] {
        let (mut lab, _, _, publisher) = lab(V5);
        let sink = lab.open_inside(V5);
        let asks = [vec![0x26], wire::string("cork-facts"), wire::string("")].concat();
        let properties = [&[0x11, 0xFF, 0xFF, 0xFF, 0xFF], &asks[..]].concat();
        let connect = Connect { clean: false, properties, ..Connect::new(V5, "$cork/sink/all") };
        lab.send(sink, &connect.bytes());
        lab.send(sink, &wire::subscribe(V5, 1, &[("#", 1)]));
        lab.packets(sink);
        lab.pause_store();
        lab.send(publisher, &wire::publish(V5, flags, "kept", Some(1), b"x"));
        assert!(lab.payloads(sink).is_empty(), "flags {flags}");
        lab.store_answers();
        assert_eq!(lab.payloads(sink), [b"x"], "flags {flags}");
    }
}

#[test]
fn acknowledgements_keep_the_order_of_what_they_answer() {
    let (mut lab, _, _, publisher) = lab(V5);
    lab.pause_store();
    lab.send(publisher, &wire::publish(V5, 2, "kept", Some(1), b"waits"));
    lab.send(publisher, &wire::publish(V5, 2, "passing", Some(2), b"would not wait"));
    lab.send(publisher, &wire::pingreq());
    assert_eq!(firsts(&mut lab, publisher), [0xD0], "only what answers no publication overtakes");
    lab.store_answers();
    let ids: Vec<u16> = lab.acks(publisher).iter().map(|ack| ack.id).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_persistent_session_is_stored_before_its_connack_and_suback() {
    for version in BOTH {
        let mut lab = Lab::new();
        lab.pause_store();
        let client = lab.open(version);
        lab.send(client, &Connect::persistent(version, "keeper").bytes());
        lab.send(client, &wire::subscribe(version, 1, &[("kept", 1)]));
        assert_eq!(firsts(&mut lab, client), [], "version {version}");
        lab.store_answers();
        assert_eq!(firsts(&mut lab, client), [0x20, 0x90], "version {version}");
        lab.pause_store();
        lab.send(client, &wire::unsubscribe(version, 2, &["kept"]));
        assert_eq!(firsts(&mut lab, client), [], "version {version}");
        lab.store_answers();
        assert_eq!(firsts(&mut lab, client), [0xB0], "version {version}");
    }
}

/// The flags of the CONNACK that came, if one did: 1 is Session Present.
fn connack(lab: &mut Lab, client: ClientIx) -> Option<u8> {
    match lab.take_one(client)? {
        Received::ConnAck { flags, code: 0, .. } => Some(flags),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_is_back_soon_waits_for_nothing() {
    for version in BOTH {
        for farewell in [Some(vec![0xE0, 0]), None] {
            let (mut lab, mut keeper, ..) = lab(version);
            let back = |lab: &mut Lab, keeper: &mut ClientIx, away| {
                match &farewell {
                    Some(farewell) => lab.send(*keeper, farewell),
                    None => lab.cut(*keeper),
                }
                lab.advance(Duration::from_secs(away));
                lab.pause_store();
                *keeper = lab.open(version);
                lab.send(*keeper, &Connect::persistent(version, "keeper").bytes());
                let at_once = connack(lab, *keeper);
                lab.store_answers();
                (at_once, at_once.or_else(|| connack(lab, *keeper)))
            };
            for away in [0, 1, 29, 20] {
                assert_eq!(back(&mut lab, &mut keeper, away), (Some(1), Some(1)), "{version}, {away} s");
                lab.advance(Duration::from_secs(7));
            }
            // By then the store knows that it left, so it has to know that it is back.
            for away in [61, 31, 3000] {
                assert_eq!(back(&mut lab, &mut keeper, away), (None, Some(1)), "{version}, {away} s");
            }
            assert_eq!(back(&mut lab, &mut keeper, 5), (Some(1), Some(1)), "{version}");
        }
    }
}

#[test]
fn a_client_that_is_back_waits_for_what_its_session_consists_of() {
    for version in BOTH {
        let mut lab = Lab::new();
        lab.pause_store();
        for _ in 0..3 {
            let client = lab.open(version);
            lab.send(client, &Connect::persistent(version, "keeper").bytes());
            assert_eq!(connack(&mut lab, client), None, "version {version}");
            lab.cut(client);
        }
        let client = lab.open(version);
        lab.send(client, &Connect::persistent(version, "keeper").bytes());
        lab.store_answers();
        assert_eq!(connack(&mut lab, client), Some(1), "version {version}");
        lab.pause_store();
        lab.send(client, &wire::subscribe(version, 1, &[("t", 1)]));
        lab.cut(client);
        let client = lab.open(version);
        lab.send(client, &Connect::persistent(version, "keeper").bytes());
        assert_eq!(connack(&mut lab, client), None, "version {version}: the subscription is not stored");
        lab.store_answers();
        assert_eq!(connack(&mut lab, client), Some(1), "version {version}");
    }
}

#[test]
fn another_expiry_is_stored_before_the_connack_however_soon_the_client_is_back() {
    let (mut lab, keeper, ..) = lab(V5);
    lab.cut(keeper);
    lab.pause_store();
    let keeper = lab.open(V5);
    let connect = Connect { properties: vec![0x11, 0, 0, 0x0E, 0x11], ..Connect::persistent(V5, "keeper") };
    lab.send(keeper, &connect.bytes());
    assert_eq!(connack(&mut lab, keeper), None);
    lab.store_answers();
    assert_eq!(connack(&mut lab, keeper), Some(1));
}

#[test]
fn an_armed_will_is_stored_before_the_connack_even_of_a_clean_session() {
    for version in BOTH {
        let mut lab = Lab::new();
        lab.pause_store();
        let client = lab.open(version);
        lab.send(client, &Connect::new(version, "a").with_will("state", b"offline").bytes());
        assert_eq!(firsts(&mut lab, client), [], "version {version}");
        lab.store_answers();
        assert_eq!(firsts(&mut lab, client), [0x20], "version {version}");
    }
}

#[test]
fn pubrel_leaves_after_the_pubrec_is_stored_and_pubcomp_after_the_release() {
    for version in BOTH {
        let (mut lab, keeper, _, publisher) = lab(version);
        lab.send(publisher, &wire::publish(version, 4, "kept", Some(1), b"x"));
        let id = lab.publishes(keeper)[0].id.unwrap();
        lab.pause_store();
        lab.send(keeper, &wire::ack(0x50, id));
        assert_eq!(firsts(&mut lab, keeper), [], "version {version}");
        lab.store_answers();
        assert_eq!(firsts(&mut lab, keeper), [0x62], "version {version}");

        lab.send(keeper, &wire::publish(version, 4, "nobody", Some(9), b"x"));
        lab.bytes(keeper);
        lab.pause_store();
        lab.send(keeper, &wire::ack(0x62, 9));
        assert_eq!(firsts(&mut lab, keeper), [], "version {version}: its session outlives the connection");
        lab.store_answers();
        assert_eq!(firsts(&mut lab, keeper), [0x70], "version {version}");
    }
}

#[test]
fn the_records_of_one_drain_are_one_batch() {
    let (mut lab, _, _, publisher) = lab(V5);
    let before = lab.stored.len();
    let two = [wire::publish(V5, 2, "kept", Some(1), b"x"), wire::publish(V5, 2, "kept", Some(2), b"y")];
    lab.send(publisher, &two.concat());
    assert_eq!(lab.stored.len(), before + 1);
}

#[test]
fn what_relied_on_a_failed_store_is_never_answered_not_even_when_it_works_again() {
    for version in BOTH {
        let (mut lab, keeper, _, publisher) = lab(version);
        lab.pause_store();
        lab.send(publisher, &wire::publish(version, 2, "kept", Some(1), b"lost"));
        lab.store_fails();
        // The next batch of the shard is stored.
        lab.send(keeper, &wire::subscribe(version, 2, &[("another", 1)]));
        assert_eq!(firsts(&mut lab, publisher), [], "version {version}");
    }
}
