//! The broker dies at any moment and starts again: what was acknowledged is there, and nothing happens twice at QoS 2.
#![forbid(unsafe_code)]

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5, V311, Version},
};

const BOTH: [Version; 2] = [V311, V5];
const SOON: Duration = Duration::from_secs(1);

/// A subscriber of `t` that went away, and a publisher that is connected.
fn away(lab: &mut Lab, version: Version, qos: u8) -> ClientIx {
    let (subscriber, _) = lab.come_back(version, "subscriber");
    lab.send(subscriber, &wire::subscribe(version, 1, &[("t", qos)]));
    lab.cut(subscriber);
    let (publisher, _) = lab.come_back(version, "publisher");
    publisher
}

fn numbers(published: &[cork_conform::Published]) -> Vec<String> {
    published.iter().map(|one| String::from_utf8_lossy(&one.payload).into_owned()).collect()
}

#[test]
fn a_session_its_subscriptions_and_its_queue_outlive_the_broker() {
    for version in BOTH {
        for shards in [1, 3] {
            let mut lab = Lab::with(|config| config.shards = shards);
            let publisher = away(&mut lab, version, 1);
            for n in 0..5u16 {
                lab.send(publisher, &wire::publish(version, 2, "t", Some(n + 1), n.to_string().as_bytes()));
            }
            assert_eq!(lab.acks(publisher).len(), 5, "version {version}, {shards} shards");
            for to in [2, 1, shards] {
                lab.crash_to(SOON, to);
            }
            let (subscriber, present) = lab.come_back(version, "subscriber");
            assert!(present, "version {version}");
            let got = lab.publishes(subscriber);
            assert_eq!(numbers(&got), ["0", "1", "2", "3", "4"], "version {version}, {shards} shards");
            assert!(got.iter().all(|one| !one.dup), "never sent before");
            for one in &got {
                lab.send(subscriber, &wire::ack(0x40, one.id.unwrap()));
            }
            let publisher = lab.connect(version, "another");
            lab.send(publisher, &wire::publish(version, 2, "t", Some(1), b"live"));
            assert_eq!(numbers(&lab.publishes(subscriber)), ["live"], "version {version}: still subscribed");
        }
    }
}

#[test]
fn what_was_not_stored_was_not_acknowledged() {
    for version in BOTH {
        let mut lab = Lab::new();
        let publisher = away(&mut lab, version, 1);
        lab.send(publisher, &wire::publish(version, 2, "t", Some(1), b"stored"));
        assert_eq!(lab.acks(publisher).len(), 1);
        lab.pause_store();
        lab.send(publisher, &wire::publish(version, 2, "t", Some(2), b"lost"));
        assert_eq!(lab.acks(publisher).len(), 0, "version {version}");
        lab.crash(SOON);
        let (subscriber, _) = lab.come_back(version, "subscriber");
        assert_eq!(numbers(&lab.publishes(subscriber)), ["stored"], "version {version}");
    }
}

#[test]
fn a_publication_at_qos_2_is_routed_once_whenever_the_broker_dies() {
    for version in BOTH {
        for shards in [1, 2, 3] {
            // After how many batches stored it dies.
            for stored in [false, true] {
                let mut lab = Lab::with(|config| config.shards = shards);
                let publisher = away(&mut lab, version, 2);
                let (online, _) = lab.come_back(version, "online");
                lab.send(online, &wire::subscribe(version, 1, &[("t", 2)]));
                lab.bytes(online);
                lab.pause_store();
                lab.send(publisher, &wire::publish(version, 4, "t", Some(9), b"once"));
                assert_eq!(lab.publishes(online).len(), 0, "not before it is stored");
                assert_eq!(lab.acks(publisher).len(), 0);
                if stored {
                    lab.store_answers();
                    assert_eq!(lab.acks(publisher).len(), 1, "{version} {shards}");
                    assert_eq!(lab.publishes(online).len(), 1);
                }
                lab.crash(SOON);
                let (publisher, present) = lab.come_back(version, "publisher");
                assert!(present);
                lab.send(publisher, &wire::publish(version, 0x0C, "t", Some(9), b"once"));
                assert_eq!(lab.acks(publisher).len(), 1);
                lab.send(publisher, &wire::ack(0x62, 9));
                for name in ["subscriber", "online"] {
                    let (client, _) = lab.come_back(version, name);
                    let got = lab.publishes(client);
                    assert_eq!(numbers(&got), ["once"], "version {version}, {shards} shards, {name}");
                    assert_eq!(got[0].dup, stored && name == "online", "version {version}, {name}");
                }
            }
        }
    }
}

