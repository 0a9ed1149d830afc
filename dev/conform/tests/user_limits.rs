//! What waits for all Sessions of one user together has an end (`queue_max_bytes_per_user`).
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, time::Duration};

use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V5, V311},
};
use cork_core::{Event, Limits, Settings};

/// Payloads are this long.
const PAYLOAD: usize = 200;

fn lab(shards: u16, user_queue_bytes_max: u64) -> Lab {
    Lab::with(|config| {
        config.shards = shards;
        config.limits.user_queue_bytes_max = user_queue_bytes_max;
    })
}

/// Bytes that one message to this topic is counted as in a queue.
fn cost(topic: &str) -> u64 {
    let mut lab = lab(1, 0);
    sleeper(&mut lab, topic, Some("ann"));
    publish(&mut lab, topic, 1);
    lab.stats(0).queued_bytes
}

fn limits(user_queue_bytes_max: u64) -> Settings {
    let limits = Limits { user_queue_bytes_max, sys_interval: Duration::ZERO, ..Limits::default() };
    Settings { limits, ..Settings::default() }
}

fn come(lab: &mut Lab, name: &str, user: Option<&str>) -> ClientIx {
    let user = user.map(str::to_owned);
    lab.connect_with(V311, &Connect { user, ..Connect::persistent(V311, name) })
}

/// A client that subscribes to the topic of its name, and leaves.
fn sleeper(lab: &mut Lab, name: &str, user: Option<&str>) {
    let client = come(lab, name, user);
    lab.send(client, &wire::subscribe(V311, 1, &[(name, 1)]));
    lab.cut(client);
}

fn publish(lab: &mut Lab, topic: &str, count: u16) {
    let publisher = lab.connect(V5, "publisher");
    for id in 1..=count {
        lab.send(publisher, &wire::publish(V5, 2, topic, Some(id), &[7; PAYLOAD]));
    }
    assert_eq!(lab.acks(publisher).len(), usize::from(count), "the publisher is not refused");
    lab.cut(publisher);
}

/// Comes back, takes and acknowledges all that waits, and leaves. Returns how much that was.
fn drain(lab: &mut Lab, name: &str, user: Option<&str>) -> usize {
    let client = come(lab, name, user);
    let mut count = 0;
    loop {
        let got = lab.publishes(client);
        if got.is_empty() {
            break;
        }
        count += got.len();
        for message in got {
            lab.send(client, &wire::ack(0x40, message.id.expect("QoS 1")));
        }
    }
    lab.cut(client);
    count
}

fn sum(lab: &Lab, shards: usize, counter: fn(&cork_core::Stats) -> u64) -> u64 {
    (0..shards).map(|shard| counter(&lab.stats(shard))).sum()
}

#[test]
fn the_sessions_of_a_user_share_one_limit_and_nobody_else_notices() {
    let cost = cost("a");
    let mut lab = lab(1, 10 * cost);
    for (name, user) in [("a", Some("ann")), ("b", Some("ann")), ("c", Some("bob")), ("d", None)] {
        sleeper(&mut lab, name, user);
    }
    for (topic, count) in [("a", 6), ("b", 7), ("c", 10), ("d", 50)] {
        publish(&mut lab, topic, count);
    }
    assert_eq!(lab.stats(0).dropped_user_queue_full, 3, "of thirteen of ann's ten fit");
    let said: Vec<_> =
        lab.events.iter().filter(|event| matches!(event, Event::UserQueueFull { .. })).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        matches!(said[0], Event::UserQueueFull { user, bytes } if &**user == "ann" && *bytes == 10 * cost)
    );
    assert_eq!(drain(&mut lab, "a", Some("ann")), 6);
    publish(&mut lab, "b", 6);
    assert_eq!(lab.stats(0).dropped_user_queue_full, 3, "what was taken gives its room back");
    for (name, user, count) in [("b", Some("ann"), 10), ("c", Some("bob"), 10), ("d", None, 50)] {
        assert_eq!(drain(&mut lab, name, user), count, "{name}");
    }
}

#[test]
fn the_limit_of_the_session_is_the_first_one() {
    let cost = cost("a");
    let mut lab = Lab::with(|config| {
        config.limits.queue_bytes_max = 2 * cost;
        config.limits.user_queue_bytes_max = 3 * cost;
    });
    sleeper(&mut lab, "a", Some("ann"));
    sleeper(&mut lab, "b", Some("ann"));
    publish(&mut lab, "a", 5);
    publish(&mut lab, "b", 5);
    let stats = lab.stats(0);
    // Three of the first one's do not fit into its queue; of the second one's one fits, then the user is full.
    assert_eq!((stats.dropped_queue_full, stats.dropped_user_queue_full), (3, 4));
}

