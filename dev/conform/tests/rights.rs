//! Rights bind every way to say a topic, and a change of rights or users holds at once.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cork_access::Acl;
use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5, V311, Version},
};
use cork_core::{AuthOutcome, Door, Ended, Event, Users};

const VERSIONS: [Version; 2] = [V311, V5];
const NOT_AUTHORIZED: u8 = 0x87;
const TOPIC_ALIAS: u8 = 0x23;

const OPEN: &str = "default = 'allow'";
/// Everything but `secret`.
const CLOSED: &str = "default = 'allow'\n[[rule]]\ndeny = ['read', 'write']\ntopic = 'secret/#'";

fn rights(lab: &mut Lab, text: &str) {
    lab.set_rights(&Arc::new(Acl::from_toml(text, "acl.toml").expect("the rights are well-formed")));
}

/// A lab with these rights that asks for passwords and lets everybody in.
fn lab(text: &str) -> Lab {
    let mut lab = Lab::with(|config| config.door = Door::Anonymous);
    lab.on_authenticate(|_| AuthOutcome::Allowed { user: None, data: None });
    rights(&mut lab, text);
    lab
}

fn as_user(version: Version, client_id: &str, user: &str) -> Connect {
    Connect { user: Some(user.into()), password: Some(b"pw".to_vec()), ..Connect::new(version, client_id) }
}

fn subscribe(lab: &mut Lab, version: Version, client: ClientIx, filter: &str, qos: u8) -> u8 {
    lab.send(client, &wire::subscribe(version, 7, &[(filter, qos)]));
    match lab.take_one(client) {
        Some(Received::SubAck { codes, .. }) => codes[0],
        other => panic!("no SUBACK but {other:?}"),
    }
}

fn publish(lab: &mut Lab, version: Version, client: ClientIx, topic: &str, qos: u8, payload: &[u8]) {
    lab.send(client, &wire::publish(version, qos << 1, topic, (qos > 0).then_some(9), payload));
}

/// Somebody who may read everything says what came through.
fn observer(lab: &mut Lab) -> ClientIx {
    let observer = lab.connect_with(V5, &as_user(V5, "observer", "observer"));
    subscribe(lab, V5, observer, "#", 0);
    observer
}

/// `CLOSED`, but not for the observer.
fn closed_but_observed() -> String {
    CLOSED.replacen("[[rule]]", "[[rule]]\nuser = 'observer'\nallow = ['read']\ntopic = '#'\n[[rule]]", 1)
}

#[test]
fn a_denied_publication_is_answered_by_its_version_and_goes_nowhere() {
    for version in VERSIONS {
        let mut lab = lab(&closed_but_observed());
        let observer = observer(&mut lab);
        let client = lab.connect(version, "a");
        for (qos, first) in [(0, None), (1, Some(0x40)), (2, Some(0x50))] {
            publish(&mut lab, version, client, "secret/x", qos, b"leak");
            let answer = lab.acks(client).pop();
            assert_eq!(answer.as_ref().map(|ack| ack.first), first, "QoS {qos}");
            let reason = if version == V5 { NOT_AUTHORIZED } else { 0 };
            assert!(answer.is_none_or(|ack| ack.reason == reason));
            if version == V311 && qos == 2 {
                publish(&mut lab, version, client, "secret/x", 2, b"leak");
                lab.send(client, &wire::ack(0x62, 9));
                assert_eq!(lab.acks(client).iter().map(|ack| ack.first).collect::<Vec<_>>(), [0x50, 0x70]);
            }
            assert_eq!(lab.payloads(observer), Vec::<Vec<u8>>::new());
        }
        lab.send(client, &wire::publish(version, 1, "secret/r", None, b"retained"));
        assert_eq!((lab.stats(0).retained, lab.stats(0).denied_publish), (0, 4));
        publish(&mut lab, version, client, "open", 1, b"fine");
        assert_eq!(lab.payloads(observer), [b"fine"]);
    }
}

#[test]
fn a_denied_subscription_is_refused_plain_and_shared() {
    for version in VERSIONS {
        let mut lab = lab(CLOSED);
        let client = lab.connect(version, "a");
        let refused = if version == V5 { NOT_AUTHORIZED } else { 0x80 };
        for filter in ["secret/x", "secret/#", "secret/+", "$share/g/secret/x", "$share/g/secret/#"] {
            assert_eq!(subscribe(&mut lab, version, client, filter, 1), refused, "{filter}");
        }
        assert_eq!(subscribe(&mut lab, version, client, "open", 1), 1);
        assert_eq!((lab.stats(0).subscriptions, lab.stats(0).denied_subscribe), (1, 5));
    }
}

