//! Shared subscriptions: section 4.8.2.

use cork_conform::{
    ClientIx, Lab, Published,
    wire::{self, V5},
};

use crate::common::{
    PUBACK, PUBCOMP, PUBREC, PUBREL, acks_of, is_granted, publish, publish_done, resume, subscribe,
};

#[test]
fn mqtt5_4_8_2_1_a_shared_subscription_begins_with_share_and_a_name() {
    for filter in ["$share//t", "$share//", "$share/", "$share", "$share//#"] {
        assert!(!is_granted(filter.as_bytes()), "{filter}");
    }
    for name in ["g", "a long name", "\u{e9}", "$x"] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        subscribe(&mut lab, client, &format!("$share/{name}/t"), 0);
        publish(&mut lab, client, "t", 0, 0, b"x");
        assert_eq!(lab.publishes(client).len(), 1, "{name}");
    }
    // What begins otherwise is an ordinary filter.
    for filter in ["$SHARE/g/t", "$shared/g/t", "share/g/t", "/$share/g/t", "$Share/g/t"] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        subscribe(&mut lab, client, filter, 0);
        publish(&mut lab, client, "t", 0, 0, b"x");
        assert!(lab.publishes(client).is_empty(), "{filter}");
    }
}

#[test]
fn mqtt5_4_8_2_2_the_name_has_no_wildcards_and_a_filter_follows_it() {
    for filter in [
        "$share/+/t",
        "$share/#/t",
        "$share/g+/t",
        "$share/g#/t",
        "$share/+g/t",
        "$share/#",
        "$share/+",
        "$share/g",
        "$share/g/",
        "$share/g/a#",
        "$share/g/#/a",
    ] {
        assert!(!is_granted(filter.as_bytes()), "{filter}");
    }
    // The first slash ends the name: what follows is the filter, slashes and all.
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    subscribe(&mut lab, client, "$share/g//t/+", 0);
    publish(&mut lab, client, "/t/x", 0, 0, b"x");
    publish(&mut lab, client, "t/x", 0, 0, b"y");
    assert_eq!(lab.payloads(client), [b"x".to_vec()]);
}

#[test]
fn mqtt5_4_8_2_3_each_member_gets_the_qos_it_was_granted() {
    for published in 0..3u8 {
        let mut lab = Lab::new();
        let members: Vec<ClientIx> = (0..3u8)
            .map(|granted| {
                let client = lab.connect(V5, &format!("m{granted}"));
                subscribe(&mut lab, client, "$share/g/t", granted);
                client
            })
            .collect();
        let publisher = lab.connect(V5, "p");
        for _ in 0..9 {
            publish_done(&mut lab, publisher, "t", published, b"x");
        }
        for (granted, client) in (0..3).zip(members) {
            for publish in lab.publishes(client) {
                assert_eq!(publish.qos, published.min(granted), "{published} to {granted}");
            }
        }
    }
}

/// Two members, one with a QoS 2 message on its way to it; the chosen one comes first.
fn chosen() -> (Lab, [(&'static str, ClientIx); 2], Published) {
    let mut lab = Lab::new();
    let members = ["m1", "m2"].map(|name| (name, resume(&mut lab, name)));
    for (_, client) in members {
        subscribe(&mut lab, client, "$share/g/t", 2);
    }
    let publisher = lab.connect(V5, "p");
    publish_done(&mut lab, publisher, "t", 2, b"x");
    let [one, two] = members;
    let got = lab.publishes(one.1);
    match got.into_iter().next() {
        Some(publish) => (lab, [one, two], publish),
        None => {
            let publish = lab.publishes(two.1).remove(0);
            (lab, [two, one], publish)
        }
    }
}

#[test]
fn mqtt5_4_8_2_4_a_qos_2_delivery_is_completed_to_the_member_it_began_with() {
    for released in [false, true] {
        for other_leaves in [false, true] {
            let (mut lab, [(name, client), (_, other)], publish) = chosen();
            let id = publish.id.unwrap();
            if released {
                lab.send(client, &wire::ack(PUBREC, id));
            }
            lab.cut(client);
            if other_leaves {
                lab.cut(other);
            }
            let client = resume(&mut lab, name);
            if !released {
                let again: Vec<_> = lab.publishes(client).iter().map(|publish| publish.id).collect();
                assert_eq!(again, [Some(id)], "sent again to {name}");
                lab.send(client, &wire::ack(PUBREC, id));
            }
            let ids: Vec<u16> = acks_of(&mut lab, client, PUBREL).iter().map(|ack| ack.id).collect();
            assert_eq!(ids, [id], "released to {name}");
        }
    }
}

#[test]
fn mqtt5_4_8_2_5_a_qos_2_delivery_that_began_goes_to_nobody_else() {
    for released in [false, true] {
        let (mut lab, [(name, client), (_, other)], publish) = chosen();
        if released {
            lab.send(client, &wire::ack(PUBREC, publish.id.unwrap()));
        }
        lab.cut(client);
        assert!(lab.publishes(other).is_empty(), "while it is away");
        // A clean start ends its Session; so does time.
        lab.connect(V5, name);
        assert!(lab.publishes(other).is_empty(), "after the end of its Session");
        lab.advance(std::time::Duration::from_secs(7200));
        assert!(lab.publishes(other).is_empty(), "later");
    }
}

#[test]
fn mqtt5_4_8_2_6_a_refused_message_goes_to_nobody_else() {
    for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
        for code in [0x80, 0x83, 0x87, 0x97, 0x99] {
            let mut lab = Lab::new();
            let members = ["m1", "m2", "m3"].map(|name| resume(&mut lab, name));
            for client in members {
                subscribe(&mut lab, client, "$share/g/t", qos);
            }
            let publisher = lab.connect(V5, "p");
            publish_done(&mut lab, publisher, "t", qos, b"x");
            let mut sent = 0;
            for _ in 0..3 {
                for client in members {
                    for publish in lab.publishes(client) {
                        sent += 1;
                        lab.send(client, &wire::ack_with(first, publish.id.unwrap(), code));
                    }
                }
            }
            for client in members {
                lab.cut(client);
            }
            for name in ["m1", "m2", "m3"] {
                let client = resume(&mut lab, name);
                sent += lab.publishes(client).len();
                lab.send(client, &wire::ack(PUBCOMP, 1));
            }
            assert_eq!(sent, 1, "QoS {qos}, 0x{code:02X}");
        }
    }
}