#[test]
fn a_delivery_at_qos_2_goes_on_where_it_stood_under_the_same_identifier() {
    for version in BOTH {
        let mut lab = Lab::new();
        let (subscriber, _) = lab.come_back(version, "subscriber");
        lab.send(subscriber, &wire::subscribe(version, 1, &[("t", 2)]));
        lab.bytes(subscriber);
        let publisher = lab.connect(version, "publisher");
        for n in 0..4u16 {
            lab.send(publisher, &wire::publish(version, 4, "t", Some(n + 1), n.to_string().as_bytes()));
        }
        let ids: Vec<u16> = lab.publishes(subscriber).iter().map(|one| one.id.unwrap()).collect();
        // The first is over, the second released, the others were sent.
        lab.send(subscriber, &wire::ack(0x50, ids[0]));
        lab.send(subscriber, &wire::ack(0x70, ids[0]));
        lab.send(subscriber, &wire::ack(0x50, ids[1]));
        for round in 0..3 {
            lab.crash(SOON);
            let (subscriber, _) = lab.come_back(version, "subscriber");
            let packets = lab.packets(subscriber);
            let Received::Ack(release) = &packets[0] else { panic!("{packets:?}") };
            assert_eq!((release.first, release.id), (0x62, ids[1]), "version {version}, round {round}");
            let rest: Vec<_> = packets.into_iter().filter_map(Received::into_publish).collect();
            assert_eq!(numbers(&rest), ["2", "3"]);
            assert_eq!(rest.iter().map(|one| one.id.unwrap()).collect::<Vec<_>>(), ids[2..]);
            assert!(rest.iter().all(|one| one.dup), "version {version}, round {round}");
        }
        let (subscriber, _) = lab.come_back(version, "subscriber");
        lab.send(subscriber, &wire::ack(0x70, ids[1]));
        lab.send(publisher, &wire::publish(version, 4, "t", Some(9), b"new"));
        let publisher = lab.connect(version, "publisher");
        lab.bytes(subscriber);
        lab.send(publisher, &wire::publish(version, 4, "t", Some(9), b"new"));
        let got = lab.publishes(subscriber);
        assert_eq!(numbers(&got), ["new"], "version {version}");
        assert!(!ids[1..].contains(&got[0].id.unwrap()), "an identifier in use is not given twice");
    }
}

#[test]
fn retained_messages_outlive_the_broker_and_deleted_ones_stay_deleted() {
    for version in BOTH {
        let mut lab = Lab::with(|config| config.shards = 2);
        let publisher = lab.connect(version, "publisher");
        for (topic, flags, payload) in
            [("a", 3, "1"), ("b", 1, "2"), ("c", 3, "3"), ("a", 3, "4"), ("c", 1, "")]
        {
            let id = (flags & 6 != 0).then_some(1);
            lab.send(publisher, &wire::publish(version, flags, topic, id, payload.as_bytes()));
        }
        lab.crash(SOON);
        let reader = lab.connect(version, "reader");
        lab.send(reader, &wire::subscribe(version, 1, &[("#", 1)]));
        let got: Vec<_> = lab.publishes(reader).into_iter().map(|one| (one.topic, one.payload)).collect();
        assert_eq!(got, [("a".into(), b"4".to_vec()), ("b".into(), b"2".to_vec())], "version {version}");
    }
}

/// Says whether the Session of who left is there still, so many seconds after a restart that came so many after.
fn is_there(away: u64, down: u64, after: u64, crash: bool) -> bool {
    let mut lab = Lab::new();
    let (client, _) = lab.come_back(V5, "a"); // it expires after an hour
    lab.cut(client);
    lab.advance(Duration::from_secs(away));
    if !crash {
        lab.drain();
    }
    lab.crash(Duration::from_secs(down));
    lab.advance(Duration::from_secs(after));
    lab.come_back(V5, "a").1
}

