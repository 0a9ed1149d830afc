//! Topic Names and Topic Filters: section 4.7.

use cork_conform::{
    Lab, Received,
    wire::{self, Connect, V5},
};

use crate::common::{is_granted, publish, retain, subscribe};

/// Whether a publication to this topic reaches anybody.
fn is_published(topic: &[u8]) -> bool {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    for filter in ["#", "$x/#"] {
        subscribe(&mut lab, client, filter, 0);
    }
    let publisher = lab.connect(V5, "p");
    for retain in [0x30, 0x31] {
        lab.send(publisher, &wire::packet(retain, &[&wire::string(topic)[..], &[0, b'x']].concat()));
    }
    !lab.publishes(client).is_empty()
}

/// Whether somebody with this Will Topic is let in.
fn is_will_accepted(topic: &str) -> bool {
    let mut lab = Lab::new();
    let client = lab.open(V5);
    lab.send(client, &Connect::new(V5, "a").with_will(topic, b"x").bytes());
    lab.packets(client).iter().any(|packet| matches!(packet, Received::ConnAck { code: 0, .. }))
}

#[test]
fn mqtt5_4_7_0_1_a_topic_name_has_no_wildcards() {
    for topic in ["#", "+", "a/#", "a/+", "a/+/b", "a+", "a#b", "$x/#"] {
        assert!(!is_published(topic.as_bytes()), "{topic}");
        assert!(!is_will_accepted(topic), "Will Topic {topic}");
    }
}

#[test]
fn mqtt5_4_7_1_1_the_multi_level_wildcard_is_the_whole_last_level() {
    for filter in
        ["a/#/b", "#/a", "#/", "a#", "a/b#", "#a", "##", "a/##", "#/#", "$share/g/a#", "$share/g/#/a"]
    {
        assert!(!is_granted(filter.as_bytes()), "{filter}");
    }
    for filter in ["#", "/#", "a/#", "a//#", "$share/g/#", "$share/g/a/#"] {
        assert!(is_granted(filter.as_bytes()), "{filter}");
    }
}

#[test]
fn mqtt5_4_7_1_2_the_single_level_wildcard_is_a_whole_level_anywhere() {
    for filter in ["a+", "+a", "a/b+", "a/+b", "++", "a/++/b", "+a/b", "$share/g/a+", "$share/g/++"] {
        assert!(!is_granted(filter.as_bytes()), "{filter}");
    }
    for (filter, topic) in [
        ("+", "a"),
        ("+/b", "a/b"),
        ("a/+", "a/b"),
        ("a/+/c", "a/b/c"),
        ("+/+", "/a"),
        ("/+", "/a"),
        ("a/+", "a/"),
        ("+/b/#", "a/b"),
        ("+/+/+", "//"),
    ] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        subscribe(&mut lab, client, filter, 0);
        publish(&mut lab, client, topic, 0, 0, b"x");
        assert_eq!(lab.publishes(client).len(), 1, "{filter} and {topic}");
    }
}

#[test]
fn mqtt5_4_7_2_1_a_leading_wildcard_matches_no_topic_that_begins_with_a_dollar() {
    for topic in ["$x", "$x/y", "$", "$/y", "$x/y/z"] {
        for filter in ["#", "+", "+/#", "+/y", "+/+", "+/y/z", "+/+/+", "$share/g/#", "$share/g/+/y"] {
            let mut lab = Lab::new();
            retain(&mut lab, topic, 0, b"retained");
            let client = lab.connect(V5, "a");
            lab.send(client, &wire::subscribe(V5, 1, &[(filter, 0)]));
            publish(&mut lab, client, topic, 0, 0, b"live");
            assert!(lab.publishes(client).is_empty(), "{filter} and {topic}");
        }
    }
}

#[test]
fn mqtt5_4_7_3_1_topics_have_at_least_one_character() {
    assert!(!is_granted(b""), "filter");
    assert!(!is_published(b""), "topic");
    assert!(!is_will_accepted(""), "Will Topic");
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    lab.send(client, &wire::unsubscribe(V5, 1, &[""]));
    let packets = lab.packets(client);
    let deleted = packets.iter().any(|p| matches!(p, Received::UnsubAck { codes, .. } if codes.contains(&0)));
    assert!(!deleted, "UNSUBSCRIBE");
}

#[test]
fn mqtt5_4_7_3_2_topics_have_no_null_character() {
    for topic in [&b"\0"[..], b"a\0", b"\0a", b"a/\0/b", b"a/b\0"] {
        assert!(!is_granted(topic), "filter {topic:?}");
        assert!(!is_published(topic), "topic {topic:?}");
        assert!(!is_will_accepted(str::from_utf8(topic).unwrap()), "Will Topic {topic:?}");
    }
    assert!(!is_granted(b"$share/g\0/t") && !is_granted(b"$share/g/t\0"), "shared");
}

#[test]
fn mqtt5_4_7_3_3_topics_of_65535_bytes_are_whole() {
    let name = format!("{}/{}", "a".repeat(65_500), "b".repeat(34));
    for filter in [&name, "#", &format!("{}/+", "a".repeat(65_500))] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        subscribe(&mut lab, client, filter, 0);
        publish(&mut lab, client, &name, 0, 0, b"x");
        let got = lab.publishes(client);
        assert_eq!(got.len(), 1);
        assert!(got[0].topic == name, "{} bytes", got[0].topic.len());
        // One byte less is another topic.
        publish(&mut lab, client, &name[..65_534], 0, 0, b"x");
        assert_eq!(lab.publishes(client).len(), usize::from(filter.contains(['#', '+'])));
    }
}

#[test]
fn mqtt5_4_7_3_4_topics_are_compared_as_they_are() {
    let topics = [
        "a/b",
        "A/b",
        "a/B",
        "a//b",
        "/a/b",
        "a/b/",
        "a/ b",
        "a /b",
        " a/b",
        "a/b ",
        "a%2Fb",
        "a/./b",
        "a/../a/b",
        "a\\b",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{feff}a/b",
        "a/b\u{fffd}",
        "a/\u{200b}b",
        "\u{ff41}/b",
        "stra\u{df}e",
        "strasse",
    ];
    for held in topics {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        subscribe(&mut lab, client, held, 0);
        for topic in topics {
            publish(&mut lab, client, topic, 0, 0, b"x");
            let got: Vec<String> = lab.publishes(client).into_iter().map(|publish| publish.topic).collect();
            if topic == held {
                assert_eq!(got, [held], "{held:?}");
            } else {
                assert!(got.is_empty(), "{held:?} matched {topic:?}");
            }
        }
    }
}
