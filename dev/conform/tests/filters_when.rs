//! When a filter passes on: what counts as passed on, over reloads, retained messages and overlapping subscriptions.
#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, V5, V311},
};
use cork_core::{Attachment, FilterTable, Settings, Who};
use cork_filter::Rule;

const SECOND: Duration = Duration::from_secs(1);

fn subscribe(lab: &mut Lab, client: ClientIx, filter: &str, qos: u8) {
    lab.send(client, &wire::subscribe(V311, 1, &[(filter, qos)]));
    match lab.take_one(client) {
        Some(Received::SubAck { codes, .. }) => assert_eq!(codes, [qos], "{filter}"),
        other => panic!("{other:?}"),
    }
}

fn publish(lab: &mut Lab, publisher: ClientIx, topic: &str, payload: &str) {
    lab.send(publisher, &wire::publish(V311, 0, topic, None, payload.as_bytes()));
}

fn retain(lab: &mut Lab, publisher: ClientIx, topic: &str, payload: &str) {
    lab.send(publisher, &wire::publish(V311, 1, topic, None, payload.as_bytes()));
}

/// Topics and payloads that came.
fn got(lab: &mut Lab, client: ClientIx) -> Vec<String> {
    let text =
        |one: cork_conform::Published| format!("{} {}", one.topic, String::from_utf8_lossy(&one.payload));
    lab.publishes(client).into_iter().map(text).collect()
}

/// Filters attached to clients by name, each to all topics of `h/#`.
fn table(attached: &[(&str, &str)], named: &[(&str, &str)]) -> Settings {
    let rule = |text: &str| Arc::new(Rule::from_prefix(text).expect("it is right"));
    let attachment = |(at, (client, text)): (usize, &(&str, &str))| Attachment {
        who: Who::Client((*client).into()),
        topic: "h/#".into(),
        rule: rule(text),
        name: format!("$attach/{}", at + 1).into(),
    };
    let filters = FilterTable {
        attached: attached.iter().enumerate().map(attachment).collect(),
        named: named.iter().map(|(name, text)| ((*name).into(), rule(text))).collect(),
    };
    Settings { filters: Arc::new(filters), ..Settings::default() }
}

#[test]
fn a_reload_keeps_what_filters_remember_that_stay_the_same() {
    for shards in [1, 3] {
        let mut lab = Lab::with(|config| config.shards = shards);
        let filters = [("slow", ";every=3s"), ("changes", ";changed")];
        lab.set_settings(&table(&filters, &[]));
        let publisher = lab.connect(V311, "sensor");
        let (slow, changes) = (lab.connect(V311, "slow"), lab.connect(V311, "changes"));
        subscribe(&mut lab, slow, "h/#", 0);
        subscribe(&mut lab, changes, "h/#", 0);
        publish(&mut lab, publisher, "h/a", "1");
        publish(&mut lab, publisher, "h/a", "2");
        assert_eq!(got(&mut lab, slow), ["h/a 1"]);
        assert_eq!(got(&mut lab, changes), ["h/a 1", "h/a 2"]);
        // An unrelated name, and another attachment in front, which moves the others in the list.
        lab.set_settings(&table(&filters, &[("unrelated", "payload > 1")]));
        lab.set_settings(&table(&[("other", "true"), filters[0], filters[1]], &[]));
        lab.advance(SECOND);
        assert!(got(&mut lab, slow).is_empty(), "{shards} shards");
        lab.advance(2 * SECOND);
        assert_eq!(got(&mut lab, slow), ["h/a 2"], "{shards} shards");
        publish(&mut lab, publisher, "h/a", "2");
        assert!(got(&mut lab, changes).is_empty(), "2 was passed on before the reload");
        lab.advance(4 * SECOND);
        assert_eq!(got(&mut lab, slow), ["h/a 2"]);
    }
}

#[test]
fn what_waits_for_a_filter_that_a_reload_takes_away_goes_out() {
    let mut lab = Lab::new();
    lab.set_settings(&table(&[("reader", ";every=1h")], &[("slow", ";every=1h")]));
    let publisher = lab.connect(V311, "sensor");
    let (reader, named) = (lab.connect(V311, "reader"), lab.connect(V311, "named"));
    subscribe(&mut lab, reader, "h/#", 1);
    subscribe(&mut lab, named, "$filter/slow/h/#", 1);
    for payload in ["1", "2"] {
        publish(&mut lab, publisher, "h/a", payload);
    }
    assert_eq!((got(&mut lab, reader), got(&mut lab, named)), (vec!["h/a 1".into()], vec!["h/a 1".into()]));
    lab.set_settings(&table(&[], &[("slow", ";changed")]));
    assert_eq!(got(&mut lab, reader), ["h/a 2"]);
    assert_eq!(got(&mut lab, named), ["h/a 2"]);
    // Nothing of the former meaning is left.
    publish(&mut lab, publisher, "h/a", "2");
    publish(&mut lab, publisher, "h/a", "2");
    assert_eq!(got(&mut lab, reader), ["h/a 2", "h/a 2"]);
    assert_eq!(got(&mut lab, named), ["h/a 2"]);
    lab.advance(3700 * SECOND);
    assert!(got(&mut lab, reader).is_empty() && got(&mut lab, named).is_empty());
}