#[test]
fn the_time_of_a_session_counts_from_its_connection_s_end() {
    let long = 3600 - 60;
    for crash in [false, true] {
        assert!(is_there(40, 10, long, crash), "crash: {crash}");
        assert!(!is_there(40, 30, long, crash), "crash: {crash}");
        assert!(!is_there(40, 3600, 0, crash), "crash: {crash}");
    }
    assert!(!is_there(5, 3600, 0, false), "the broker ended with all care");
    // It may have been there when the broker died, as far as the store knows.
    assert!(is_there(5, 3600, 3599, true));
    assert!(!is_there(5, 3600, 3601, true));
}

#[test]
fn an_armed_will_fires_once_after_a_crash_unless_its_client_returns() {
    for version in BOTH {
        for (persistent, returns) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut lab = Lab::new();
            let mut connect = Connect::new(version, "mortal");
            if persistent {
                connect = Connect::persistent(version, "mortal");
            }
            connect.keep_alive = 10;
            let connect = connect.with_will("will", b"gone");
            lab.connect_with(version, &connect);
            lab.crash(SOON);
            let watcher = lab.connect(version, "watcher");
            lab.send(watcher, &wire::subscribe(version, 1, &[("will", 1)]));
            lab.bytes(watcher);
            lab.advance(Duration::from_secs(14));
            assert_eq!(lab.payloads(watcher).len(), 0, "one and a half Keep Alive are not over");
            if returns {
                lab.connect_with(
                    version,
                    &Connect { keep_alive: 0, ..Connect::persistent(version, "mortal") },
                );
            }
            lab.advance(Duration::from_secs(60));
            let expected = usize::from(!returns);
            assert_eq!(lab.payloads(watcher).len(), expected, "version {version}, {persistent} {returns}");
            lab.crash(SOON);
            let watcher = lab.connect(version, "watcher");
            lab.send(watcher, &wire::subscribe(version, 1, &[("will", 1)]));
            lab.bytes(watcher);
            lab.advance(Duration::from_secs(600));
            assert_eq!(lab.payloads(watcher).len(), 0, "version {version}: once");
        }
    }
}

#[test]
fn a_session_ends_in_its_time_also_when_the_broker_was_away() {
    let connect = Connect { properties: vec![0x11, 0, 0, 0, 100], ..Connect::persistent(V5, "mortal") };
    for (away, present) in [(50, true), (150, false)] {
        let mut lab = Lab::new();
        let client = lab.connect_with(V5, &connect);
        lab.cut(client);
        lab.crash(Duration::from_secs(away));
        lab.advance(SOON);
        let client = lab.open(V5);
        lab.send(client, &connect.bytes());
        let Some(Received::ConnAck { flags, .. }) = lab.take_one(client) else { panic!() };
        assert_eq!(flags == 1, present, "after {away} s");
    }
}

#[test]
fn a_clean_session_leaves_nothing_behind() {
    for version in BOTH {
        let mut lab = Lab::new();
        let client = lab.connect_with(version, &Connect::new(version, "clean").with_will("w", b"x"));
        lab.send(client, &wire::subscribe(version, 1, &[("t", 2)]));
        lab.crash(SOON);
        lab.advance(Duration::from_secs(100));
        assert_eq!(lab.stored_sizes(), (0, 0), "version {version}");
        let (client, present) = lab.come_back(version, "clean");
        assert!(!present);
        let publisher = lab.connect(version, "publisher");
        lab.send(publisher, &wire::publish(version, 0, "t", None, b"x"));
        assert_eq!(lab.payloads(client).len(), 0);
    }
}

#[test]
fn a_long_queue_lives_in_the_store_and_comes_in_order() {
    for version in BOTH {
        let mut lab = Lab::new();
        let publisher = away(&mut lab, version, 1);
        let body = "x".repeat(200);
        for n in 0..5000u16 {
            let payload = format!("{n} {body}");
            lab.send(publisher, &wire::publish(version, 2, "t", Some(n + 1), payload.as_bytes()));
        }
        assert_eq!(lab.acks(publisher).len(), 5000);
        let (mut next, mut client) = (0, None);
        for round in 0..6 {
            if round % 2 == 1 {
                lab.crash(SOON);
            } else if let Some(client) = client.take() {
                lab.cut(client);
            }
            let (subscriber, _) = lab.come_back(version, "subscriber");
            let until = if round == 5 { 5001 } else { next + 700 };
            let mut first = true;
            while next < until {
                let got = lab.publishes(subscriber);
                if got.is_empty() {
                    break;
                }
                for one in got {
                    let number: u16 =
                        numbers(std::slice::from_ref(&one))[0].split(' ').next().unwrap().parse().unwrap();
                    if next == until {
                        break;
                    }
                    assert!(number == next || (first && number < next), "version {version}: {number} {next}");
                    if number == next {
                        next += 1;
                        first = false;
                        lab.send(subscriber, &wire::ack(0x40, one.id.unwrap()));
                    }
                }
            }
            client = Some(subscriber);
        }
        assert_eq!(next, 5000, "version {version}");
        assert_eq!(lab.stats(0).queued_messages, 0, "version {version}");
        assert_eq!(lab.stats(0).queued_bytes, 0, "version {version}");
    }
}