#[test]
fn a_message_that_no_queue_of_a_user_could_hold_is_said_to_be_dropped() {
    let mut lab = lab(1, cost("a") - 1);
    sleeper(&mut lab, "a", Some("ann"));
    publish(&mut lab, "a", 1);
    assert_eq!(lab.stats(0).dropped_user_queue_full, 1);
    let said = |event: &Event| matches!(event, Event::UserQueueFull { user, bytes: 0 } if &**user == "ann");
    assert_eq!(lab.events.iter().filter(|event| said(event)).count(), 1, "{:?}", lab.events);
}

#[test]
fn a_session_counts_for_whoever_it_belongs_to() {
    let cost = cost("a");
    let mut lab = lab(1, 4 * cost);
    sleeper(&mut lab, "a", Some("ann"));
    publish(&mut lab, "a", 4);
    let stays = come(&mut lab, "a", Some("bob"));
    lab.cut(stays); // it took the messages and acknowledged none: they are under way, not queued
    sleeper(&mut lab, "b", Some("ann"));
    publish(&mut lab, "b", 5);
    assert_eq!(lab.stats(0).dropped_user_queue_full, 1, "all of ann's room is there again");
    publish(&mut lab, "a", 5);
    assert_eq!(lab.stats(0).dropped_user_queue_full, 2, "bob has room for four of his own");
    let ended = lab.connect_with(V311, &Connect { user: Some("bob".into()), ..Connect::new(V311, "a") });
    lab.cut(ended); // a Clean Session in its place: nothing waits for bob any more
    sleeper(&mut lab, "c", Some("bob"));
    publish(&mut lab, "c", 4);
    assert_eq!(lab.stats(0).dropped_user_queue_full, 2);
}

#[test]
fn a_queue_that_changes_hands_moves_with_its_bytes() {
    let cost = cost("a");
    let mut lab = lab(1, 4 * cost);
    sleeper(&mut lab, "a", Some("ann"));
    publish(&mut lab, "a", 4);
    // Two may be under way to bob, who acknowledges none; so two wait for him.
    let properties = vec![0x11, 0, 0, 0x0E, 0x10, 0x21, 0, 2];
    let connect = Connect { user: Some("bob".into()), properties, ..Connect::persistent(V5, "a") };
    let bob = lab.connect_with(V5, &connect);
    assert_eq!(lab.publishes(bob).len(), 2);
    sleeper(&mut lab, "b", Some("ann"));
    publish(&mut lab, "b", 4);
    assert_eq!(lab.stats(0).dropped_user_queue_full, 0, "nothing waits for ann");
    publish(&mut lab, "a", 3);
    assert_eq!(lab.stats(0).dropped_user_queue_full, 1, "two wait for bob, so two more fit");
}

#[test]
fn what_waited_before_a_restart_counts_and_is_never_taken_away() {
    let cost = cost("a");
    for shards in [1, 3] {
        let mut lab = lab(shards, 10 * cost);
        sleeper(&mut lab, "a", Some("ann"));
        sleeper(&mut lab, "b", Some("ann"));
        publish(&mut lab, "a", 9);
        lab.crash(Duration::from_secs(1));
        publish(&mut lab, "b", 9);
        let dropped = sum(&lab, shards.into(), |stats| stats.dropped_user_queue_full);
        assert!(if shards == 1 { dropped == 8 } else { (7..=9).contains(&dropped) }, "{shards}: {dropped}");
        assert_eq!(drain(&mut lab, "a", Some("ann")), 9);
    }
}

#[test]
fn a_running_broker_takes_a_new_limit() {
    let cost = cost("a");
    for shards in [1, 2] {
        let mut lab = lab(shards, 0);
        let dropped = |lab: &Lab| sum(lab, shards.into(), |stats| stats.dropped_user_queue_full);
        sleeper(&mut lab, "a", Some("ann"));
        sleeper(&mut lab, "b", Some("ann"));
        publish(&mut lab, "a", 20);
        lab.set_settings(&limits(30 * cost));
        publish(&mut lab, "b", 5);
        assert_eq!(dropped(&lab), 0, "25 of 30 wait");
        lab.set_settings(&limits(10 * cost));
        publish(&mut lab, "b", 5);
        assert_eq!(dropped(&lab), 5, "no room, and nothing is taken away");
        lab.set_settings(&limits(0));
        publish(&mut lab, "b", 5);
        assert_eq!(dropped(&lab), 5, "no limit any more");
        lab.set_settings(&limits(10 * cost));
        publish(&mut lab, "b", 1);
        assert_eq!(dropped(&lab), 6, "what came without a limit is counted under the next one");
        assert_eq!(drain(&mut lab, "a", Some("ann")), 20);
        assert_eq!(drain(&mut lab, "b", Some("ann")), 10);
        publish(&mut lab, "a", 10);
        assert_eq!(dropped(&lab), 6, "{shards} shards: all of the limit is free again");
    }
}

