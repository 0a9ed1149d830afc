//! What an operator changes while clients are connected: limits, the user database, and who must go.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, V5, V31, V311, Version},
};
use cork_core::{Door, Ended, Event, Limits, Settings, Users};

const VERSIONS: [Version; 3] = [V31, V311, V5];
const NOT_AUTHORIZED: u8 = 0x87;

fn limits(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut limits = Limits { sys_interval: Duration::ZERO, ..Limits::default() };
    change(&mut limits);
    Settings { limits, server_reference: None, ..Settings::default() }
}

/// The reason of the DISCONNECT a client was sent last.
fn told(lab: &mut Lab, client: ClientIx) -> Option<u8> {
    match lab.packets(client).pop() {
        Some(Received::Disconnect { reason, .. }) => Some(reason),
        _ => None,
    }
}

#[test]
fn a_client_keeps_the_limits_it_was_promised_and_the_next_one_gets_the_new_ones() {
    let big = vec![b'x'; 2000];
    for version in VERSIONS {
        let mut lab = Lab::with(|config| config.limits.packet_bytes_max = 4000);
        let before = lab.connect(version, "before");
        lab.set_settings(&limits(|limits| {
            limits.packet_bytes_max = 1000;
            limits.receive_maximum = 1;
            limits.topic_alias_maximum = 1;
        }));
        lab.send(before, &wire::publish(version, 0, "a", None, &big));
        assert!(!lab.is_closed(before), "{version:?}: it was told 4000 bytes");
        let after = lab.connect(version, "after");
        lab.send(after, &wire::publish(version, 0, "a", None, &big));
        assert!(lab.is_closed(after));
        lab.set_settings(&limits(|limits| limits.packet_bytes_max = 8000));
        let later = lab.connect(version, "later");
        lab.send(later, &wire::publish(version, 0, "a", None, &big));
        assert!(!lab.is_closed(later));
    }
}

#[test]
fn topic_aliases_and_receive_maximum_hold_as_promised() {
    const TOPIC_ALIAS: u8 = 0x23;
    let mut lab = Lab::with(|config| {
        config.limits.topic_alias_maximum = 10;
        config.limits.receive_maximum = 3;
    });
    let before = lab.connect(V5, "before");
    lab.set_settings(&limits(|limits| {
        limits.topic_alias_maximum = 5;
        limits.receive_maximum = 1;
    }));
    let after = lab.connect(V5, "after");
    let alias = |number| wire::publish_with(V5, 0, "a", None, &[TOPIC_ALIAS, 0, number], b"");
    for client in [before, after] {
        lab.send(client, &alias(5));
        assert!(!lab.is_closed(client));
        // QoS 2 without PUBREL: they stay under way.
        for id in 1..=3 {
            lab.send(client, &wire::publish(V5, 4, "a", Some(id), b""));
        }
    }
    assert!(!lab.is_closed(before));
    assert!(lab.is_closed(after), "it was told a Receive Maximum of 1");
    lab.send(before, &alias(10));
    assert!(!lab.is_closed(before));
    lab.send(before, &wire::publish(V5, 4, "a", Some(4), b""));
    assert_eq!(told(&mut lab, before), Some(0x93), "Receive Maximum exceeded");
}

#[test]
fn limits_nobody_was_told_of_hold_at_once() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    lab.set_settings(&limits(|limits| limits.topic_levels_max = 2));
    lab.send(client, &wire::publish(V5, 0, "a/b", None, b""));
    assert!(!lab.is_closed(client));
    lab.send(client, &wire::publish(V5, 0, "a/b/c", None, b""));
    assert!(lab.is_closed(client));
}

#[test]
fn sys_can_be_switched_on_off_and_to_another_pace() {
    let mut lab = Lab::new();
    let client = lab.connect(V311, "a");
    lab.send(client, &wire::subscribe(V311, 1, &[("$SYS/broker/uptime", 0)]));
    let count = |lab: &mut Lab, seconds| {
        lab.packets(client);
        for _ in 0..seconds {
            lab.advance(Duration::from_secs(1));
        }
        lab.publishes(client).len()
    };
    assert_eq!(count(&mut lab, 10), 0);
    let every = |seconds| limits(|limits| limits.sys_interval = Duration::from_secs(seconds));
    lab.set_settings(&every(1));
    assert_eq!(count(&mut lab, 10), 11, "at once, and then every second");
    lab.set_settings(&every(5));
    let few = count(&mut lab, 20);
    assert!((3..=5).contains(&few), "{few}");
    lab.set_settings(&every(0));
    assert_eq!(count(&mut lab, 20), 0);
    lab.set_settings(&every(2));
    lab.set_settings(&every(1));
    lab.set_settings(&every(1));
    assert_eq!(count(&mut lab, 10), 11, "and only once at a time");
}

#[test]
fn who_is_expelled_is_told_and_leaves_no_will() {
    for version in VERSIONS {
        let mut lab = Lab::new();
        let observer = lab.connect(version, "observer");
        lab.send(observer, &wire::subscribe(version, 1, &[("w", 0)]));
        let connect = wire::Connect::new(version, "a").with_will("w", b"a's");
        let client = lab.connect_with(version, &connect);
        lab.packets(client);
        lab.expel(client, "its certificate is revoked");
        assert!(lab.is_closed(client) && !lab.is_closed(observer));
        assert_eq!(told(&mut lab, client), (version == V5).then_some(NOT_AUTHORIZED));
        assert_eq!(lab.payloads(observer), Vec::<Vec<u8>>::new());
        let why = |event: &Event| matches!(event, Event::Disconnected { cause: Ended::Expelled(why), .. } if &**why == "its certificate is revoked");
        assert!(lab.events.iter().any(why));
    }
}

#[test]
fn names_that_nobody_checked_do_not_pass_for_users_once_there_is_a_user_database() {
    for version in VERSIONS {
        let mut lab = Lab::new();
        let mut connect = wire::Connect::new(version, "a");
        connect.user = Some("ann".to_owned());
        let ann = lab.connect_with(version, &connect);
        let nobody = lab.connect(version, "n");
        let names: BTreeSet<Box<str>> = [Box::from("ann")].into();
        let checked = |door| Users { door, names: Some(Arc::new(names.clone())) };
        lab.set_users(&checked(Door::Anonymous));
        assert!(lab.is_closed(ann), "{version:?}: she never said the password");
        assert!(!lab.is_closed(nobody));
        lab.set_users(&Users { door: Door::Open, names: None });
        assert!(!lab.is_closed(nobody));
        lab.set_users(&checked(Door::Checked));
        assert!(lab.is_closed(nobody));
    }
}