#[test]
fn mqtt5_4_8_2_what_a_dead_member_had_goes_to_the_others_also_from_the_store() {
    for shards in [1, 2] {
        let mut lab = Lab::with(|config| config.shards = shards);
        let (member, _) = lab.come_back(V5, "member");
        lab.send(member, &wire::subscribe(V5, 1, &[("$share/g/t", 1)]));
        lab.bytes(member);
        lab.set_window(member, 0); // it never reads
        let publisher = lab.connect(V5, "publisher");
        let body = "x".repeat(500);
        for n in 0..3000u16 {
            let payload = format!("{n} {body}");
            lab.send(publisher, &wire::publish(V5, 2, "t", Some(n + 1), payload.as_bytes()));
        }
        let (other, _) = lab.come_back(V5, "other");
        lab.send(other, &wire::subscribe(V5, 1, &[("$share/g/t", 1)]));
        lab.bytes(other);
        lab.cut(member);
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let got = lab.publishes(other);
            if got.is_empty() {
                break;
            }
            for one in got {
                seen.insert(
                    numbers(std::slice::from_ref(&one))[0].split(' ').next().unwrap().parse::<u16>().unwrap(),
                );
                lab.send(other, &wire::ack(0x40, one.id.unwrap()));
            }
        }
        assert_eq!(seen.len(), 3000, "{shards} shards");
    }
}

#[test]
fn identifiers_stay_the_same_when_one_is_never_answered() {
    let mut lab = Lab::with(|config| config.limits.inflight_max = 100);
    let (subscriber, _) = lab.come_back(V311, "subscriber");
    lab.send(subscriber, &wire::subscribe(V311, 1, &[("t", 1)]));
    lab.bytes(subscriber);
    let publisher = lab.connect(V311, "publisher");
    let mut stuck = None;
    for n in 0..66_000u32 {
        let id = u16::try_from(n % 60_000 + 1).unwrap();
        lab.send(publisher, &wire::publish(V311, 2, "t", Some(id), n.to_string().as_bytes()));
        for one in lab.publishes(subscriber) {
            if stuck.is_none() {
                stuck = one.id;
            } else {
                assert_ne!(one.id, stuck);
                lab.send(subscriber, &wire::ack(0x40, one.id.unwrap()));
            }
        }
        lab.bytes(publisher);
    }
    lab.send(publisher, &wire::publish(V311, 2, "t", Some(1), b"last"));
    let last = lab.publishes(subscriber)[0].id;
    lab.crash(SOON);
    let (subscriber, _) = lab.come_back(V311, "subscriber");
    let again: Vec<_> = lab.publishes(subscriber).into_iter().map(|one| one.id).collect();
    assert_eq!(again, [stuck, last]);
}

#[test]
fn what_is_stored_while_a_queue_is_being_read_back_is_not_taken_for_lost() {
    for version in BOTH {
        let mut lab = Lab::new();
        let publisher = away(&mut lab, version, 1);
        for n in 0..2u16 {
            lab.send(publisher, &wire::publish(version, 2, "t", Some(n + 1), n.to_string().as_bytes()));
        }
        lab.crash(SOON);
        lab.pause_loads();
        let (subscriber, _) = lab.come_back(version, "subscriber");
        let (publisher, _) = lab.come_back(version, "publisher");
        lab.send(publisher, &wire::publish(version, 2, "t", Some(3), b"2"));
        assert_eq!(lab.acks(publisher).len(), 1, "it is stored");
        lab.loads_arrive();
        lab.send(publisher, &wire::publish(version, 2, "t", Some(4), b"3"));
        assert_eq!(numbers(&lab.publishes(subscriber)), ["0", "1", "2", "3"], "version {version}");
    }
}