#[test]
fn a_wide_subscription_does_not_bring_what_may_not_be_read() {
    for version in VERSIONS {
        for filter in ["#", "+/x", "$share/g/#", "$share/g/+/x"] {
            let mut lab = lab(OPEN);
            let sender = lab.connect(V5, "sender");
            lab.send(sender, &wire::publish(V5, 1, "secret/x", None, b"kept"));
            rights(&mut lab, "default = 'allow'\n[[rule]]\ndeny = ['read']\ntopic = 'secret/#'");
            let client = lab.connect(version, "a");
            subscribe(&mut lab, version, client, filter, 2);
            for qos in 0..3 {
                publish(&mut lab, V5, sender, "secret/x", qos, b"leak");
                lab.send(sender, &wire::ack(0x62, 9));
            }
            publish(&mut lab, V5, sender, "open/x", 0, b"fine");
            assert_eq!(lab.payloads(client), [b"fine"], "{filter}");
            let retained = u64::from(!filter.starts_with("$share"));
            assert_eq!(lab.stats(0).denied_delivery, 3 + retained, "{filter}");
        }
    }
}

#[test]
fn a_member_that_may_not_read_does_not_swallow_the_message_of_a_share() {
    let mut lab = lab(OPEN);
    let ann = lab.connect_with(V5, &as_user(V5, "a", "ann"));
    let bob = lab.connect_with(V5, &as_user(V5, "b", "bob"));
    subscribe(&mut lab, V5, ann, "$share/g/home/#", 1);
    subscribe(&mut lab, V5, bob, "$share/g/home/#", 1);
    rights(&mut lab, "default = 'allow'\n[[rule]]\nuser = 'bob'\ndeny = ['read']\ntopic = '#'");
    let sender = lab.connect(V5, "sender");
    for n in 0..6 {
        publish(&mut lab, V5, sender, "home/x", 1, &[n]);
    }
    assert_eq!(lab.payloads(ann).len(), 6);
    assert_eq!(lab.payloads(bob).len(), 0);
}

#[test]
fn a_topic_alias_is_judged_by_its_topic_at_each_use() {
    let alias = |topic: &str, payload: &[u8]| {
        wire::publish_with(V5, 2, topic, Some(3), &[TOPIC_ALIAS, 0, 1], payload)
    };
    let mut lab = lab(&closed_but_observed());
    let observer = observer(&mut lab);
    let client = lab.connect(V5, "a");
    let say = |lab: &mut Lab, topic: &str| {
        lab.send(client, &alias(topic, b"x"));
        lab.acks(client).pop().map(|ack| ack.reason)
    };
    // Defined while it is denied, used, and then pointed elsewhere and back.
    assert_eq!(say(&mut lab, "secret/a"), Some(NOT_AUTHORIZED));
    assert_eq!(say(&mut lab, ""), Some(NOT_AUTHORIZED));
    assert_eq!(say(&mut lab, "open"), Some(0));
    assert_eq!(say(&mut lab, ""), Some(0));
    assert_eq!(say(&mut lab, "secret/b"), Some(NOT_AUTHORIZED));
    assert_eq!(lab.publishes(observer).len(), 2);
    // Defined while it was allowed, used after that ended; and the other way round.
    rights(&mut lab, OPEN);
    assert_eq!(say(&mut lab, ""), Some(0));
    rights(&mut lab, &closed_but_observed());
    assert_eq!(say(&mut lab, ""), Some(NOT_AUTHORIZED));
}

