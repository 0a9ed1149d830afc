//! Shared subscriptions without numbers: fair turns, members that are stuck, away or dead, several groups, several
//! shards.

use std::{collections::BTreeMap, time::Duration};

use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V5},
};
use cork_core::home_shard;

use crate::common::{
    PUBREC, connect_props, publish_done, receive_maximum, resume, resume_with, retain, subscribe, take,
    take_all,
};

fn lab_of(shards: u16) -> Lab {
    Lab::with(|config| config.shards = shards)
}

/// Members `m0`, `m1`, ... of `$share/g/t`, each with a Session that stays.
fn members(lab: &mut Lab, many: usize, qos: u8) -> Vec<ClientIx> {
    (0..many)
        .map(|n| {
            let client = resume(lab, &format!("m{n}"));
            subscribe(lab, client, "$share/g/t", qos);
            client
        })
        .collect()
}

/// Publishes numbered messages from publishers on all shards.
fn publish_numbers(lab: &mut Lab, many: u8, qos: u8) {
    let publishers: Vec<ClientIx> = (0..5).map(|n| lab.connect(V5, &format!("p{n}"))).collect();
    for n in 0..many {
        publish_done(lab, publishers[usize::from(n) % publishers.len()], "t", qos, &[n]);
    }
}

/// The numbers a client got, answering everything.
fn numbers(lab: &mut Lab, client: ClientIx) -> Vec<u8> {
    take_all(lab, client).into_iter().map(|publish| publish.payload[0]).collect()
}

#[test]
fn mqtt5_beyond_shared_every_message_goes_to_one_member_and_turns_are_fair() {
    for shards in 1..4 {
        for qos in 0..3 {
            let mut lab = lab_of(shards);
            let members = members(&mut lab, 4, 2);
            publish_numbers(&mut lab, 200, qos);
            let shares: Vec<Vec<u8>> = members.iter().map(|client| numbers(&mut lab, *client)).collect();
            let mut all = shares.concat();
            all.sort_unstable();
            assert_eq!(all, Vec::from_iter(0..200), "QoS {qos} on {shards} shards");
            for share in &shares {
                assert!((40..=60).contains(&share.len()), "QoS {qos} on {shards} shards: {}", share.len());
            }
        }
    }
}

#[test]
fn mqtt5_beyond_shared_a_member_without_connection_is_passed_over() {
    for shards in 1..4 {
        for away in 0..3 {
            for qos in 0..3 {
                let mut lab = lab_of(shards);
                let members = members(&mut lab, 3, 2);
                lab.cut(members[away]);
                publish_numbers(&mut lab, 60, qos);
                let mut all: Vec<u8> = Vec::new();
                for (n, client) in members.iter().enumerate() {
                    if n != away {
                        all.extend(numbers(&mut lab, *client));
                    }
                }
                all.sort_unstable();
                assert_eq!(all, Vec::from_iter(0..60), "m{away} away, QoS {qos}, {shards} shards");
            }
        }
    }
}

#[test]
fn mqtt5_beyond_shared_a_member_that_is_stuck_is_passed_over() {
    let mut lab = Lab::new();
    let stuck = resume_with(&mut lab, "stuck", &receive_maximum(2));
    subscribe(&mut lab, stuck, "$share/g/t", 1);
    let well = members(&mut lab, 2, 1);
    let publisher = lab.connect(V5, "p");
    let mut got = 0;
    for n in 0..100 {
        publish_done(&mut lab, publisher, "t", 1, &[n]);
        for client in &well {
            got += numbers(&mut lab, *client).len();
        }
    }
    assert_eq!((lab.publishes(stuck).len(), got), (2, 98));
    // One whose socket is full, at QoS 0.
    let mut lab = Lab::new();
    let stuck = lab.connect(V5, "stuck");
    subscribe(&mut lab, stuck, "$share/g/t", 0);
    subscribe(&mut lab, stuck, "own", 0);
    let well = members(&mut lab, 1, 0);
    lab.set_window(stuck, 0);
    let publisher = lab.connect(V5, "p");
    publish_done(&mut lab, publisher, "own", 0, &vec![0; 100 << 10]);
    publish_numbers(&mut lab, 100, 0);
    assert_eq!(numbers(&mut lab, well[0]).len(), 100);
}

#[test]
fn mqtt5_beyond_shared_messages_wait_while_every_member_is_away() {
    for shards in 1..4 {
        for qos in [1, 2] {
            let mut lab = lab_of(shards);
            for client in members(&mut lab, 3, 2) {
                lab.cut(client);
            }
            publish_numbers(&mut lab, 30, qos);
            let mut all = Vec::new();
            for n in 0..3 {
                let client = resume(&mut lab, &format!("m{n}"));
                all.extend(numbers(&mut lab, client));
            }
            all.sort_unstable();
            assert_eq!(all, Vec::from_iter(0..30), "QoS {qos}, {shards} shards");
        }
    }
}