#[test]
fn a_shared_message_of_qos_2_that_went_out_before_a_crash_stays_with_its_member() {
    for version in BOTH {
        let mut lab = Lab::new();
        let (first, _) = lab.come_back(version, "first");
        lab.send(first, &wire::subscribe(version, 1, &[("$share/g/t", 2)]));
        lab.bytes(first);
        let (publisher, _) = lab.come_back(version, "publisher");
        lab.send(publisher, &wire::publish(version, 4, "t", Some(1), b"once"));
        assert_eq!(numbers(&lab.publishes(first)), ["once"], "version {version}");
        lab.crash(SOON);
        let (second, _) = lab.come_back(version, "second");
        lab.send(second, &wire::subscribe(version, 1, &[("$share/g/t", 2)]));
        lab.bytes(second);
        for loaded in [false, true] {
            if !loaded {
                lab.pause_loads();
            }
            let (first, _) = lab.come_back(version, "first");
            lab.set_window(first, 0);
            lab.cut(first);
            lab.loads_arrive();
            assert_eq!(numbers(&lab.publishes(second)), [""; 0], "version {version}, loaded {loaded}");
        }
        let (first, _) = lab.come_back(version, "first");
        let got = lab.publishes(first);
        assert_eq!(numbers(&got), ["once"], "version {version}");
        assert!(got[0].dup);
    }
}

#[test]
fn what_is_published_after_a_crash_is_not_a_repetition() {
    for version in BOTH {
        let mut lab = Lab::new();
        let (subscriber, _) = lab.come_back(version, "subscriber");
        lab.send(subscriber, &wire::subscribe(version, 1, &[("t", 1)]));
        let publisher = lab.connect(version, "publisher");
        lab.send(publisher, &wire::publish(version, 2, "t", Some(1), b"before"));
        lab.crash(SOON);
        let publisher = lab.connect(version, "publisher");
        lab.send(publisher, &wire::publish(version, 2, "t", Some(1), b"after"));
        let (subscriber, _) = lab.come_back(version, "subscriber");
        let got: Vec<bool> = lab.publishes(subscriber).iter().map(|one| one.dup).collect();
        assert_eq!(got, [true, false], "version {version}");
    }
}

/// A Client Identifier whose Session lives on this shard of two.
fn on_shard(shard: u16, name: &str) -> String {
    let lives_there = |id: &String| cork_core::home_shard(id, 2, 42) == shard;
    (0..).map(|n| format!("{name}{n}")).find(lives_there).expect("one of two lives there")
}

#[test]
fn a_retained_message_cleared_before_its_shard_knew_of_it_stays_cleared_in_a_crash() {
    let mut lab = Lab::with(|config| config.shards = 2);
    let writer = lab.connect(V5, &on_shard(0, "writer"));
    let clearer = lab.connect(V5, &on_shard(1, "clearer"));
    lab.pause_mail();
    lab.send(writer, &wire::publish(V5, 3, "t", Some(1), b"value"));
    lab.send(clearer, &wire::publish(V5, 3, "t", Some(1), b""));
    assert_eq!((lab.acks(writer).len(), lab.acks(clearer).len()), (1, 1));
    lab.mail_arrives();
    lab.crash(SOON);
    let late = lab.connect(V5, "late");
    lab.send(late, &wire::subscribe(V5, 1, &[("t", 1)]));
    assert_eq!(lab.publishes(late), []);
}

#[test]
fn a_clean_start_is_not_answered_before_the_old_sessions_end_is_stored() {
    for version in BOTH {
        let mut lab = Lab::new();
        let (client, _) = lab.come_back(version, "client");
        lab.cut(client);
        lab.pause_store();
        let client = lab.open(version);
        lab.send(client, &Connect::new(version, "client").bytes());
        assert_eq!(lab.packets(client), [], "version {version}");
        lab.cut(client);
        let client = lab.open(version);
        lab.send(client, &Connect::new(version, "client").bytes());
        assert_eq!(lab.packets(client), [], "version {version}: nor is the next one");
        lab.store_answers();
        assert_eq!(lab.packets(client).len(), 1, "version {version}");
        lab.crash(SOON);
        assert!(!lab.come_back(version, "client").1, "version {version}");
    }
}