#[test]
fn a_will_is_judged_at_connect_and_when_it_is_due() {
    for version in VERSIONS {
        let mut lab = lab(&closed_but_observed());
        let observer = observer(&mut lab);
        let will = Connect::new(version, "a").with_will("secret/w", b"leak");
        let client = lab.open(version);
        lab.send(client, &will.bytes());
        let Some(Received::ConnAck { code, .. }) = lab.take_one(client) else { panic!("no CONNACK") };
        assert_eq!(code, if version == V5 { NOT_AUTHORIZED } else { 5 });
        assert!(lab.is_closed(client));

        rights(&mut lab, OPEN);
        let client = lab.connect_with(version, &will);
        rights(&mut lab, &closed_but_observed());
        lab.cut(client);
        assert_eq!(lab.payloads(observer), Vec::<Vec<u8>>::new());
        let denied = lab.events.iter().filter(|event| matches!(event, Event::PublishDenied { .. })).count();
        assert_eq!(denied, 1, "the one that was due is reported");
        let refused = |event: &&Event| matches!(event, Event::Disconnected { cause: Ended::Refused(refused), .. } if refused.will.is_some());
        assert_eq!(lab.events.iter().filter(refused).count(), 1, "and the CONNECT that was refused");

        rights(&mut lab, OPEN);
        let client = lab.connect_with(version, &will);
        lab.cut(client);
        assert_eq!(lab.payloads(observer), [b"leak"], "allowed, it goes out");
    }
}

#[test]
fn with_rights_in_mosquittos_format_a_will_is_judged_only_when_it_is_due() {
    for version in VERSIONS {
        let mut lab = lab(OPEN);
        let observer = observer(&mut lab);
        let acl = |text| Arc::new(Acl::from_mosquitto(text, "acl").expect("the rights are well-formed"));
        lab.set_rights(&acl("user observer\ntopic read #\nuser ann\ntopic write open"));
        for (topic, wanted) in [("secret/w", 0), ("open", 1)] {
            let client = lab.connect_with(version, &as_user(version, "a", "ann").with_will(topic, b"will"));
            lab.cut(client);
            assert_eq!(lab.payloads(observer).len(), wanted, "{topic}");
        }
        let denied = Event::PublishDenied {
            client_id: "a".into(),
            user_name: Some("ann".into()),
            topic: "secret/w".into(),
            rule: None,
        };
        assert_eq!(lab.events.iter().filter(|event| **event == denied).count(), 1);
    }
}

#[test]
fn a_delayed_will_is_judged_when_it_is_due() {
    let mut lab = lab(OPEN);
    let observer = observer(&mut lab);
    let mut connect = Connect::persistent(V5, "a").with_will("secret/w", b"leak");
    connect.will.as_mut().expect("it has one").properties = vec![0x18, 0, 0, 0, 10];
    let client = lab.connect_with(V5, &connect);
    lab.cut(client);
    rights(&mut lab, &closed_but_observed());
    lab.advance(Duration::from_secs(20));
    assert_eq!(lab.payloads(observer), Vec::<Vec<u8>>::new());
    assert_eq!(lab.stats(0).denied_publish, 1);
}

#[test]
fn queued_messages_and_resumed_sessions_meet_the_new_rights() {
    for version in VERSIONS {
        let mut lab = lab(OPEN);
        let client = lab.connect_with(version, &Connect::persistent(version, "a"));
        subscribe(&mut lab, version, client, "#", 2);
        lab.cut(client);
        let sender = lab.connect(V5, "sender");
        for (qos, topic) in [(1, "secret/x"), (1, "open"), (2, "secret/y")] {
            publish(&mut lab, V5, sender, topic, qos, topic.as_bytes());
            lab.send(sender, &wire::ack(0x62, 9));
        }
        rights(&mut lab, CLOSED);
        let client = lab.connect_with(version, &Connect::persistent(version, "a"));
        assert_eq!(lab.payloads(client), [b"open"]);
        publish(&mut lab, V5, sender, "secret/x", 1, b"leak");
        assert_eq!(lab.payloads(client).len(), 0, "the resumed subscription");
        assert_eq!(lab.stats(0).queued_messages, 0);
    }
}

#[test]
fn a_message_under_way_is_not_sent_again_once_it_may_not_be_read() {
    for version in VERSIONS {
        for qos in [1, 2] {
            let mut lab = lab(OPEN);
            let client = lab.connect_with(version, &Connect::persistent(version, "a"));
            subscribe(&mut lab, version, client, "#", 2);
            let sender = lab.connect(V5, "sender");
            publish(&mut lab, V5, sender, "secret/x", qos, b"once");
            assert_eq!(lab.payloads(client), [b"once"]);
            lab.cut(client);
            rights(&mut lab, CLOSED);
            let client = lab.connect_with(version, &Connect::persistent(version, "a"));
            assert_eq!(lab.publishes(client).len(), 0);
            assert_eq!(lab.stats(0).inflight, 0);
        }
    }
}

