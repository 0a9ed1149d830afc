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
fn refused_subscriptions_are_reported_once_a_connection() {
    let mut lab = Lab::new();
    lab.set_rights(&Arc::new(Acl::from_rules(Vec::new(), false).expect("no rule is wrong")));
    let denials =
        |lab: &Lab| lab.events.iter().filter(|event| matches!(event, Event::SubscribeDenied { .. })).count();
    let client = lab.connect(V311, "a");
    for id in 1..20 {
        lab.send(client, &wire::subscribe(V311, id, &[("a", 0), ("b/+", 1)]));
    }
    assert_eq!(denials(&lab), 1);
    let other = lab.connect(V311, "b");
    lab.send(other, &wire::subscribe(V311, 1, &[("a", 0)]));
    assert_eq!(denials(&lab), 2);
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