#[test]
fn wills_survive_a_crash_while_another_shard_still_has_one_of_them() {
    for version in BOTH {
        let mut lab = Lab::with(|config| config.shards = 2);
        let watcher = on_shard(1, "watcher");
        let (watching, _) = lab.come_back(version, &watcher);
        lab.send(watching, &wire::subscribe(version, 1, &[("will", 2)]));
        lab.bytes(watching);
        let client = on_shard(0, "client");
        let connect = |will: &[u8]| Connect::persistent(version, &client).with_will("will", will).bytes();
        let first = lab.open(version);
        lab.send(first, &connect(b"first"));
        lab.pause_mail();
        let second = lab.open(version);
        lab.send(second, &connect(b"second"));
        lab.crash(SOON);
        lab.mail_arrives();
        let (watching, _) = lab.come_back(version, &watcher);
        lab.advance(Duration::from_secs(200));
        let mut wills = numbers(&lab.publishes(watching));
        wills.sort();
        assert_eq!(wills, ["first", "second"], "version {version}");
    }
}

/// Found by the simulation, seed 43613: what the core retained and the store knew to be cleared was waited for for ever.
#[test]
fn a_will_that_is_published_again_after_a_crash_does_not_undo_that_its_topic_was_cleared() {
    for (cleared, short) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut lab = Lab::with(|config| {
            config.shards = 2;
            config.limits.retained_bytes_max = if short { 0 } else { u64::MAX };
        });
        let watcher = on_shard(1, "watcher");
        let (watching, _) = lab.come_back(V5, &watcher);
        lab.send(watching, &wire::subscribe(V5, 1, &[("t", 1)]));
        let mut connect = Connect::persistent(V5, &on_shard(0, "dies")).with_will("t", b"will");
        connect.will = connect.will.map(|will| wire::Will { qos: 1, retain: true, ..will });
        let dies = lab.connect_with(V5, &connect);
        let clearer = lab.connect(V5, &on_shard(0, "clearer"));
        lab.pause_mail();
        lab.cut(dies);
        if cleared {
            lab.send(clearer, &wire::publish(V5, 3, "t", Some(1), b""));
        }
        lab.crash(SOON);
        let (watching, _) = lab.come_back(V5, &watcher);
        lab.advance(SOON);
        assert_eq!(numbers(&lab.publishes(watching)), ["will"], "{cleared} {short}");
        for shard in 0..2 {
            let late = lab.connect(V5, &on_shard(shard, "late"));
            lab.send(late, &wire::subscribe(V5, 1, &[("t", 1)]));
            let wanted: &[&str] = if cleared { &[] } else { &["will"] };
            assert_eq!(numbers(&lab.publishes(late)), wanted, "{cleared} {short} {shard}");
            lab.cut(late);
        }
    }
}

#[test]
fn what_may_have_been_sent_before_a_crash_says_so_however_far_it_was() {
    for version in BOTH {
        let mut lab = Lab::with(|config| config.limits.inflight_max = 2);
        let (subscriber, _) = lab.come_back(version, "subscriber");
        lab.send(subscriber, &wire::subscribe(version, 1, &[("t", 1)]));
        lab.bytes(subscriber);
        let publisher = lab.connect(version, "publisher");
        for n in 1..=6u16 {
            lab.send(publisher, &wire::publish(version, 2, "t", Some(n), n.to_string().as_bytes()));
        }
        for n in 1..=5 {
            let got = lab.publishes(subscriber);
            let taken = got.get(usize::from(n == 1)).and_then(|one| one.id);
            lab.send(subscriber, &wire::ack(0x40, taken.unwrap())); // all but the first
        }
        lab.crash(SOON);
        let (subscriber, _) = lab.come_back(version, "subscriber");
        let again: Vec<_> = lab.publishes(subscriber).into_iter().map(|one| (one.payload, one.dup)).collect();
        assert_eq!(again, [(b"1".to_vec(), true)], "version {version}");
    }
}