#[test]
fn a_qos_2_flow_that_has_begun_comes_to_its_end() {
    for version in VERSIONS {
        let mut lab = lab(OPEN);
        let client = lab.connect_with(version, &Connect::persistent(version, "a"));
        subscribe(&mut lab, version, client, "#", 2);
        let sender = lab.connect(version, "sender");
        publish(&mut lab, version, sender, "secret/x", 2, b"once");
        let id = lab.publishes(client)[0].id.expect("QoS 2");
        rights(&mut lab, CLOSED);
        lab.acks(sender);
        lab.send(sender, &wire::ack(0x62, 9));
        assert_eq!(
            lab.acks(sender).iter().map(|ack| (ack.first, ack.reason)).collect::<Vec<_>>(),
            [(0x70, 0)]
        );
        lab.send(client, &wire::ack(0x50, id));
        assert_eq!(lab.acks(client).iter().map(|ack| ack.first).collect::<Vec<_>>(), [0x62]);
        lab.send(client, &wire::ack(0x70, id));
        assert_eq!(lab.stats(0).inflight, 0);
    }
}

#[test]
fn retained_messages_are_judged_when_they_are_sent() {
    for version in VERSIONS {
        let mut lab = lab(OPEN);
        let sender = lab.connect(V5, "sender");
        for topic in ["open", "secret/x"] {
            lab.send(sender, &wire::publish(V5, 1, topic, None, topic.as_bytes()));
        }
        rights(&mut lab, CLOSED);
        let client = lab.connect(version, "a");
        subscribe(&mut lab, version, client, "#", 1);
        assert_eq!(lab.payloads(client), [b"open"]);
        rights(&mut lab, OPEN);
        subscribe(&mut lab, version, client, "#", 1);
        assert_eq!(lab.payloads(client).len(), 2, "a change the other way holds at once, too");
    }
}

#[test]
fn where_nothing_proves_user_names_no_rule_fits_because_of_one() {
    let text = "[[rule]]\nuser = 'ann'\nallow = ['write']\ntopic = '#'\n[[rule]]\nallow = ['write']\ntopic = 'own/%u'";
    for (door, allowed) in [(Door::Open, 0), (Door::Checked, 2)] {
        let mut lab = Lab::with(|config| config.door = door);
        lab.on_authenticate(|_| AuthOutcome::Allowed { user: None, data: None });
        rights(&mut lab, text);
        let client = lab.connect_with(V5, &as_user(V5, "a", "ann"));
        publish(&mut lab, V5, client, "x", 1, b"");
        publish(&mut lab, V5, client, "own/ann", 1, b"");
        let taken = lab.acks(client).iter().filter(|ack| ack.reason != NOT_AUTHORIZED).count();
        assert_eq!(taken, allowed, "{door:?}");
    }
}

#[test]
fn a_refusal_names_client_user_topic_and_rule() {
    let mut lab = lab(CLOSED);
    let client = lab.connect_with(V5, &as_user(V5, "a", "ann"));
    for _ in 0..5 {
        publish(&mut lab, V5, client, "secret/x", 1, b"");
        subscribe_again(&mut lab, client);
    }
    let (client_id, user_name) = ("a".into(), Some("ann".into()));
    let rule = Some("acl.toml:2".into());
    let publish_denied = Event::PublishDenied { client_id, user_name, topic: "secret/x".into(), rule };
    let denials = |lab: &Lab, wanted: &Event| lab.events.iter().filter(|event| *event == wanted).count();
    assert_eq!(denials(&lab, &publish_denied), 1);
    let subscribe_denied = Event::SubscribeDenied {
        client_id: "a".into(),
        user_name: Some("ann".into()),
        filter: "$share/g/secret/x".into(),
        rule: Some("acl.toml:2".into()),
    };
    assert_eq!(denials(&lab, &subscribe_denied), 1);
    rights(&mut lab, CLOSED);
    publish(&mut lab, V5, client, "secret/x", 1, b"");
    assert_eq!(denials(&lab, &publish_denied), 2, "once more after each change");
    rights(&mut lab, "");
    publish(&mut lab, V5, client, "secret/x", 1, b"");
    let by_default = |event: &Event| matches!(event, Event::PublishDenied { rule: None, .. });
    assert!(lab.events.iter().any(by_default));
}

fn subscribe_again(lab: &mut Lab, client: ClientIx) {
    lab.send(client, &wire::subscribe(V5, 1, &[("$share/g/secret/x", 0)]));
}

