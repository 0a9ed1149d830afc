//! Flow control: section 4.9.

use cork_conform::{
    Lab, Received,
    wire::{self, V5},
};

use crate::common::{
    PUBACK, PUBCOMP, PUBREC, PUBREL, connect_props, publish, publish_done, receive_maximum, resume_with,
    subscribe,
};

#[test]
fn mqtt5_4_9_0_1_the_send_quota_begins_between_one_and_receive_maximum() {
    for maximum in [1, 2, 7, 100] {
        for qos in [1, 2] {
            let mut lab = Lab::new();
            let client = connect_props(&mut lab, "a", &receive_maximum(maximum));
            subscribe(&mut lab, client, "t", qos);
            let publisher = lab.connect(V5, "p");
            for _ in 0..150 {
                publish_done(&mut lab, publisher, "t", qos, b"x");
            }
            let first = lab.publishes(client).len();
            assert!((1..=usize::from(maximum)).contains(&first), "{first} of {maximum} at QoS {qos}");
        }
    }
}

#[test]
fn mqtt5_4_9_0_2_nothing_above_qos_0_is_sent_while_the_quota_is_zero() {
    for resumed in [false, true] {
        let mut lab = Lab::new();
        let mut client = resume_with(&mut lab, "a", &receive_maximum(2));
        subscribe(&mut lab, client, "t", 2);
        let publisher = lab.connect(V5, "p");
        for n in 0..30 {
            publish_done(&mut lab, publisher, "t", 1 + n % 2, &[n]);
        }
        if resumed {
            lab.cut(client);
            client = resume_with(&mut lab, "a", &receive_maximum(2));
        }
        let mut open = 0;
        loop {
            let publishes = lab.publishes(client);
            open += publishes.len();
            assert!(open <= 2, "{open} under way, resumed: {resumed}");
            let Some(publish) = publishes.last() else { break };
            // One at a time comes back, by each of the ways an answer gives room.
            let id = publish.id.unwrap();
            if publish.qos == 1 {
                lab.send(client, &wire::ack(PUBACK, id));
            } else if publish.payload[0] % 4 == 1 {
                lab.send(client, &wire::ack_with(PUBREC, id, 0x80));
            } else {
                lab.send(client, &wire::ack(PUBREC, id));
                let early = lab.publishes(client).len();
                assert_eq!(early, 0, "PUBREC alone gives no room");
                lab.send(client, &wire::ack(PUBCOMP, id));
            }
            open -= 1;
        }
    }
}

/// What a client with a used-up window, or with room, is answered to everything but acknowledgements of its messages.
fn answers(used_up: bool) -> Vec<Received> {
    let mut lab = Lab::new();
    let client = connect_props(&mut lab, "a", &receive_maximum(1));
    subscribe(&mut lab, client, "t", 1);
    if used_up {
        let publisher = lab.connect(V5, "p");
        for _ in 0..3 {
            publish(&mut lab, publisher, "t", 1, 1, b"x");
        }
    }
    lab.bytes(client);
    for bytes in [
        wire::pingreq(),
        wire::subscribe(V5, 5, &[("u", 1)]),
        wire::unsubscribe(V5, 6, &["u"]),
        wire::publish(V5, 2, "v", Some(7), b"x"),
        wire::publish(V5, 4, "v", Some(8), b"x"),
        wire::ack(PUBREL, 8),
        wire::ack(PUBREC, 99),
    ] {
        lab.send(client, &bytes);
    }
    lab.packets(client)
}

#[test]
fn mqtt5_4_9_0_3_everything_else_is_answered_while_the_quota_is_zero() {
    assert_eq!(answers(true), answers(false));
}