#[test]
fn what_a_publisher_sends_at_qos_2_is_stored_in_its_order_wherever_it_goes() {
    for version in BOTH {
        let mut lab = Lab::with(|config| config.shards = 2);
        let near = on_shard(0, "near");
        let (nearby, _) = lab.come_back(version, &near);
        lab.send(nearby, &wire::subscribe(version, 1, &[("t", 2)]));
        lab.cut(nearby);
        let (far, _) = lab.come_back(version, &on_shard(1, "far"));
        lab.send(far, &wire::subscribe(version, 1, &[("t", 2)]));
        let sender = on_shard(0, "sender");
        let (publisher, _) = lab.come_back(version, &sender);
        lab.pause_mail();
        lab.send(far, &wire::unsubscribe(version, 2, &["t"]));
        lab.send(publisher, &wire::publish(version, 4, "t", Some(1), b"first")); // both shards store it together
        lab.mail_arrives_at(0);
        lab.send(publisher, &wire::publish(version, 4, "t", Some(2), b"second")); // this one alone
        lab.crash(SOON);
        lab.mail_arrives();
        let (publisher, _) = lab.come_back(version, &sender);
        for (id, text) in [(1, "first"), (2, "second")] {
            lab.send(publisher, &wire::publish(version, 12, "t", Some(id), text.as_bytes()));
        }
        let (nearby, _) = lab.come_back(version, &near);
        assert_eq!(numbers(&lab.publishes(nearby)), ["first", "second"], "version {version}");
    }
}

#[test]
fn a_repeated_publication_is_not_answered_before_the_first_one_is_stored() {
    for version in BOTH {
        let mut lab = Lab::with(|config| config.shards = 2);
        let (far, _) = lab.come_back(version, &on_shard(1, "far"));
        lab.send(far, &wire::subscribe(version, 1, &[("t", 2)]));
        let sender = on_shard(0, "sender");
        let (publisher, _) = lab.come_back(version, &sender);
        lab.pause_mail();
        lab.send(publisher, &wire::publish(version, 4, "t", Some(1), b"once"));
        let (publisher, _) = lab.come_back(version, &sender);
        lab.pause_store();
        lab.mail_arrives();
        lab.send(publisher, &wire::publish(version, 12, "t", Some(1), b"once"));
        assert_eq!(lab.acks(publisher).len(), 0, "version {version}");
        lab.store_answers();
        assert_eq!(lab.acks(publisher).len(), 1, "version {version}");
    }
}

const RETAIN: u8 = 1;
const RETAIN_QOS1: u8 = 3;

/// Topics and payloads of what is retained below `t`.
fn retained(lab: &mut Lab) -> Vec<(String, String)> {
    let client = lab.connect(V5, "looks");
    lab.send(client, &wire::subscribe(V5, 1, &[("t/#", 0)]));
    lab.advance(SOON);
    let text = |one: cork_conform::Published| (one.topic, String::from_utf8_lossy(&one.payload).into_owned());
    lab.publishes(client).into_iter().map(text).collect()
}

#[test]
fn what_was_retained_at_qos_0_on_a_full_disk_is_written_once_there_is_space() {
    for shards in [1, 3] {
        let mut lab = Lab::with(|config| config.shards = shards);
        let publisher = lab.connect(V5, "publisher");
        for (id, topic) in [(1, "t/gone"), (2, "t/keep")] {
            lab.send(publisher, &wire::publish(V5, RETAIN_QOS1, topic, Some(id), b"old"));
        }
        assert_eq!(lab.acks(publisher).len(), 2);
        lab.store_is_full(true);
        lab.send(publisher, &wire::publish(V5, RETAIN, "t/keep", None, b"new"));
        lab.send(publisher, &wire::publish(V5, RETAIN, "t/gone", None, b""));
        let changed = [("t/keep".to_owned(), "new".to_owned())];
        assert_eq!(retained(&mut lab), changed, "{shards} shards: at once");
        lab.store_is_full(false);
        lab.crash(SOON);
        assert_eq!(retained(&mut lab), changed, "{shards} shards: after a restart");
    }
}

