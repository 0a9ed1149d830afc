//! Topic Names and Topic Filters (section 4.7).

use std::time::Duration;

use cork_conform::{
    Lab,
    wire::{self, Connect, V311},
};

use crate::support::{
    SUBACK, closes_at_connect, closes_on, message, newcomer, persistent_subscriber, publish, raw_of,
    retained, subscriber,
};

/// Whether a SUBSCRIBE to this filter is granted: neither closed nor answered with 0x80.
fn is_granted(filter: &str) -> bool {
    let mut lab = Lab::new();
    let client = lab.connect(V311, "client");
    lab.send(client, &wire::subscribe(V311, 1, &[(filter, 0)]));
    let failed = raw_of(&mut lab, client, SUBACK).iter().any(|ack| ack.body.get(2) == Some(&0x80));
    !failed && !lab.is_closed(client)
}

/// Whether the Will Topic of a CONNECT is taken.
fn is_will_topic(topic: &str) -> bool {
    !closes_at_connect(&Connect::new(V311, "a").with_will(topic, b"x").bytes())
}

#[test]
fn mqtt311_4_7_1_1_wildcards_are_for_filters_not_for_names() {
    // The Topic Name of PUBLISH has its own statement, 3.3.2-2.
    for topic in ["#", "+", "a/#", "a/+", "+/a", "a/+/b", "a#", "a+b"] {
        assert!(!is_will_topic(topic), "Will Topic {topic}");
    }
    assert!(is_will_topic("a/b") && is_granted("a/+/#"));
}

#[test]
fn mqtt311_4_7_1_2_the_multi_level_wildcard_is_the_whole_last_level() {
    for filter in
        ["a#", "a/b#", "#a", "##", "a/##", "#/", "#/a", "a/#/", "a/#/b", "/#/", "a/#b", "#/#", "+#", "#+"]
    {
        assert!(!is_granted(filter), "{filter}");
    }
    for filter in ["#", "/#", "a/#", "a/b/#", "//#", "$SYS/#"] {
        assert!(is_granted(filter), "{filter}");
    }
}

#[test]
fn mqtt311_4_7_1_3_the_single_level_wildcard_is_a_whole_level() {
    for filter in ["a+", "+a", "a+b", "a/b+", "a/+b", "+a/b", "a+/b", "a/+b/c", "++", "a/++/b"] {
        assert!(!is_granted(filter), "{filter}");
    }
    for filter in ["+", "+/", "/+", "+/a", "a/+", "a/+/b", "+/+", "+/+/+"] {
        assert!(is_granted(filter), "{filter}");
    }
}

#[test]
fn mqtt311_4_7_2_1_wildcards_in_front_do_not_match_names_with_a_dollar_sign() {
    for filter in ["#", "+", "+/#", "+/a", "+/+", "+/a/b", "+/broker/#", "+/broker/+"] {
        let mut lab = Lab::with(|config| config.limits.sys_interval = Duration::from_secs(10));
        let live = subscriber(&mut lab, "live", filter, 2);
        let absent = persistent_subscriber(&mut lab, "absent", filter, 2);
        lab.cut(absent);
        let publisher = lab.connect(V311, "publisher");
        for topic in ["$a", "$a/a", "$a/a/b", "$", "$/a", "$SYSTEM/a", "$test"] {
            publish(&mut lab, publisher, &retained(2, topic, b"x"));
        }
        lab.advance(Duration::from_secs(30)); // the broker's own topics
        let absent = crate::support::persistent(&mut lab, "absent");
        for publish in [lab.publishes(live), lab.publishes(absent), newcomer(&mut lab, filter)].concat() {
            assert!(!publish.topic.starts_with('$'), "{filter} and {}", publish.topic);
        }
    }
}

#[test]
fn mqtt311_4_7_3_1_topics_have_at_least_one_character() {
    for qos in 0..3 {
        assert!(closes_on(&message(qos, "", b"x")), "PUBLISH with QoS {qos}");
        assert!(!closes_on(&message(qos, "/", b"x")) && !closes_on(&message(qos, " ", b"x")));
    }
    assert!(!is_granted("") && is_granted("/"));
    assert!(closes_on(&wire::subscribe(V311, 1, &[("a", 0), ("", 0)])));
    assert!(closes_on(&wire::unsubscribe(V311, 1, &[""])));
    assert!(!is_will_topic("") && is_will_topic("/"));
}

#[test]
fn mqtt311_4_7_3_3_topics_of_65535_bytes_are_the_longest() {
    // The length field has no room for more; less must not be the limit.
    let longest = ["x".repeat(65_535), "x/".repeat(32_767) + "x", "größe/".repeat(8191) + "x"];
    for topic in longest {
        let mut lab = Lab::new();
        let receiver = subscriber(&mut lab, "receiver", &topic, 0);
        let publisher = lab.connect(V311, "publisher");
        lab.send(publisher, &message(0, &topic, b"x"));
        assert_eq!(lab.payloads(receiver), [b"x"]);
    }
}

#[test]
fn mqtt311_4_7_3_4_topics_are_matched_without_normalization() {
    let alike = [
        ["stra\u{DF}e", "strasse", "STRASSE"],
        ["caf\u{E9}", "cafe\u{301}", "cafe"],
        ["a/b", "A/B", "a/b/"],
        ["/a", "a", "//a"],
        ["a b", " a b", "a b "],
        ["a//b", "a/b", "a/./b"],
        ["\u{212B}", "\u{C5}", "A\u{30A}"],
        ["\u{FFFD}", "\u{FFFE}", "?"],
        ["a%2Fb", "a/b", "a\\b"],
        ["\u{1}a", "a\u{7F}", "a\u{200B}"],
    ];
    for same in alike {
        let mut lab = Lab::new();
        let names = ["first", "second", "third"];
        let clients = [0, 1, 2].map(|at| subscriber(&mut lab, names[at], same[at], 0));
        let publisher = lab.connect(V311, "publisher");
        for topic in same {
            lab.send(publisher, &retained(0, topic, topic.as_bytes()));
        }
        for (client, filter) in clients.into_iter().zip(same) {
            assert_eq!(lab.payloads(client), [filter.as_bytes()]);
            assert!(newcomer(&mut lab, filter).iter().all(|publish| publish.payload == filter.as_bytes()));
        }
    }
}
