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

#[test]
fn mqtt5_4_9_0_3_everything_else_is_answered_while_the_quota_is_zero() {
    let mut lab = Lab::new();
    let client = connect_props(&mut lab, "a", &receive_maximum(1));
    subscribe(&mut lab, client, "t", 1);
    let publisher = lab.connect(V5, "p");
    for _ in 0..3 {
        publish(&mut lab, publisher, "t", 1, 1, b"x");
    }
    lab.bytes(client);
    let expect = |lab: &mut Lab, bytes: &[u8], wanted: fn(&Received) -> bool| {
        lab.send(client, bytes);
        let packets = lab.packets(client);
        assert!(packets.iter().any(wanted), "{bytes:x?}: {packets:?}");
    };
    expect(&mut lab, &wire::pingreq(), |p| matches!(p, Received::PingResp));
    expect(&mut lab, &wire::subscribe(V5, 5, &[("u", 1)]), |p| matches!(p, Received::SubAck { .. }));
    expect(&mut lab, &wire::unsubscribe(V5, 6, &["u"]), |p| matches!(p, Received::UnsubAck { .. }));
    let ack = |first: u8| move |p: &Received| matches!(p, Received::Ack(ack) if ack.first == first);
    lab.send(client, &wire::publish(V5, 2, "v", Some(7), b"x"));
    assert!(lab.packets(client).iter().any(ack(PUBACK)));
    lab.send(client, &wire::publish(V5, 4, "v", Some(8), b"x"));
    assert!(lab.packets(client).iter().any(ack(PUBREC)));
    lab.send(client, &wire::ack(PUBREL, 8));
    assert!(lab.packets(client).iter().any(ack(PUBCOMP)));
}
