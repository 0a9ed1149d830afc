//! What one client can make the broker keep, or write into its log, has an end.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cork_access::Acl;
use cork_conform::{
    Lab,
    wire::{self, V5, V311},
};
use cork_core::Event;

#[test]
fn a_refused_filter_is_reported_once_a_connection_and_few_of_them() {
    const REPORTED_MAX: usize = 32;
    let mut lab = Lab::new();
    lab.set_rights(&Arc::new(Acl::from_rules(Vec::new(), false).expect("no rule is wrong")));
    let denials =
        |lab: &Lab| lab.events.iter().filter(|event| matches!(event, Event::SubscribeDenied { .. })).count();
    let client = lab.connect(V311, "a");
    for id in 1..20 {
        lab.send(client, &wire::subscribe(V311, id, &[("a", 0), ("b/+", 1)]));
    }
    assert_eq!(denials(&lab), 2);
    let other = lab.connect(V311, "b");
    lab.send(other, &wire::subscribe(V311, 1, &[("a", 0)]));
    assert_eq!(denials(&lab), 3);
    for n in 0..1000 {
        lab.send(other, &wire::subscribe(V311, 1, &[(&format!("c/{n}"), 0)]));
        lab.send(other, &wire::publish(V311, 0, &format!("d/{n}"), None, b""));
    }
    let of_other = |event: &&Event| matches!(event, Event::SubscribeDenied { client_id, .. } | Event::PublishDenied { client_id, .. } if &**client_id == "b");
    assert_eq!(lab.events.iter().filter(of_other).count(), REPORTED_MAX);
}

#[test]
fn a_client_that_allows_every_topic_alias_gets_some() {
    const TOPIC_ALIAS: u8 = 0x23;
    const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    let mut lab = Lab::new();
    let mut connect = wire::Connect::new(V5, "receiver");
    connect.properties = [TOPIC_ALIAS_MAXIMUM, 0xFF, 0xFF].to_vec();
    let receiver = lab.connect_with(V5, &connect);
    lab.send(receiver, &wire::subscribe(V5, 1, &[("#", 0)]));
    let sender = lab.connect(V5, "sender");
    for n in 0..1000 {
        lab.send(sender, &wire::publish(V5, 0, &format!("sensor/{n}"), None, b""));
    }
    let got = lab.publishes(receiver);
    assert_eq!(got.len(), 1000);
    let aliases: BTreeSet<u32> = got.iter().filter_map(|publish| publish.props.number(TOPIC_ALIAS)).collect();
    assert_eq!(aliases, (1..=256).collect());
    assert_eq!(got[999].topic, "sensor/999");
}

#[test]
fn a_client_that_takes_nothing_is_ended_by_keep_alive_although_it_is_not_read() {
    let mut lab = Lab::with(|config| {
        config.limits.output_bytes_max = 64 << 10;
        config.limits.output_bytes_total_max = 64 << 10;
    });
    let connect = wire::Connect { keep_alive: 10, ..wire::Connect::new(V5, "deaf") };
    let deaf = lab.connect_with(V5, &connect);
    let slow = lab.connect_with(V5, &wire::Connect { client_id: "slow".to_owned(), ..connect });
    for client in [deaf, slow] {
        lab.set_window(client, 0);
        // Answers it is owed, until it is not read from any more.
        lab.send(client, &wire::pingreq().repeat(400_000));
    }
    for _ in 0..20 {
        lab.advance(Duration::from_secs(1));
        lab.set_window(slow, 1);
    }
    assert!(lab.is_closed(deaf));
    assert!(!lab.is_closed(slow), "it reads, if only a byte a second");
}

#[test]
fn a_long_list_of_filters_is_seen_to_in_order_whatever_comes_behind_it() {
    const COUNT: usize = 10_000;
    for version in [V5, V311] {
        let mut lab = Lab::new();
        let client = lab.connect(version, "greedy");
        let names: Vec<String> = (0..COUNT).map(|n| format!("f/{n}")).collect();
        let filters: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 1)).collect();
        lab.send(client, &[wire::subscribe(version, 7, &filters), wire::pingreq()].concat());
        lab.advance(Duration::from_millis(1));
        let bytes = lab.bytes(client);
        let (suback, pingresp) = bytes.split_at(bytes.len() - 2);
        assert_eq!((suback[0], pingresp), (0x90, &[0xD0, 0][..]), "PINGREQ is answered after SUBACK");
        assert!(suback.ends_with(&[1; COUNT]));
        assert_eq!(lab.stats(0).subscriptions, COUNT as u64);
        let plain: Vec<&str> = names.iter().map(|name| &**name).collect();
        lab.send(client, &[wire::unsubscribe(version, 8, &plain), wire::pingreq()].concat());
        lab.advance(Duration::from_millis(1));
        let bytes = lab.bytes(client);
        assert_eq!((bytes[0], &bytes[bytes.len() - 2..]), (0xB0, &[0xD0, 0][..]));
        assert_eq!(lab.stats(0).subscriptions, 0);
    }
}

#[test]
fn retained_messages_of_a_long_list_come_after_its_suback() {
    let mut lab = Lab::new();
    let sender = lab.connect(V311, "sender");
    for n in 0..5000 {
        lab.send(sender, &wire::publish(V311, 1, &format!("f/{n}"), None, b"r"));
    }
    let client = lab.connect(V311, "greedy");
    let names: Vec<String> = (0..5000).map(|n| format!("f/{n}")).collect();
    let filters: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 0)).collect();
    lab.send(client, &wire::subscribe(V311, 7, &filters));
    lab.advance(Duration::from_millis(1));
    let packets = lab.packets(client);
    assert_eq!(packets.len(), 5001);
    assert!(matches!(packets[0], cork_conform::Received::SubAck { .. }), "SUBACK comes first");
}

#[test]
fn who_goes_in_the_middle_of_a_long_list_leaves_nothing() {
    let mut lab = Lab::new();
    lab.pause_store();
    let names: Vec<String> = (0..5000).map(|n| format!("f/{n}")).collect();
    let filters: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 1)).collect();
    let bytes = [wire::subscribe(V311, 7, &filters), wire::disconnect()].concat();
    let client = lab.connect(V311, "greedy");
    lab.send(client, &bytes);
    let other = lab.connect(V311, "greedy");
    lab.advance(Duration::from_millis(1));
    assert!(lab.is_closed(client) && !lab.is_closed(other));
    assert_eq!(lab.stats(0).subscriptions, 0);
}
