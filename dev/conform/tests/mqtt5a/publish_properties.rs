//! The properties of PUBLISH (5.0 3.3.2.3).

use std::{collections::BTreeMap, time::Duration};

use cork_conform::{
    ClientIx, Lab, Published,
    wire::{self, V5},
};

use crate::steps::{
    CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY, NOT_UTF8, PAYLOAD_FORMAT, RESPONSE_TOPIC, TOPIC_ALIAS,
    TOPIC_ALIAS_MAXIMUM, USER_PROPERTY, byte, closes, durable, durable_with, keeps_order, long, pair,
    puback_with_reason_string, publish, publish_with, retained, short, subscribe, text, wait, with,
};

/// A message with these properties as it comes to a live, an absent, a late and a sharing subscriber.
fn everywhere(props: &[u8]) -> Vec<Published> {
    let mut lab = Lab::new();
    let live = lab.connect(V5, "live");
    subscribe(&mut lab, live, "#", 0);
    let absent = lab.connect_with(V5, &durable("absent", 100));
    subscribe(&mut lab, absent, "#", 1);
    lab.cut(absent);
    let member = lab.connect(V5, "member");
    subscribe(&mut lab, member, "$share/g/#", 2);
    let sender = lab.connect(V5, "sender");
    publish_with(&mut lab, sender, 0x05, "topic", props, b"text");
    let mut got = lab.publishes(live);
    let absent = lab.connect_with(V5, &durable("absent", 100));
    got.extend(lab.publishes(absent));
    got.extend(lab.publishes(member));
    got.extend(retained(&mut lab, "#"));
    got
}

/// The values of a property in each copy, where one property among others is sent.
fn values(property: u8, props: &[u8]) -> Vec<Vec<Vec<u8>>> {
    // A property that is not passed on before and after it: the block cannot be copied as it is.
    let block = [&long(MESSAGE_EXPIRY, 1000)[..], props, &short(TOPIC_ALIAS, 1)].concat();
    let mut copies = everywhere(props);
    copies.extend(everywhere(&block));
    copies.iter().map(|copy| copy.props.all(property).into_iter().map(<[u8]>::to_vec).collect()).collect()
}

#[test]
fn mqtt5_3_3_2_4_the_payload_format_indicator_is_passed_on() {
    for value in [0, 1] {
        for got in values(PAYLOAD_FORMAT, &byte(PAYLOAD_FORMAT, value)) {
            assert_eq!(got, [[value]]);
        }
    }
    for got in values(PAYLOAD_FORMAT, &[]) {
        assert!(got.is_empty(), "none was sent: {got:x?}");
    }
}

#[test]
fn mqtt5_3_3_2_5_a_message_that_waited_too_long_is_dropped() {
    let expiry = long(MESSAGE_EXPIRY, 10);
    for seconds in [10, 11, 1000] {
        // In the queue of an absent client.
        let mut lab = Lab::new();
        let client = lab.connect_with(V5, &durable("client", 10_000));
        subscribe(&mut lab, client, "t", 2);
        lab.cut(client);
        let sender = lab.connect(V5, "sender");
        publish_with(&mut lab, sender, 0x02, "t", &expiry, b"");
        publish_with(&mut lab, sender, 0x04, "t", &expiry, b"");
        wait(&mut lab, seconds);
        let client = lab.connect_with(V5, &durable("client", 10_000));
        assert!(lab.publishes(client).is_empty(), "in a queue for {seconds} s");
        // Behind a full window.
        let mut lab = Lab::new();
        let client = lab.connect_with(V5, &with("client", &short(0x21, 1)));
        subscribe(&mut lab, client, "t", 1);
        let sender = lab.connect(V5, "sender");
        publish(&mut lab, sender, 0x02, "t", b"first");
        publish_with(&mut lab, sender, 0x02, "t", &expiry, b"late");
        wait(&mut lab, seconds);
        let first = lab.publishes(client).pop().and_then(|publish| publish.id).unwrap_or(0);
        lab.send(client, &wire::ack(0x40, first));
        assert!(lab.publishes(client).is_empty(), "behind a full window for {seconds} s");
        // Retained.
        let mut lab = Lab::new();
        let sender = lab.connect(V5, "sender");
        publish_with(&mut lab, sender, 0x03, "t", &expiry, b"");
        wait(&mut lab, seconds);
        assert!(retained(&mut lab, "t").is_empty(), "retained for {seconds} s");
    }
}