/// A member dies with messages it has not acknowledged, and with some it was not sent yet; the others get them.
fn handed_on(shards: u16, qos: u8, clean: bool, by_time: bool) {
    let mut lab = lab_of(shards);
    let mut connect = Connect::persistent(V5, "dying");
    if clean {
        connect = Connect::new(V5, "dying");
    }
    connect.properties.extend(receive_maximum(5));
    let dying = lab.connect_with(V5, &connect);
    subscribe(&mut lab, dying, "$share/g/t", qos);
    publish_numbers(&mut lab, 20, qos);
    let sent = lab.publishes(dying);
    // All on other shards than the dying one, if there are any.
    let home = |name: &str| home_shard(name, shards, 42);
    let names = (0..).map(|n| format!("heir{n}")).filter(|name| shards == 1 || home(name) != home("dying"));
    let heirs: Vec<ClientIx> = names.take(3).map(|name| resume(&mut lab, &name)).collect();
    for client in &heirs {
        subscribe(&mut lab, *client, "$share/g/t", 2);
    }
    lab.cut(dying);
    if by_time {
        lab.advance(Duration::from_secs(7200));
    }
    let mut inherited: Vec<u8> = Vec::new();
    for client in &heirs {
        inherited.extend(numbers(&mut lab, *client));
    }
    inherited.sort_unstable();
    // What a QoS 2 flow had begun stays with its member; everything else is inherited.
    let own: Vec<u8> = sent.iter().filter(|p| p.qos == 2).map(|publish| publish.payload[0]).collect();
    let wanted: Vec<u8> = (0..20).filter(|n| !own.contains(n)).collect();
    assert_eq!(inherited, wanted, "QoS {qos}, {shards} shards, clean: {clean}, by time: {by_time}");
    if !clean && !by_time {
        let back = lab.connect_with(V5, &connect);
        let again: Vec<u8> = take_all(&mut lab, back).iter().map(|publish| publish.payload[0]).collect();
        assert_eq!(again, own, "what the member itself is sent again");
    }
}

#[test]
fn mqtt5_beyond_shared_a_dead_members_messages_are_handed_on() {
    for qos in [1, 2] {
        for (clean, by_time) in [(true, false), (false, false), (false, true)] {
            handed_on(1, qos, clean, by_time);
        }
    }
}

#[test]
fn mqtt5_beyond_shared_a_dead_members_messages_are_handed_on_to_other_shards() {
    for shards in [2, 3] {
        for qos in [1, 2] {
            for (clean, by_time) in [(true, false), (false, false), (false, true)] {
                handed_on(shards, qos, clean, by_time);
            }
        }
    }
}

#[test]
fn mqtt5_beyond_shared_a_taken_over_connection_keeps_its_messages_or_hands_them_on() {
    let mut lab = Lab::new();
    let all = members(&mut lab, 2, 1);
    publish_numbers(&mut lab, 10, 1);
    let first = resume(&mut lab, "m0");
    let mut got: Vec<u8> = numbers(&mut lab, first);
    got.extend(numbers(&mut lab, all[1]));
    got.sort_unstable();
    assert_eq!(got, Vec::from_iter(0..10));
}

#[test]
fn mqtt5_beyond_shared_a_pubrec_keeps_the_flow_with_its_member() {
    let mut lab = Lab::new();
    let dying = resume(&mut lab, "dying");
    subscribe(&mut lab, dying, "$share/g/t", 2);
    publish_numbers(&mut lab, 3, 2);
    let sent = lab.publishes(dying);
    lab.send(dying, &wire::ack(PUBREC, sent[1].id.unwrap()));
    let heirs = members(&mut lab, 1, 2);
    lab.cut(dying);
    assert!(numbers(&mut lab, heirs[0]).is_empty());
}

#[test]
fn mqtt5_beyond_shared_groups_and_plain_subscriptions_do_not_disturb_each_other() {
    for shards in 1..4 {
        let mut lab = lab_of(shards);
        let mut by_group: BTreeMap<&str, Vec<ClientIx>> = BTreeMap::new();
        for filter in ["$share/g/t", "$share/h/t", "$share/g/+", "$share/g/#"] {
            for n in 0..3 {
                let client = lab.connect(V5, &format!("{filter}-{n}"));
                subscribe(&mut lab, client, filter, 1);
                by_group.entry(filter).or_default().push(client);
            }
        }
        let plain: Vec<ClientIx> = (0..3)
            .map(|n| {
                let client = lab.connect(V5, &format!("plain{n}"));
                subscribe(&mut lab, client, "t", 1);
                client
            })
            .collect();
        publish_numbers(&mut lab, 60, 1);
        for client in plain {
            assert_eq!(numbers(&mut lab, client).len(), 60, "plain on {shards} shards");
        }
        for (filter, clients) in by_group {
            let mut all: Vec<u8> = clients.iter().flat_map(|client| numbers(&mut lab, *client)).collect();
            all.sort_unstable();
            assert_eq!(all, Vec::from_iter(0..60), "{filter} on {shards} shards");
        }
    }
}