#[test]
fn overlapping_subscriptions_give_one_copy_with_every_too() {
    let mut lab = Lab::new();
    let publisher = lab.connect(V311, "sensor");
    let client = lab.connect(V311, "reader");
    subscribe(&mut lab, client, "x/a", 0);
    subscribe(&mut lab, client, "$where/;every=1s/x/a", 1);
    publish(&mut lab, publisher, "x/a", "1");
    lab.send(publisher, &wire::publish(V311, 2, "x/a", Some(7), b"2"));
    let came = lab.publishes(client);
    let text: Vec<_> = came.iter().map(|one| (one.payload.clone(), one.qos)).collect();
    assert_eq!(text, [(b"1".to_vec(), 0), (b"2".to_vec(), 1)], "at the highest QoS of both");
    lab.advance(3 * SECOND);
    assert!(got(&mut lab, client).is_empty(), "it went out for both");
}

#[test]
fn what_waits_in_several_subscriptions_goes_out_once() {
    let mut lab = Lab::new();
    let publisher = lab.connect(V311, "sensor");
    let client = lab.connect(V5, "reader");
    for (id, filter) in
        [(1, "$where/;every=1s/x/a"), (2, "$where/size < 9;every=1s/x/+"), (3, "$where/;every=5s/#")]
    {
        lab.send(client, &wire::subscribe_with(V5, 1, &[0x0B, id], &[(filter, 0)]));
    }
    lab.packets(client);
    for payload in ["1", "2", "3"] {
        publish(&mut lab, publisher, "x/a", payload);
    }
    assert_eq!(got(&mut lab, client), ["x/a 1"]);
    lab.advance(SECOND);
    let [one] = <[_; 1]>::try_from(lab.publishes(client)).unwrap();
    assert_eq!((&*one.payload, one.props.all(0x0B).len()), (&b"3"[..], 3));
    lab.advance(10 * SECOND);
    assert!(got(&mut lab, client).is_empty());
    publish(&mut lab, publisher, "x/a", "4");
    assert_eq!(got(&mut lab, client), ["x/a 4"]);
}

#[test]
fn no_local_does_not_take_what_waits() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "reader");
    // The plain subscription leaves out what the client sends itself; the other one keeps it.
    lab.send(client, &wire::subscribe(V5, 1, &[("x/a", 4), ("$where/;every=1s/x/a", 0)]));
    lab.packets(client);
    for payload in ["1", "2"] {
        lab.send(client, &wire::publish(V5, 0, "x/a", None, payload.as_bytes()));
    }
    assert_eq!(got(&mut lab, client), ["x/a 1"]);
    lab.advance(SECOND);
    assert_eq!(got(&mut lab, client), ["x/a 2"]);
}

#[test]
fn a_retained_message_at_subscribe_counts_as_passed_on() {
    let mut lab = Lab::new();
    let publisher = lab.connect(V311, "sensor");
    let client = lab.connect(V311, "reader");
    subscribe(&mut lab, client, "$where/;deadband=2/x/r", 0);
    retain(&mut lab, publisher, "x/r", "5");
    retain(&mut lab, publisher, "x/r", "6");
    assert_eq!(got(&mut lab, client), ["x/r 5"]);
    lab.send(client, &wire::subscribe(V311, 1, &[("$where/;deadband=2/x/r", 0)]));
    lab.take_one(client);
    assert_eq!(got(&mut lab, client), ["x/r 6"], "retained");
    publish(&mut lab, publisher, "x/r", "7.5");
    assert!(got(&mut lab, client).is_empty(), "6 was passed on last");
    publish(&mut lab, publisher, "x/r", "8.5");
    assert_eq!(got(&mut lab, client), ["x/r 8.5"]);
}

#[test]
fn a_retained_message_does_not_overtake_what_waits() {
    let mut lab = Lab::new();
    let publisher = lab.connect(V311, "sensor");
    let client = lab.connect(V311, "reader");
    let again = |lab: &mut Lab| {
        lab.send(client, &wire::subscribe(V311, 1, &[("$where/;every=10s/x/r", 0)]));
        lab.take_one(client);
        got(lab, client)
    };
    assert!(again(&mut lab).is_empty());
    retain(&mut lab, publisher, "x/r", "1");
    retain(&mut lab, publisher, "x/r", "2");
    assert_eq!(got(&mut lab, client), ["x/r 1"]);
    // What waited is what is retained: it goes now, and not once more.
    assert_eq!(again(&mut lab), ["x/r 2"]);
    lab.advance(9 * SECOND);
    publish(&mut lab, publisher, "x/r", "3");
    assert_eq!(again(&mut lab), ["x/r 2"]);
    assert!(got(&mut lab, client).is_empty());
    lab.advance(SECOND);
    assert_eq!(got(&mut lab, client), ["x/r 3"], "ten seconds after the first retained one");
}