#[test]
fn mqtt5_3_3_2_6_the_message_expiry_interval_is_less_by_the_time_waited() {
    for waited in [0, 1, 5, 9] {
        let mut lab = Lab::new();
        let live = lab.connect(V5, "live");
        subscribe(&mut lab, live, "t", 0);
        let client = lab.connect_with(V5, &durable("client", 10_000));
        subscribe(&mut lab, client, "t", 2);
        lab.cut(client);
        let sender = lab.connect(V5, "sender");
        publish_with(&mut lab, sender, 0x03, "t", &long(MESSAGE_EXPIRY, 10), b"");
        let left = |publish: &Published| publish.props.number(MESSAGE_EXPIRY);
        assert!(lab.publishes(live).iter().all(|publish| left(publish) == Some(10)), "live");
        lab.advance(Duration::from_secs(waited));
        let client = lab.connect_with(V5, &durable("client", 10_000));
        let mut got = lab.publishes(client);
        got.extend(retained(&mut lab, "t"));
        for publish in got {
            assert_eq!(left(&publish), u32::try_from(10 - waited).ok(), "after {waited} s");
        }
    }
}

/// Publishes by alias alone.
fn by_alias(lab: &mut Lab, client: ClientIx, alias: u16, payload: &[u8]) {
    lab.send(client, &wire::publish_with(V5, 0, "", None, &short(TOPIC_ALIAS, alias), payload));
}

#[test]
fn mqtt5_3_3_2_7_topic_aliases_end_with_the_connection() {
    // The client's.
    for takeover in [false, true] {
        let mut lab = Lab::new();
        let receiver = lab.connect(V5, "receiver");
        subscribe(&mut lab, receiver, "#", 0);
        let client = lab.connect_with(V5, &durable("client", 100));
        publish_with(&mut lab, client, 0, "topic", &short(TOPIC_ALIAS, 1), b"defined");
        if !takeover {
            lab.cut(client);
        }
        let again = lab.connect_with(V5, &durable("client", 100));
        by_alias(&mut lab, again, 1, b"undefined");
        assert!(!lab.payloads(receiver).contains(&b"undefined".to_vec()), "takeover {takeover}");
    }
    // The broker's: an alias without Topic Name was defined on the same connection.
    let mut lab = Lab::new();
    let connect = durable_with("client", 100, &short(TOPIC_ALIAS_MAXIMUM, 5));
    let sender = lab.connect(V5, "sender");
    for _ in 0..3 {
        let client = lab.connect_with(V5, &connect);
        subscribe(&mut lab, client, "#", 1);
        publish(&mut lab, sender, 0x00, "some/topic", b"");
        publish(&mut lab, sender, 0x02, "some/topic", b"");
        let mut defined = Vec::new();
        for publish in lab.publishes(client) {
            let alias = publish.props.number(TOPIC_ALIAS);
            assert!(!publish.topic.is_empty() || defined.contains(&alias), "{publish:?}");
            defined.push(alias);
        }
        lab.cut(client);
        publish(&mut lab, sender, 0x02, "some/topic", b"");
    }
}

#[test]
fn mqtt5_3_3_2_8_topic_alias_0_closes_and_is_never_used() {
    assert!(closes(&wire::publish_with(V5, 0, "t", None, &short(TOPIC_ALIAS, 0), b"")));
    assert!(closes(&wire::publish_with(V5, 0, "", None, &short(TOPIC_ALIAS, 0), b"")));
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &with("client", &short(TOPIC_ALIAS_MAXIMUM, 3)));
    subscribe(&mut lab, client, "#", 0);
    for n in 0..8 {
        publish(&mut lab, client, 0, &format!("some/topic/{}", n % 4), b"");
    }
    assert!(lab.publishes(client).iter().all(|publish| publish.props.number(TOPIC_ALIAS) != Some(0)));
}

#[test]
fn mqtt5_3_3_2_9_a_topic_alias_above_the_brokers_maximum_closes() {
    for maximum in [0, 1, 5, 64] {
        for alias in [maximum + 1, maximum + 100, u16::MAX] {
            let mut lab = Lab::with(|config| config.limits.topic_alias_maximum = maximum);
            let client = lab.connect(V5, "client");
            publish_with(&mut lab, client, 0, "t", &short(TOPIC_ALIAS, alias), b"");
            assert!(lab.is_closed(client), "alias {alias}, maximum {maximum}");
        }
    }
}

/// Thirty messages on ten topics to a client that allows `maximum` aliases: topic as resolved by the client, payload
/// (which is the topic), and alias.
fn resolved(maximum: u16) -> Vec<(Option<String>, String, u32)> {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &with("client", &short(TOPIC_ALIAS_MAXIMUM, maximum)));
    subscribe(&mut lab, client, "#", 1);
    let sender = lab.connect(V5, "sender");
    for n in 0..30 {
        let topic = format!("some/topic/{}", n % 10);
        publish(&mut lab, sender, if n % 2 == 0 { 0x00 } else { 0x02 }, &topic, topic.as_bytes());
    }
    let mut aliases = BTreeMap::new();
    let mut all = Vec::new();
    for publish in lab.publishes(client) {
        let alias = publish.props.number(TOPIC_ALIAS).unwrap_or(0);
        if !publish.topic.is_empty() {
            aliases.insert(alias, publish.topic.clone());
        }
        let topic = if publish.topic.is_empty() { aliases.get(&alias).cloned() } else { Some(publish.topic) };
        all.push((topic, String::from_utf8_lossy(&publish.payload).into_owned(), alias));
    }
    all
}