#[test]
fn mqtt5_beyond_shared_and_plain_subscriptions_of_one_client_each_get_the_message() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    lab.send(client, &wire::subscribe_with(V5, 1, &[0x0B, 1], &[("t", 0)]));
    lab.send(client, &wire::subscribe_with(V5, 2, &[0x0B, 2], &[("$share/g/t", 0)]));
    lab.bytes(client);
    let publisher = lab.connect(V5, "p");
    publish_done(&mut lab, publisher, "t", 0, b"x");
    let mut ids: Vec<_> = lab.publishes(client).iter().map(|publish| publish.props.number(0x0B)).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2)]);
}

#[test]
fn mqtt5_beyond_shared_subscriptions_get_no_retained_messages() {
    for options in [0x00, 0x10] {
        let mut lab = Lab::new();
        retain(&mut lab, "t", 1, b"retained");
        let client = lab.connect(V5, "a");
        lab.send(
            client,
            &wire::subscribe(V5, 1, &[("$share/g/t", 1 | options), ("$share/g/#", 1 | options)]),
        );
        assert!(lab.publishes(client).is_empty());
    }
}

#[test]
fn mqtt5_beyond_shared_a_member_that_leaves_gets_nothing_more() {
    for shards in 1..4 {
        let mut lab = lab_of(shards);
        let members = members(&mut lab, 3, 1);
        lab.send(members[1], &wire::unsubscribe(V5, 1, &["$share/g/t"]));
        lab.bytes(members[1]);
        publish_numbers(&mut lab, 30, 1);
        assert!(numbers(&mut lab, members[1]).is_empty(), "{shards} shards");
        let (one, other) = (numbers(&mut lab, members[0]), numbers(&mut lab, members[2]));
        assert_eq!((one.len(), other.len()), (15, 15), "{shards} shards");
    }
}

#[test]
fn mqtt5_beyond_shared_what_was_sent_before_unsubscribe_reaches_no_stranger() {
    for end in ["cut", "clean start"] {
        let mut lab = Lab::new();
        let client = resume_with(&mut lab, "a", &receive_maximum(1));
        subscribe(&mut lab, client, "$share/g/t", 1);
        publish_numbers(&mut lab, 3, 1);
        lab.send(client, &wire::unsubscribe(V5, 1, &["$share/g/t"]));
        // Others share something else now, and may not even read the topic.
        let strangers = ["$share/h/u", "$share/i/v"].map(|filter| {
            let stranger = lab.connect(V5, filter);
            subscribe(&mut lab, stranger, filter, 1);
            stranger
        });
        if end == "cut" {
            lab.cut(client);
        } else {
            lab.connect(V5, "a");
        }
        for stranger in strangers {
            assert_eq!(numbers(&mut lab, stranger), [0u8; 0], "{end}");
        }
    }
}

#[test]
fn mqtt5_beyond_shared_a_new_member_takes_part_at_once() {
    for shards in 1..4 {
        let mut lab = lab_of(shards);
        let first = members(&mut lab, 1, 1);
        publish_numbers(&mut lab, 4, 1);
        assert_eq!(numbers(&mut lab, first[0]).len(), 4);
        let second = lab.connect(V5, "late");
        subscribe(&mut lab, second, "$share/g/t", 1);
        publish_numbers(&mut lab, 40, 1);
        let (one, other) = (numbers(&mut lab, first[0]).len(), numbers(&mut lab, second).len());
        assert_eq!(one + other, 40, "{shards} shards");
        assert!((15..=25).contains(&one), "{shards} shards: {one} and {other}");
    }
}

#[test]
fn mqtt5_beyond_shared_order_is_kept_for_each_member() {
    for shards in 1..4 {
        let mut lab = lab_of(shards);
        let clients: Vec<ClientIx> = (0..3)
            .map(|n| {
                let client = connect_props(&mut lab, &format!("m{n}"), &receive_maximum(3));
                subscribe(&mut lab, client, "$share/g/t", 1);
                client
            })
            .collect();
        let publisher = lab.connect(V5, "p");
        let mut got = vec![Vec::new(); 3];
        for n in 0..120 {
            publish_done(&mut lab, publisher, "t", 1, &[n]);
            let at = usize::from(n) % 3;
            if n % 2 == 0 {
                for publish in lab.publishes(clients[at]) {
                    take(&mut lab, clients[at], &publish);
                    got[at].push(publish.payload[0]);
                }
            }
        }
        for (client, got) in clients.iter().zip(&mut got) {
            got.extend(numbers(&mut lab, *client));
            assert!(got.is_sorted(), "{shards} shards: {got:?}");
        }
        assert_eq!(got.concat().len(), 120);
    }
}
