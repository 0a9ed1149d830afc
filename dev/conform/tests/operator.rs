//! What an operator asks of a running shard, a page at a time, and whom it sends off.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cork_conform::{
    Lab,
    wire::{self, Connect, V5, V311},
};
use cork_core::{Answer, Limits, Query, Reader, SessionView, SubscriptionPlace, SubscriptionView};

const NOT_AUTHORIZED: u8 = 0x87;

fn lab(shards: u16) -> Lab {
    Lab::with(|config| {
        config.shards = shards;
        config.limits = Limits { sys_interval: Duration::ZERO, ..Limits::default() };
    })
}

/// All Sessions of all shards, asked for in pages of `limit`.
fn sessions(
    lab: &Lab,
    shards: usize,
    limit: usize,
    connected: Option<bool>,
    search: Option<&str>,
) -> Vec<SessionView> {
    let mut found = Vec::new();
    for shard in 0..shards {
        let mut from = Some(0);
        while let Some(slot) = from {
            let search = search.map(Into::into);
            let Answer::Sessions { items, next } =
                lab.ask(shard, &Query::Sessions { from: slot, limit, connected, search })
            else {
                panic!("another answer");
            };
            assert!(items.len() <= limit);
            found.extend(items);
            from = next;
        }
    }
    found
}

fn subscriptions(lab: &Lab, client_id: Option<&str>, limit: usize, reader: &Reader) -> Vec<SubscriptionView> {
    let (mut found, mut place) = (Vec::new(), Some(SubscriptionPlace::default()));
    while let Some(from) = place {
        let (client_id, search, reader) = (client_id.map(Into::into), None, reader.clone());
        let Answer::Subscriptions { items, next } =
            lab.ask(0, &Query::Subscriptions { client_id, from, limit, search, reader })
        else {
            panic!("another answer");
        };
        assert!(items.len() <= limit);
        found.extend(items);
        place = next;
    }
    found
}

fn retained(lab: &Lab, filter: &str, limit: usize, reader: &Reader) -> Vec<String> {
    let (mut found, mut after, mut more) = (Vec::new(), None, true);
    while more {
        let (filter, reader) = (filter.into(), reader.clone());
        let Answer::Retained { items, next } = lab.ask(0, &Query::Retained { filter, after, limit, reader })
        else {
            panic!("another answer");
        };
        assert!(items.len() <= limit);
        found.extend(items.iter().map(|message| message.topic().to_string()));
        more = next.is_some();
        after = next;
    }
    found
}

#[test]
fn sessions_come_page_by_page_each_once() {
    for shards in [1, 3] {
        let mut lab = lab(shards);
        let mut wanted = BTreeSet::new();
        for number in 0..50 {
            let name = format!("client{number}");
            let client = lab.connect_with(V5, &Connect::persistent(V5, &name));
            if number % 2 == 0 {
                lab.cut(client);
            }
            wanted.insert(name);
        }
        let shards = usize::from(shards);
        for limit in [1, 7, 1000] {
            let found = sessions(&lab, shards, limit, None, None);
            assert_eq!(found.len(), 50);
            assert_eq!(found.iter().map(|one| one.client_id.to_string()).collect::<BTreeSet<_>>(), wanted);
        }
        let away = sessions(&lab, shards, 7, Some(false), None);
        assert_eq!(away.len(), 25);
        assert!(away.iter().all(|one| one.connection.is_none() && one.expires.is_some()));
        let found = sessions(&lab, shards, 7, Some(true), Some("client4"));
        let found: BTreeSet<_> = found.iter().map(|one| &*one.client_id).collect();
        assert_eq!(found, BTreeSet::from(["client41", "client43", "client45", "client47", "client49"]));
    }
}

#[test]
fn what_waits_for_a_session_is_told_with_its_age() {
    let mut lab = lab(1);
    let away = lab.connect_with(V311, &Connect::persistent(V311, "away"));
    lab.send(away, &wire::subscribe(V311, 1, &[("a", 1)]));
    lab.cut(away);
    lab.advance(Duration::from_secs(10));
    let publisher = lab.connect(V311, "publisher");
    lab.send(publisher, &wire::publish(V311, 2, "a", Some(1), b"first"));
    lab.advance(Duration::from_secs(10));
    lab.send(publisher, &wire::publish(V311, 2, "a", Some(2), b"second"));
    let Answer::Session(Some(found)) = lab.ask(0, &Query::Session { client_id: "away".into() }) else {
        panic!("it is there");
    };
    assert_eq!((found.queued_messages, found.subscriptions), (2, 1));
    let waited = found.queued_since.map(|at| at.0 - found.since.0);
    assert_eq!(waited, Some(10_000_000), "the first one came ten seconds after the client had gone");
    assert!(matches!(lab.ask(0, &Query::Session { client_id: "nobody".into() }), Answer::Session(None)));
}

#[test]
fn a_connection_counts_what_goes_in_and_out() {
    let mut lab = lab(1);
    let client = lab.connect(V311, "c");
    lab.send(client, &wire::subscribe(V311, 1, &[("a", 0)]));
    let before = sessions(&lab, 1, 1, None, None).remove(0).connection.expect("it is there");
    let publish = wire::publish(V311, 0, "a", None, b"x");
    lab.send(client, &[&publish[..], &publish[..]].concat());
    let after = sessions(&lab, 1, 1, None, None).remove(0).connection.expect("it is there");
    assert_eq!((before.messages, after.messages), ((0, 0), (2, 2)));
    let bytes = 2 * publish.len() as u64;
    assert_eq!((after.bytes.0 - before.bytes.0, after.bytes.1 - before.bytes.1), (bytes, bytes));
}