#[test]
fn mqtt5_3_3_2_10_a_client_that_takes_all_aliases_it_allows_gets_the_right_topics() {
    for maximum in [1, 2, 9, 10, 100] {
        for (topic, wanted, alias) in resolved(maximum) {
            assert_eq!(topic.as_deref(), Some(wanted.as_str()), "alias {alias}, maximum {maximum}");
        }
    }
}

#[test]
fn mqtt5_3_3_2_11_the_broker_uses_no_alias_above_the_clients_maximum() {
    for maximum in [1, 2, 9] {
        let most = resolved(maximum).iter().map(|(_, _, alias)| *alias).max().unwrap_or(0);
        assert!(most <= u32::from(maximum), "alias {most}, maximum {maximum}");
    }
}

#[test]
fn mqtt5_3_3_2_12_every_alias_up_to_the_brokers_maximum_is_taken() {
    for maximum in [1, 5, 64, u16::MAX] {
        let mut lab = Lab::with(|config| config.limits.topic_alias_maximum = maximum);
        let client = lab.connect(V5, "client");
        for alias in [1, maximum / 2 + 1, maximum] {
            let topic = format!("topic/{alias}");
            let receiver = lab.connect(V5, "receiver");
            subscribe(&mut lab, receiver, &topic, 0);
            publish_with(&mut lab, client, 0, &topic, &short(TOPIC_ALIAS, alias), b"");
            by_alias(&mut lab, client, alias, b"");
            assert_eq!(lab.publishes(receiver).len(), 2, "alias {alias}, maximum {maximum}");
        }
        assert!(!lab.is_closed(client), "maximum {maximum}");
    }
}

#[test]
fn mqtt5_3_3_2_13_a_response_topic_is_a_utf8_string() {
    for bad in NOT_UTF8 {
        let wrong = closes(&puback_with_reason_string(bad));
        assert!(
            !wrong || closes(&wire::publish_with(V5, 0, "t", None, &text(RESPONSE_TOPIC, bad), b"")),
            "{bad:x?}"
        );
    }
}

#[test]
fn mqtt5_3_3_2_14_a_response_topic_with_wildcards_closes() {
    for topic in ["#", "+", "a/#", "a/+/b", "a+"] {
        assert!(
            closes(&wire::publish_with(V5, 0, "t", None, &text(RESPONSE_TOPIC, topic), b"")),
            "{topic:?}"
        );
    }
}

#[test]
fn mqtt5_3_3_2_15_the_response_topic_is_passed_on() {
    for topic in ["answers", "a/b/c", "$x", "\u{1F600}"] {
        for got in values(RESPONSE_TOPIC, &text(RESPONSE_TOPIC, topic)) {
            assert_eq!(got, [topic.as_bytes()]);
        }
    }
}

#[test]
fn mqtt5_3_3_2_16_correlation_data_is_passed_on() {
    for data in [&b""[..], b"\0\xFF", b"#+", &[7; 300]] {
        for got in values(CORRELATION_DATA, &text(CORRELATION_DATA, data)) {
            assert_eq!(got, [data]);
        }
    }
}

/// User Properties, names and values repeated; and what they look like when they come back.
fn user_properties() -> (Vec<u8>, Vec<Vec<u8>>) {
    let all = [("b", "1"), ("a", "1"), ("b", "1"), ("", ""), ("a", "0"), ("\u{1F600}", "x"), ("c", "")];
    let block = all.iter().flat_map(|(name, value)| pair(name, value)).collect();
    (block, all.iter().map(|(name, value)| format!("{name}\0{value}").into_bytes()).collect())
}

#[test]
fn mqtt5_3_3_2_17_user_properties_are_passed_on_unaltered() {
    let (block, mut wanted) = user_properties();
    wanted.sort_unstable();
    for mut got in values(USER_PROPERTY, &block) {
        got.sort_unstable();
        assert_eq!(got, wanted);
    }
}

#[test]
fn mqtt5_3_3_2_18_user_properties_keep_their_order() {
    let (block, wanted) = user_properties();
    for got in values(USER_PROPERTY, &block) {
        let got: Vec<&[u8]> = got.iter().map(Vec::as_slice).collect();
        assert!(keeps_order(&got, &wanted), "{got:x?}");
    }
}

#[test]
fn mqtt5_3_3_2_19_a_content_type_is_a_utf8_string() {
    for bad in NOT_UTF8 {
        let wrong = closes(&puback_with_reason_string(bad));
        assert!(
            !wrong || closes(&wire::publish_with(V5, 0, "t", None, &text(CONTENT_TYPE, bad), b"")),
            "{bad:x?}"
        );
    }
}

#[test]
fn mqtt5_3_3_2_20_the_content_type_is_passed_on() {
    for content in ["", "text/plain", "\u{FEFF}odd \u{7F}"] {
        for got in values(CONTENT_TYPE, &text(CONTENT_TYPE, content)) {
            assert_eq!(got, [content.as_bytes()]);
        }
    }
}