#[test]
fn a_full_store_takes_what_clears_a_retained_message() {
    for shards in [1, 3] {
        let mut lab = Lab::with(|config| config.shards = shards);
        let publisher = lab.connect(V5, "publisher");
        for (id, topic) in [(1, "t/0"), (2, "t/1"), (3, "t/2"), (4, "t/3")] {
            lab.send(publisher, &wire::publish(V5, RETAIN_QOS1, topic, Some(id), b"old"));
        }
        let (sleeper, _) = lab.come_back(V5, "sleeper");
        lab.send(sleeper, &wire::subscribe(V5, 1, &[("t/2", 1)]));
        lab.cut(sleeper);
        lab.acks(publisher);
        lab.store_is_full(true);
        lab.send(publisher, &wire::publish(V5, RETAIN, "t/0", None, b""));
        lab.send(publisher, &wire::publish(V5, RETAIN_QOS1, "t/1", Some(5), b""));
        lab.send(publisher, &wire::publish(V5, RETAIN_QOS1, "t/2", Some(6), b""));
        let refused =
            |lab: &mut Lab| lab.acks(publisher).iter().map(|ack| ack.reason >= 0x80).collect::<Vec<_>>();
        assert_eq!(refused(&mut lab), [false, false], "{shards} shards");
        lab.send(publisher, &wire::publish(V5, RETAIN_QOS1, "t/none", Some(7), b""));
        assert_eq!(refused(&mut lab), [true], "{shards} shards: it frees nothing");
        lab.crash(SOON);
        assert_eq!(retained(&mut lab), [("t/3".to_owned(), "old".to_owned())], "{shards} shards");
    }
}

/// As Paho does with `publish()` in `on_message`: what it acknowledges stands behind what cannot be stored.
#[test]
fn who_publishes_before_it_acknowledges_drains_on_a_full_disk_too() {
    for shards in [1, 3] {
        let mut lab = Lab::with(|config| config.shards = shards);
        let (worker, _) = lab.come_back(V311, "worker");
        lab.send(worker, &wire::subscribe(V311, 1, &[("jobs", 1), ("done", 1)]));
        let publisher = lab.connect(V5, "publisher");
        for id in [1, 2] {
            lab.send(publisher, &wire::publish(V5, 2, "jobs", Some(id), b"job"));
        }
        let jobs = lab.publishes(worker);
        assert_eq!(jobs.len(), 2, "{shards} shards");
        lab.store_is_full(true);
        for (id, job) in (10..).zip(&jobs) {
            lab.send(worker, &wire::publish(V311, 2, "done", Some(id), b"done"));
            lab.send(worker, &wire::ack(0x40, job.id.unwrap()));
        }
        lab.send(worker, &wire::pingreq());
        assert!(matches!(lab.take_one(worker), Some(Received::PingResp)), "{shards} shards: it is read on");
        assert_eq!(
            lab.packets(worker).len(),
            0,
            "{shards} shards: nothing is acknowledged that is not stored"
        );
        lab.store_is_full(false);
        assert!(lab.is_closed(worker), "{shards} shards: else it would not send it again");
        let (worker, _) = lab.come_back(V311, "worker");
        for id in [10, 11] {
            lab.send(worker, &wire::publish(V311, 10, "done", Some(id), b"done"));
        }
        let came = lab.packets(worker);
        let acks = came.iter().filter(|packet| matches!(packet, Received::Ack(_))).count();
        let back: Vec<_> = came
            .iter()
            .filter(|packet| matches!(packet, Received::Publish(one) if one.topic == "done"))
            .collect();
        assert_eq!((acks, back.len(), came.len()), (2, 2, 4), "{shards} shards, and no job again: {came:?}");
    }
}

#[test]
fn who_needs_a_session_is_told_that_the_store_has_no_space() {
    for (version, code) in [(V311, 3), (V5, 0x97)] {
        let mut lab = Lab::new();
        let (kept, _) = lab.come_back(version, "kept");
        lab.cut(kept);
        lab.store_is_full(true);
        lab.store_is_stuck(true);
        let told = |lab: &mut Lab, connect: Connect| {
            let client = lab.open(version);
            lab.send(client, &connect.bytes());
            match lab.take_one(client) {
                Some(Received::ConnAck { code, .. }) => code,
                other => panic!("version {version}: {other:?}"),
            }
        };
        let will = || Connect::new(version, "will").with_will("w", b"x");
        assert_eq!(told(&mut lab, Connect::persistent(version, "kept")), code, "version {version}");
        assert_eq!(told(&mut lab, Connect::persistent(version, "new")), code, "version {version}");
        assert_eq!(
            told(&mut lab, Connect::new(version, "kept")),
            code,
            "version {version}: its end is a record"
        );
        assert_eq!(told(&mut lab, will()), code, "version {version}");
        assert_eq!(told(&mut lab, Connect::new(version, "passing")), 0, "version {version}");
        lab.store_is_stuck(false);
        assert_eq!(told(&mut lab, will()), 0, "version {version}");
        let (_, present) = lab.come_back(version, "kept");
        assert!(present, "version {version}: a refusal changes nothing");
    }
}