fn users(lab: &mut Lab, door: Door, names: &[&str]) {
    let names: BTreeSet<Box<str>> = names.iter().map(|name| Box::from(*name)).collect();
    lab.set_users(&Users { door, names: Some(Arc::new(names)), bans: Default::default() });
}

#[test]
fn clients_of_a_removed_user_are_told_and_disconnected_and_leave_no_will() {
    for version in VERSIONS {
        let mut lab = lab(OPEN);
        users(&mut lab, Door::Anonymous, &["ann", "bob", "observer"]);
        let observer = observer(&mut lab);
        let ann = lab.connect_with(version, &as_user(version, "a", "ann").with_will("w", b"ann's"));
        let bob = lab.connect_with(version, &as_user(version, "b", "bob").with_will("w", b"bob's"));
        let nobody = lab.connect(version, "n");
        users(&mut lab, Door::Anonymous, &["ann", "observer"]);
        assert!(lab.is_closed(bob) && !lab.is_closed(ann) && !lab.is_closed(nobody));
        let last = lab.packets(bob).pop();
        assert_eq!(
            last.map(|packet| matches!(packet, Received::Disconnect { reason: NOT_AUTHORIZED, .. })),
            (version == V5).then_some(true)
        );
        users(&mut lab, Door::Checked, &["ann", "observer"]);
        assert!(lab.is_closed(nobody), "nobody may be anonymous any more");
        assert!(!lab.is_closed(ann));
        assert_eq!(lab.payloads(observer), Vec::<Vec<u8>>::new());
        let removed = |event: &&Event| matches!(event, Event::Disconnected { cause: Ended::UserRemoved, .. });
        assert_eq!(lab.events.iter().filter(removed).count(), 2);
    }
}

#[test]
fn somebody_whose_user_went_while_it_was_being_checked_is_not_let_in() {
    let mut lab = lab(OPEN);
    users(&mut lab, Door::Checked, &["bob"]);
    let client = lab.open(V5);
    lab.send(client, &as_user(V5, "a", "ann").bytes());
    let Some(Received::ConnAck { code, .. }) = lab.take_one(client) else { panic!("no CONNACK") };
    assert_eq!(code, NOT_AUTHORIZED);
}

#[test]
fn nobody_takes_a_users_session_over_under_another_name_or_none() {
    for version in VERSIONS {
        for door in [Door::Anonymous, Door::Checked] {
            let mut lab = Lab::with(|config| config.door = door);
            lab.on_authenticate(|_| AuthOutcome::Allowed { user: None, data: None });
            let ann = lab.connect_with(version, &as_user(version, "a", "ann"));
            for other in [as_user(version, "a", "bob"), Connect::new(version, "a")] {
                let thief = lab.open(version);
                lab.send(thief, &other.bytes());
                assert!(lab.is_closed(thief), "{door:?}");
            }
            assert!(!lab.is_closed(ann));
            lab.connect_with(version, &as_user(version, "a", "ann"));
            assert!(lab.is_closed(ann), "ann may");
        }
    }
}

#[test]
fn clients_that_share_an_identifier_are_reported_with_both_addresses() {
    let mut lab = Lab::new();
    let quarrels = |lab: &Lab| {
        lab.events.iter().filter(|event| matches!(event, Event::Quarrel { .. })).cloned().collect::<Vec<_>>()
    };
    for _ in 0..3 {
        lab.connect(V5, "twin");
    }
    assert_eq!(quarrels(&lab), []);
    lab.connect(V311, "twin");
    let told = Event::Quarrel { client_id: "twin".into(), old: "lab:2".into(), new: "lab:3".into() };
    assert_eq!(quarrels(&lab), [told]);
    for _ in 0..20 {
        lab.connect(V5, "twin");
    }
    assert_eq!(quarrels(&lab).len(), 1, "once a minute");
    lab.advance(Duration::from_secs(61));
    for _ in 0..3 {
        lab.connect(V5, "twin");
    }
    assert_eq!(quarrels(&lab).len(), 2);
}

#[test]
fn all_shards_hear_of_new_rights() {
    let mut lab = Lab::with(|config| config.shards = 3);
    let clients: Vec<ClientIx> = (0..12).map(|n| lab.connect(V5, &format!("c{n}"))).collect();
    rights(&mut lab, CLOSED);
    for client in clients {
        publish(&mut lab, V5, client, "secret/x", 1, b"");
        assert_eq!(lab.acks(client).pop().map(|ack| ack.reason), Some(NOT_AUTHORIZED));
    }
}