#[test]
fn subscriptions_come_page_by_page_with_their_options() {
    let mut lab = lab(1);
    for name in ["a", "b"] {
        let client = lab.connect(V5, name);
        let filters: Vec<String> = (0..30).map(|number| format!("{name}/{number}")).collect();
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0x0D)).collect();
        lab.send(client, &wire::subscribe(V5, 1, &filters));
        lab.send(client, &wire::subscribe(V5, 2, &[("$share/g/s/#", 2)]));
    }
    for limit in [1, 7, 1000] {
        let found = subscriptions(&lab, None, limit, &Reader::Anybody);
        let each: BTreeSet<_> = found.iter().map(|one| (&one.client_id, &one.filter)).collect();
        assert_eq!((found.len(), each.len()), (62, 62), "in pages of {limit}");
    }
    let of_b = subscriptions(&lab, Some("b"), 7, &Reader::Anybody);
    assert!(of_b.iter().all(|one| &*one.client_id == "b") && of_b.len() == 31);
    let shared = of_b.iter().find(|one| one.share.is_some()).expect("it has one");
    assert_eq!((shared.filter.as_str(), shared.share.as_deref(), shared.options), ("s/#", Some("g"), 2));
    assert!(of_b.iter().filter(|one| one.share.is_none()).all(|one| one.options == 0x0D));
    assert!(subscriptions(&lab, Some("nobody"), 7, &Reader::Anybody).is_empty());
}

#[test]
fn a_reader_sees_what_it_may_read() {
    let mut lab = lab(1);
    let client = lab.connect(V5, "c");
    lab.send(client, &wire::subscribe(V5, 1, &[("public/#", 0), ("secret/#", 0)]));
    for number in 0..20 {
        let topic = format!("{}/{number:02}", if number % 2 == 0 { "public" } else { "secret" });
        lab.send(client, &wire::publish(V5, 1, &topic, None, b"x"));
    }
    let rights = "[[rule]]\nuser = 'bob'\nallow = ['read']\ntopic = 'public/#'";
    let rights = cork_access::Acl::from_toml(rights, "acl.toml").expect("these are rights");
    lab.set_rights(&Arc::new(rights));
    let bob = Reader::User("bob".into());
    let found = subscriptions(&lab, None, 1000, &bob);
    assert_eq!(found.iter().map(|one| one.filter.as_str()).collect::<Vec<_>>(), ["public/#"]);
    for limit in [1, 3, 1000] {
        assert_eq!(retained(&lab, "#", limit, &Reader::Anybody).len(), 20);
        let found = retained(&lab, "#", limit, &bob);
        assert!(found.len() == 10 && found.iter().all(|topic| topic.starts_with("public/")));
        assert_eq!(retained(&lab, "+/04", limit, &bob), ["public/04"]);
        assert!(retained(&lab, "secret/#", limit, &bob).is_empty());
    }
}

#[test]
fn who_is_kicked_is_told_and_may_come_back_to_its_session() {
    let mut lab = lab(2);
    let watcher = lab.connect(V5, "watcher");
    lab.send(watcher, &wire::subscribe(V5, 1, &[("will", 0)]));
    let connect = Connect::persistent(V5, "c").with_will("will", b"gone");
    let client = lab.connect_with(V5, &connect);
    lab.send_off("c", false);
    assert!(lab.is_closed(client));
    let last = lab.packets(client).pop();
    assert!(
        matches!(last, Some(cork_conform::Received::Disconnect { reason: NOT_AUTHORIZED, .. })),
        "{last:?}"
    );
    assert!(lab.publishes(watcher).is_empty(), "its Will is not sent");
    assert_eq!(sessions(&lab, 2, 10, Some(false), None).len(), 1);
    lab.send_off("nobody", false);
}

#[test]
fn a_session_that_was_ended_is_gone_with_all_that_waited_for_it() {
    for connected in [false, true] {
        for clean in [false, true] {
            let mut lab = lab(1);
            let connect = if clean { Connect::new(V311, "c") } else { Connect::persistent(V311, "c") };
            let client = lab.connect_with(V311, &connect);
            lab.send(client, &wire::subscribe(V311, 1, &[("a", 1)]));
            if !connected {
                lab.cut(client);
            }
            let publisher = lab.connect(V311, "publisher");
            lab.send(publisher, &wire::publish(V311, 2, "a", Some(1), b"x"));
            lab.send_off("c", true);
            assert_eq!(lab.is_closed(client), connected);
            let left: Vec<_> = sessions(&lab, 1, 10, None, None);
            assert_eq!(left.iter().map(|one| &*one.client_id).collect::<Vec<_>>(), ["publisher"]);
            assert_eq!((lab.stats(0).subscriptions, lab.stats(0).queued_bytes), (0, 0));
            let back = lab.connect_with(V311, &Connect::persistent(V311, "c"));
            assert!(lab.publishes(back).is_empty());
            lab.crash(Duration::ZERO);
            let left: BTreeSet<_> =
                sessions(&lab, 1, 10, None, None).iter().map(|one| one.client_id.to_string()).collect();
            assert_eq!(left, BTreeSet::from(["c".to_owned()]), "only the new one is stored");
        }
    }
}
