//! Filters by content and type, for every kind of client and subscription.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cork_access::Acl;
use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5, V311, Version},
};
use cork_core::{Attachment, FilterTable, Settings, Who};
use cork_filter::Rule;

const BOTH: [Version; 2] = [V311, V5];
const WARM: &str = "$where/payload.t > 25/home/+/climate";

/// A User Property.
fn user(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], wire::string(name), wire::string(value)].concat()
}

/// The codes and the Reason String of a SUBACK.
fn suback(lab: &mut Lab, client: ClientIx) -> (Vec<u8>, String) {
    match lab.take_one(client) {
        Some(Received::SubAck { codes, props, .. }) => (codes, props.text(0x1F).unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

fn subscribe(lab: &mut Lab, version: Version, client: ClientIx, filter: &str) {
    lab.send(client, &wire::subscribe(version, 1, &[(filter, 1)]));
    let (codes, why) = suback(lab, client);
    assert_eq!(codes, [1], "{filter}: {why}");
}

fn subscriber(lab: &mut Lab, version: Version, name: &str, filter: &str) -> ClientIx {
    let client = lab.connect(version, name);
    subscribe(lab, version, client, filter);
    client
}

fn publish(lab: &mut Lab, publisher: ClientIx, topic: &str, payload: &str) {
    lab.send(publisher, &wire::publish(V311, 0, topic, None, payload.as_bytes()));
}

/// Topics and payloads that came.
fn got(lab: &mut Lab, client: ClientIx) -> Vec<String> {
    let text =
        |one: cork_conform::Published| format!("{} {}", one.topic, String::from_utf8_lossy(&one.payload));
    lab.publishes(client).into_iter().map(text).collect()
}

fn rule(text: &str) -> Arc<Rule> {
    Arc::new(Rule::from_prefix(text).expect("it is right"))
}

fn named(name: &str, text: &str) -> Arc<FilterTable> {
    Arc::new(FilterTable { named: [(name.into(), rule(text))].into(), attached: Vec::new() })
}

#[test]
fn a_condition_in_the_topic_filter_decides() {
    for version in BOTH {
        for shards in [1, 3] {
            let mut lab = Lab::with(|config| config.shards = shards);
            let client = subscriber(&mut lab, version, "reader", WARM);
            let publisher = lab.connect(V311, "sensor");
            for (topic, payload) in [
                ("home/kitchen/climate", r#"{"t": 26}"#),
                ("home/kitchen/climate", r#"{"t": 25}"#),
                ("home/bath/climate", r#"{"t": 30.5}"#),
                ("home/bath/climate", r#"{"x": 30.5}"#),
                ("home/bath/climate", "no json"),
                ("home/bath/light", r#"{"t": 99}"#),
            ] {
                publish(&mut lab, publisher, topic, payload);
            }
            let expected = [r#"home/kitchen/climate {"t": 26}"#, r#"home/bath/climate {"t": 30.5}"#];
            assert_eq!(got(&mut lab, client), expected, "version {version}, {shards} shards");
            let stats: Vec<_> = (0..usize::from(shards)).map(|shard| lab.stats(shard)).collect();
            let sum = |of: fn(&cork_core::Stats) -> u64| stats.iter().map(of).sum::<u64>();
            let counted =
                (sum(|s| s.filter_passed), sum(|s| s.filter_suppressed), sum(|s| s.filter_not_understood));
            assert_eq!(counted, (2, 1, 2));
        }
    }
}

#[test]
fn one_message_comes_once_if_any_subscription_wants_it() {
    let mut lab = Lab::new();
    let client = subscriber(&mut lab, V5, "reader", WARM);
    let publisher = lab.connect(V311, "sensor");
    // Two strings are two subscriptions, and a third one without filter takes everything.
    subscribe(&mut lab, V5, client, "$where/payload.t < 0/home/+/climate");
    publish(&mut lab, publisher, "home/a/climate", r#"{"t": 26}"#);
    publish(&mut lab, publisher, "home/a/climate", r#"{"t": -1}"#);
    publish(&mut lab, publisher, "home/a/climate", r#"{"t": 1}"#);
    assert_eq!(got(&mut lab, client).len(), 2);
    subscribe(&mut lab, V5, client, "home/#");
    publish(&mut lab, publisher, "home/a/climate", r#"{"t": 26}"#);
    publish(&mut lab, publisher, "home/a/climate", r#"{"t": 1}"#);
    assert_eq!(got(&mut lab, client).len(), 2);
    // UNSUBSCRIBE names the same string.
    lab.send(client, &wire::unsubscribe(V5, 2, &["home/#", WARM, "$where/payload.t>25/home/+/climate"]));
    let Some(Received::UnsubAck { codes, .. }) = lab.take_one(client) else { panic!("no UNSUBACK") };
    assert_eq!(codes, [0, 0, 0x11]);
    publish(&mut lab, publisher, "home/a/climate", r#"{"t": 26}"#);
    publish(&mut lab, publisher, "home/a/climate", r#"{"t": -1}"#);
    assert_eq!(got(&mut lab, client), [r#"home/a/climate {"t": -1}"#]);
}

#[test]
fn subscription_identifiers_are_those_of_the_subscriptions_that_pass() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "reader");
    for (id, filter) in [(1, WARM), (2, "$where/payload.t < 0/home/+/climate"), (3, "home/#")] {
        lab.send(client, &wire::subscribe_with(V5, 1, &[0x0B, id], &[(filter, 0)]));
    }
    lab.packets(client);
    let publisher = lab.connect(V311, "sensor");
    publish(&mut lab, publisher, "home/a/climate", r#"{"t": 26}"#);
    let [one] = <[_; 1]>::try_from(lab.publishes(client)).unwrap();
    assert_eq!(one.props.all(0x0B), [[0, 0, 0, 1], [0, 0, 0, 3]]);
}

#[test]
fn a_wrong_filter_is_refused_with_its_place() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "reader");
    for (filter, why) in [
        ("$where/payload.t >/a", "at character 12: a value is expected here, not the end"),
        (
            "$where/payload.t %2 5/a",
            "at character 11: a % is written %25 here; the characters / + # ; are encoded, too (%2F %2B %23 %3B)",
        ),
        (
            "$where/payload.t+1 > 2/a",
            "at character 10: a % is written %25 here; the characters / + # ; are encoded, too (%2F %2B %23 %3B)",
        ),
        ("$where/qos/a", "a filter is true or false; this is a value, compare it with another"),
        ("$where//a", "there is no condition, and no changed, deadband or every either"),
        ("$where/true;evry=1s/a", "unknown option `evry`; there are changed, deadband and every"),
        ("$where/true;every=1/a", "every is a time from 1ms to 30d, as in every=10s, not `1`"),
        ("$where/true;deadband=x/a", "deadband is a number, as in deadband=0.5, not `x`"),
        ("$where/true", "a prefix is followed by a topic filter, as in $filter/<name>/sensors/#"),
        ("$filter/hot/a", "this broker has no filter named `hot`"),
        (
            "$where/true/$where/true/a",
            "there may be one of $filter/, $where/ and $history/, and $share/ comes before it",
        ),
        (
            "$where/true/$share/g/a",
            "there may be one of $filter/, $where/ and $history/, and $share/ comes before it",
        ),
        ("$history/last=1/a", "this broker keeps no history: its configuration has no [[history]]"),
        (
            "$share/g/$history/last=1/a",
            "a shared subscription has no history: who of its members would get it?",
        ),
    ] {
        lab.send(client, &wire::subscribe(V5, 1, &[(filter, 1), ("fine", 0)]));
        assert_eq!(suback(&mut lab, client), (vec![0x8F, 0], why.to_owned()), "{filter}");
        assert!(!lab.is_closed(client));
    }
    let old = lab.connect(V311, "old");
    lab.send(old, &wire::subscribe(V311, 1, &[("$where/payload.t >/a", 1), ("fine", 0)]));
    assert_eq!(suback(&mut lab, old).0, [0x80, 0]);
    // What looks like a prefix and is none stays what it was.
    for filter in ["$wherever/a", "$where", "$filtered/x"] {
        subscribe(&mut lab, V311, old, filter);
    }
    // The topic filter itself is still a topic filter.
    lab.send(old, &wire::subscribe(V311, 1, &[("$where/true/a#", 1)]));
    assert!(lab.is_closed(old));
}

#[test]
fn user_properties_hold_for_all_topic_filters() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "reader");
    let props = [user("filter", "number > 30"), user("changed", ""), user("other", "x")].concat();
    lab.send(client, &wire::subscribe_with(V5, 1, &props, &[("a", 0), ("b", 0)]));
    assert_eq!(suback(&mut lab, client).0, [0, 0]);
    let publisher = lab.connect(V311, "sensor");
    for (topic, payload) in [("a", "31"), ("a", "31.0"), ("a", "29"), ("b", "31"), ("a", "32"), ("b", "x")] {
        publish(&mut lab, publisher, topic, payload);
    }
    assert_eq!(got(&mut lab, client), ["a 31", "b 31", "a 32"]);
    // The same Topic Filter without filter replaces it, and the other way round.
    lab.send(client, &wire::subscribe(V5, 1, &[("a", 0)]));
    publish(&mut lab, publisher, "a", "1");
    lab.send(client, &wire::subscribe_with(V5, 1, &user("filter", "number > 50"), &[("a", 0)]));
    publish(&mut lab, publisher, "a", "2");
    publish(&mut lab, publisher, "a", "51");
    assert_eq!(got(&mut lab, client), ["a 1", "a 51"]);
    lab.send(client, &wire::unsubscribe(V5, 2, &["a", "b"]));
    let Some(Received::UnsubAck { codes, .. }) = lab.take_one(client) else { panic!("no UNSUBACK") };
    assert_eq!(codes, [0, 0]);
    publish(&mut lab, publisher, "a", "52");
    assert!(got(&mut lab, client).is_empty());
    // Wrong ones.
    lab.send(client, &wire::subscribe_with(V5, 1, &user("filter", "number >"), &[("a", 0), ("b", 0)]));
    let why = "at character 9: a value is expected here, not the end".to_owned();
    assert_eq!(suback(&mut lab, client), (vec![0x8F, 0x8F], why));
    lab.send(client, &wire::subscribe_with(V5, 1, &user("filter", "true"), &[(WARM, 0)]));
    assert_eq!(suback(&mut lab, client).0, [0x8F]);
    let twice = [user("filter", "true"), user("filter", "true")].concat();
    lab.send(client, &wire::subscribe_with(V5, 1, &twice, &[("a", 0)]));
    assert!(matches!(lab.take_one(client), Some(Received::Disconnect { reason: 0x82, .. })));
}

#[test]
fn changed_deadband_and_every_say_when() {
    let mut lab = Lab::new();
    let publisher = lab.connect(V311, "sensor");
    let cases: [(&str, &[&str], &[&str]); 6] = [
        (";changed", &["1", "1", "2", "2.0", "1", "x", "x", "1"], &["1", "2", "1", "x", "1"]),
        (";deadband=0.5", &["20", "20.5", "20.6", "20.1", "20", "x"], &["20", "20.6", "20", "x"]),
        (
            "true;changed=payload.t",
            &[r#"{"t":1,"n":1}"#, r#"{"t":1,"n":2}"#, r#"{"n":3}"#, r#"{"t":2}"#],
            &[r#"{"t":1,"n":1}"#, r#"{"t":2}"#],
        ),
        (
            ";changed",
            &[r#"{"a":[1,"x"]}"#, r#"{ "a" : [1.0, "\u0078"] }"#, "{}"],
            &[r#"{"a":[1,"x"]}"#, "{}"],
        ),
        ("number > 5;changed", &["6", "1", "6", "7"], &["6", "7"]),
        (";changed;deadband=1", &["1", "2", "2.5"], &["1", "2.5"]),
    ];
    for (at, (options, sent, expected)) in cases.into_iter().enumerate() {
        let topic = format!("t/{at}");
        let client = subscriber(&mut lab, V311, &format!("reader{at}"), &format!("$where/{options}/t/+"));
        for payload in sent {
            publish(&mut lab, publisher, &topic, payload);
        }
        let payloads: Vec<String> = got(&mut lab, client);
        let expected: Vec<String> = expected.iter().map(|payload| format!("{topic} {payload}")).collect();
        assert_eq!(payloads, expected, "{options}");
    }
}

#[test]
fn every_lets_the_latest_go_when_its_time_is_over() {
    let mut lab = Lab::new();
    let client = subscriber(&mut lab, V311, "reader", "$where/;every=10s/t/+");
    let publisher = lab.connect(V311, "sensor");
    let second = Duration::from_secs(1);
    publish(&mut lab, publisher, "t/a", "1");
    publish(&mut lab, publisher, "t/b", "b1");
    assert_eq!(got(&mut lab, client), ["t/a 1", "t/b b1"]);
    for payload in ["2", "3", "4"] {
        lab.advance(second);
        publish(&mut lab, publisher, "t/a", payload);
    }
    lab.advance(6 * second);
    assert!(got(&mut lab, client).is_empty());
    lab.advance(second);
    assert_eq!(got(&mut lab, client), ["t/a 4"], "the latest, ten seconds after the first");
    lab.advance(9 * second);
    publish(&mut lab, publisher, "t/a", "5");
    assert!(got(&mut lab, client).is_empty(), "ten seconds began anew");
    lab.advance(second);
    assert_eq!(got(&mut lab, client), ["t/a 5"]);
    lab.advance(11 * second);
    publish(&mut lab, publisher, "t/a", "6");
    assert_eq!(got(&mut lab, client), ["t/a 6"]);
    // Nobody waits for what a client does not want any more.
    publish(&mut lab, publisher, "t/a", "7");
    lab.send(client, &wire::unsubscribe(V311, 2, &["$where/;every=10s/t/+"]));
    lab.advance(20 * second);
    assert!(got(&mut lab, client).is_empty());
}

#[test]
fn what_waits_for_its_time_is_forgotten_when_the_value_is_back() {
    let mut lab = Lab::new();
    let client = subscriber(&mut lab, V311, "reader", "$where/;changed;every=10s/t");
    let publisher = lab.connect(V311, "sensor");
    for payload in ["1", "2", "1"] {
        publish(&mut lab, publisher, "t", payload);
    }
    lab.advance(Duration::from_secs(11));
    assert_eq!(got(&mut lab, client), ["t 1"]);
}

#[test]
fn retained_messages_are_filtered() {
    for version in BOTH {
        let mut lab = Lab::new();
        let publisher = lab.connect(V311, "sensor");
        for (topic, payload) in [("r/a", "31"), ("r/b", "29"), ("r/c", "x"), ("r/d", "32")] {
            lab.send(publisher, &wire::publish(V311, 1, topic, None, payload.as_bytes()));
        }
        let client = subscriber(&mut lab, version, "reader", "$where/number > 30;changed/r/+");
        let retained = lab.publishes(client);
        let text: Vec<_> = retained.iter().map(|one| (one.topic.as_str(), one.retain)).collect();
        assert_eq!(text, [("r/a", true), ("r/d", true)], "version {version}");
        // It counts as passed on.
        publish(&mut lab, publisher, "r/a", "31");
        publish(&mut lab, publisher, "r/a", "33");
        assert_eq!(got(&mut lab, client), ["r/a 33"]);
    }
}

#[test]
fn a_share_has_one_filter_for_all_its_members() {
    for shards in [1, 3] {
        let mut lab = Lab::with(|config| config.shards = shards);
        let text = "$share/g/$where/number > 30;changed/s/+";
        let members: Vec<ClientIx> =
            (0..4).map(|n| subscriber(&mut lab, V311, &format!("member{n}"), text)).collect();
        let plain = subscriber(&mut lab, V311, "plain", "$share/g/s/+");
        let publisher = lab.connect(V311, "sensor");
        for n in 0..40 {
            publish(&mut lab, publisher, "s/a", &(n + 11).to_string());
            publish(&mut lab, publisher, "s/a", &(n + 11).to_string());
        }
        let each: Vec<usize> = members.iter().map(|member| lab.publishes(*member).len()).collect();
        assert_eq!(each.iter().sum::<usize>(), 20, "{shards} shards: {each:?}");
        assert!(each.iter().all(|count| *count > 0), "{shards} shards: {each:?}");
        assert_eq!(lab.publishes(plain).len(), 80, "another group");
        // The last member ends the group.
        for member in members {
            lab.send(member, &wire::unsubscribe(V311, 2, &[text]));
        }
        publish(&mut lab, publisher, "s/a", "99");
        assert_eq!(lab.publishes(plain).len(), 1);
        assert_eq!((0..usize::from(shards)).map(|s| lab.stats(s).subscriptions).sum::<u64>(), 1);
    }
}

#[test]
fn a_kept_session_keeps_its_filters_over_a_crash() {
    for shards in [1, 3] {
        let mut lab = Lab::with(|config| {
            config.shards = shards;
            config.filters = named("hot", "number > 30");
        });
        let names = ["where", "name", "property", "share"];
        for name in names {
            let version = if name == "property" { V5 } else { V311 };
            let client = lab.connect_with(version, &Connect::persistent(version, name));
            match name {
                "where" => subscribe(&mut lab, version, client, "$where/number > 30;changed/t"),
                "name" => subscribe(&mut lab, version, client, "$filter/hot/t"),
                "share" => subscribe(&mut lab, version, client, "$share/g/$filter/hot/t"),
                _ => {
                    let props = user("filter", "number > 30 && topic_name == 't'");
                    lab.send(client, &wire::subscribe_with(V5, 1, &props, &[("t", 1)]));
                }
            }
            lab.cut(client);
        }
        let to = |lab: &mut Lab, first: u16| {
            let publisher = lab.connect(V311, "sensor");
            for (id, payload) in (first..).zip(["31", "29", "32"]) {
                lab.send(publisher, &wire::publish(V311, 2, "t", Some(id), payload.as_bytes()));
            }
        };
        to(&mut lab, 1);
        lab.crash(Duration::from_secs(1));
        to(&mut lab, 4);
        for name in names {
            let version = if name == "property" { V5 } else { V311 };
            let client = lab.connect_with(version, &Connect::persistent(version, name));
            let all: Vec<String> = got(&mut lab, client);
            assert_eq!(all, ["t 31", "t 32", "t 31", "t 32"], "{name}, {shards} shards");
            lab.cut(client);
        }
        // Without the name nothing passes; with it again, all is as before.
        let client = lab.connect_with(V311, &Connect::persistent(V311, "name"));
        lab.packets(client);
        let publisher = lab.connect(V311, "sensor");
        lab.set_settings(&Settings::default());
        publish(&mut lab, publisher, "t", "40");
        lab.set_settings(&Settings { filters: named("hot", "number > 50"), ..Settings::default() });
        publish(&mut lab, publisher, "t", "41");
        publish(&mut lab, publisher, "t", "51");
        assert_eq!(got(&mut lab, client), ["t 51"]);
    }
}

fn attached(who: Who, topic: &str, text: &str) -> Arc<FilterTable> {
    let (rule, name) = (rule(text), "$attach/1".into());
    Arc::new(FilterTable {
        attached: vec![Attachment { who, topic: topic.into(), rule, name }],
        ..Default::default()
    })
}

#[test]
fn an_administrator_attaches_a_filter() {
    for shards in [1, 3] {
        let mut lab = Lab::with(|config| config.shards = shards);
        let reader = subscriber(&mut lab, V311, "node-red", "home/#");
        let other = subscriber(&mut lab, V311, "other", "home/#");
        let publisher = lab.connect(V311, "sensor");
        let send = |lab: &mut Lab| {
            for (topic, payload) in [("home/a/t", "31"), ("home/a/t", "29"), ("home/a/light", "on")] {
                publish(lab, publisher, topic, payload);
            }
        };
        send(&mut lab);
        assert_eq!((got(&mut lab, reader).len(), got(&mut lab, other).len()), (3, 3));
        let filters = attached(Who::Client("node-red".into()), "home/+/t", "number > 30;changed");
        lab.set_settings(&Settings { filters: Arc::clone(&filters), ..Settings::default() });
        send(&mut lab);
        send(&mut lab);
        assert_eq!(got(&mut lab, reader), ["home/a/t 31", "home/a/light on", "home/a/light on"]);
        assert_eq!(got(&mut lab, other).len(), 6);
        // A further subscription has it, too; one that brings its own does not.
        subscribe(&mut lab, V311, reader, "home/a/t");
        send(&mut lab);
        assert_eq!(got(&mut lab, reader), ["home/a/t 31", "home/a/light on"], "new to the new subscription");
        subscribe(&mut lab, V311, reader, "$where/number < 30/home/a/t");
        send(&mut lab);
        assert_eq!(got(&mut lab, reader), ["home/a/t 29", "home/a/light on"]);
        lab.set_settings(&Settings { filters, ..Settings::default() });
        send(&mut lab);
        assert_eq!(
            got(&mut lab, reader),
            ["home/a/t 29", "home/a/light on"],
            "the same again changes nothing"
        );
        lab.set_settings(&Settings::default());
        send(&mut lab);
        assert_eq!(got(&mut lab, reader).len(), 3);
        lab.send(reader, &wire::unsubscribe(V311, 2, &["home/#", "home/a/t", "$where/number < 30/home/a/t"]));
        send(&mut lab);
        assert!(got(&mut lab, reader).is_empty());
    }
}

#[test]
fn rights_come_first() {
    let mut lab = Lab::new();
    let client = subscriber(&mut lab, V311, "reader", "$where/;changed/t/+");
    let publisher = lab.connect(V311, "sensor");
    let rights = |default: &str| {
        let text =
            format!("default = \"{default}\"\n[[rule]]\ntopic = \"t/b\"\nallow = [\"read\", \"write\"]\n");
        Arc::new(Acl::from_toml(&text, "acl.toml").unwrap())
    };
    publish(&mut lab, publisher, "t/a", "1");
    lab.set_rights(&Arc::new(
        Acl::from_toml("default = \"deny\"\n[[rule]]\nallow = [\"write\"]\ntopic = \"#\"\n", "acl.toml")
            .unwrap(),
    ));
    // What may not be read leaves no trace in what was passed on.
    publish(&mut lab, publisher, "t/a", "2");
    lab.set_rights(&rights("allow"));
    publish(&mut lab, publisher, "t/a", "1");
    publish(&mut lab, publisher, "t/a", "2");
    assert_eq!(got(&mut lab, client), ["t/a 1", "t/a 2"]);
    lab.set_rights(&rights("deny"));
    lab.send(client, &wire::subscribe(V311, 1, &[("$where/;changed/t/c", 0), ("$where/;changed/t/b", 0)]));
    assert_eq!(suback(&mut lab, client).0, [0x80, 0]);
}

#[test]
fn a_session_has_so_many_filters_and_no_more() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "reader");
    for n in 0..1000 {
        lab.send(client, &wire::subscribe(V5, 1, &[(&format!("$where/number > {n}/t"), 0)]));
    }
    lab.packets(client);
    lab.send(
        client,
        &wire::subscribe(V5, 1, &[("$where/number > 1000/t", 0), ("$where/number > 5/t", 0), ("t", 0)]),
    );
    let (codes, why) = suback(&mut lab, client);
    assert_eq!(codes, [0x97, 0, 0]);
    assert_eq!(why, "a session has at most 1000 subscriptions with filters");
}

#[test]
fn it_is_said_how_many_subscriptions_a_named_filter_has() {
    for shards in [1, 3] {
        let mut filters = (*named("hot", "number > 30")).clone();
        filters.named.insert("idle".into(), rule("number > 0"));
        filters.attached = [("home/#", "hot"), ("work/#", "hot"), ("#", "idle")]
            .map(|(topic, name)| Attachment {
                who: Who::Client("node-red".into()),
                topic: topic.into(),
                rule: Arc::clone(&filters.named[name]),
                name: format!("$filter/{name}").into(),
            })
            .into();
        let mut lab = Lab::with(|config| {
            config.shards = shards;
            config.filters = filters.into();
            config.limits.sys_interval = Duration::from_secs(1);
        });
        let watcher = lab.connect(V5, "watcher");
        subscribe(&mut lab, V5, watcher, "$SYS/broker/filters/+/subscriptions");
        // Only what changed is said again.
        let mut known = BTreeMap::new();
        let mut said = |lab: &mut Lab| {
            lab.advance(Duration::from_secs(4));
            for line in got(lab, watcher) {
                let (topic, number) = line.split_once(' ').expect("a topic and a number");
                known.insert(topic.split('/').nth(3).expect("a name").to_owned(), number.to_owned());
            }
            [known["hot"].clone(), known["idle"].clone()]
        };
        assert_eq!(said(&mut lab), ["0", "0"]);
        let first = subscriber(&mut lab, V311, "first", "$filter/hot/a");
        subscriber(&mut lab, V311, "second", "$filter/hot/a");
        assert_eq!(said(&mut lab), ["2", "0"]);
        lab.send(first, &wire::unsubscribe(V311, 2, &["$filter/hot/a"]));
        assert_eq!(said(&mut lab), ["1", "0"]);
        // Both topics of one client's attachments are one subscription with the filter.
        let attached = subscriber(&mut lab, V311, "node-red", "home/+");
        assert_eq!(said(&mut lab), ["2", "1"]);
        lab.send(attached, &wire::unsubscribe(V311, 2, &["home/+"]));
        assert_eq!(said(&mut lab), ["1", "0"]);
    }
}