#[test]
fn over_several_shards_the_limit_holds_within_a_sixteenth() {
    let cost = cost("sleeper-0");
    for shards in [2u16, 3, 4] {
        let mut lab = lab(shards, 64 * cost);
        let names: Vec<String> = (0..8).map(|n| format!("sleeper-{n}")).collect();
        names.iter().for_each(|name| sleeper(&mut lab, name, Some("ann")));
        for round in 0..3 {
            for _ in 0..15 {
                names.iter().for_each(|name| publish(&mut lab, name, 1));
            }
            let queued = sum(&lab, shards.into(), |stats| stats.queued_bytes) / cost;
            assert!((59..=69).contains(&queued), "{shards} shards, round {round}: {queued}");
            let got: usize = names.iter().map(|name| drain(&mut lab, name, Some("ann"))).sum();
            assert_eq!(got as u64, queued);
        }
        // Nothing of it is left: one Session alone gets all of the limit.
        publish(&mut lab, "sleeper-0", 64);
        assert_eq!(drain(&mut lab, "sleeper-0", Some("ann")), 64);
    }
}

#[test]
fn sys_says_which_session_lost_messages_to_its_users_limit() {
    let cost = cost("a");
    let mut lab = Lab::with(|config| {
        config.limits.user_queue_bytes_max = 2 * cost;
        config.limits.sys_interval = Duration::from_secs(1);
    });
    let watcher = lab.connect(V5, "watcher");
    let topics = ["$SYS/broker/sessions/#", "$SYS/broker/messages/dropped/+"];
    lab.send(watcher, &wire::subscribe(V5, 1, &topics.map(|topic| (topic, 0))));
    sleeper(&mut lab, "a", Some("ann"));
    sleeper(&mut lab, "b", Some("ann"));
    publish(&mut lab, "a", 2);
    publish(&mut lab, "b", 3);
    lab.advance(Duration::from_secs(2));
    let said = lab.publishes(watcher).into_iter();
    let said: BTreeMap<String, Vec<u8>> = said.map(|message| (message.topic, message.payload)).collect();
    let value = |name: &str| said.get(&format!("$SYS/broker/{name}")).map(|text| &text[..]);
    assert_eq!(value("sessions/b/dropped/user_queue_full"), Some(&b"3"[..]));
    assert_eq!(value("sessions/a/dropped/user_queue_full"), None);
    assert_eq!(value("messages/dropped/user_queue_full"), Some(&b"3"[..]));
    assert_eq!(value("messages/dropped/total"), Some(&b"3"[..]));
}

/// Random arrivals, departures, drains, takeovers by another user, ends of Sessions and restarts: what is kept is what
/// the plainest book-keeping says.
#[test]
fn the_accounts_are_right_whatever_happens() {
    let cost = cost("a");
    let (users, most) = ([None, Some("ann"), Some("bob")], 12);
    for seed in 1..60u64 {
        let mut random = seed;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).expect("31 bits") % limit
        };
        let mut lab = lab(1, most * cost);
        let names = ["a", "b", "c", "d"];
        // By Session: whose it is, and how many messages wait.
        let mut book: BTreeMap<&str, (Option<&str>, u64)> = BTreeMap::new();
        let mut dropped = 0;
        for _ in 0..60 {
            let (name, user) = (names[below(4)], users[below(3)]);
            match below(10) {
                0..6 => {
                    if !book.contains_key(name) {
                        sleeper(&mut lab, name, user);
                        book.insert(name, (user, 0));
                    }
                    let owner = book[name].0;
                    let waits = |book: &BTreeMap<_, (Option<&str>, u64)>| -> u64 {
                        book.values().filter(|(user, _)| *user == owner).map(|(_, count)| count).sum()
                    };
                    for _ in 0..below(6) {
                        publish(&mut lab, name, 1);
                        let fits = owner.is_none() || waits(&book) < most;
                        dropped += u64::from(!fits);
                        book.get_mut(name).expect("it is there").1 += u64::from(fits);
                    }
                }
                6..8 => {
                    let Some((owner, count)) = book.get_mut(name) else { continue };
                    assert_eq!(drain(&mut lab, name, user) as u64, *count, "seed {seed}");
                    (*owner, *count) = (user, 0);
                }
                8 => {
                    let end = Connect { user: user.map(str::to_owned), ..Connect::new(V311, name) };
                    let end = lab.connect_with(V311, &end);
                    lab.cut(end);
                    book.remove(name);
                }
                _ => {
                    dropped = 0;
                    lab.crash(Duration::from_secs(1));
                }
            }
            assert_eq!(lab.stats(0).dropped_user_queue_full, dropped, "seed {seed}");
            assert_eq!(lab.stats(0).queued_bytes, book.values().map(|(_, count)| count * cost).sum::<u64>());
        }
    }
}
