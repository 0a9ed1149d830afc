//! Bugs that were found, each with the test that would have found it. `docs/bugs.md` lists them.

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5, V311},
};

/// The seed of the lab's shards decides who lives where.
const SEED: u64 = 42;

fn two_shards() -> Lab {
    Lab::with(|config| config.shards = 2)
}

/// The `n`th Client Identifier whose Session lives on a shard.
fn on_shard(shard: u16, n: usize) -> String {
    let lives_there = |id: &String| cork_core::home_shard(id, 2, SEED) == shard;
    (0..).map(|n| format!("client-{n}")).filter(lives_there).nth(n).expect("there are enough")
}

fn texts(lab: &mut Lab, client: ClientIx) -> Vec<String> {
    lab.payloads(client)
        .into_iter()
        .map(|payload| String::from_utf8(payload).expect("the payloads are text"))
        .collect()
}

#[test]
fn the_second_subscriber_of_a_filter_waits_for_the_other_shards_as_the_first_does() {
    let mut lab = two_shards();
    let publisher = lab.connect(V311, &on_shard(1, 0));
    let first = lab.connect(V311, &on_shard(0, 0));
    let second = lab.connect(V311, &on_shard(0, 1));
    lab.pause_mail();
    lab.send(first, &wire::subscribe(V311, 1, &[("t", 1)]));
    lab.send(second, &wire::subscribe(V311, 1, &[("t", 1)]));
    assert_eq!(lab.packets(second), [], "SUBACK says that nothing is missed from now on");
    lab.mail_arrives();
    assert!(matches!(lab.take_one(second), Some(Received::SubAck { .. })));
    lab.send(publisher, &wire::publish(V311, 2, "t", Some(1), b"x"));
    assert_eq!(texts(&mut lab, second), ["x"]);
}

#[test]
fn a_subscription_made_again_on_a_new_connection_waits_for_the_other_shards_too() {
    for filter in ["t", "$share/g/t"] {
        let mut lab = two_shards();
        let connect = Connect::persistent(V5, &on_shard(0, 0));
        let before = lab.connect_with(V5, &connect);
        lab.pause_mail();
        lab.send(before, &wire::subscribe(V5, 1, &[(filter, 1)]));
        lab.cut(before);
        let after = lab.connect_with(V5, &connect);
        lab.send(after, &wire::subscribe(V5, 1, &[(filter, 1)]));
        assert_eq!(lab.packets(after), [], "{filter}");
        lab.mail_arrives();
        assert!(matches!(lab.take_one(after), Some(Received::SubAck { .. })), "{filter}");
    }
}

#[test]
fn a_qos_0_message_does_not_overtake_those_that_were_queued_while_its_receiver_was_away() {
    let mut lab = Lab::with(|config| config.limits.queue_qos0 = true);
    let publisher = lab.connect(V5, "publisher");
    let receiver = lab.connect_with(V5, &Connect::persistent(V5, "receiver"));
    lab.send(receiver, &wire::subscribe(V5, 1, &[("t", 1)]));
    lab.cut(receiver);
    lab.send(publisher, &wire::publish(V5, 2, "t", Some(1), b"one"));
    lab.send(publisher, &wire::publish(V5, 2, "t", Some(2), b"two"));
    lab.send(publisher, &wire::publish(V5, 0, "t", None, b"queued"));
    // Receive Maximum 1: the second message has to wait for the first, and the third behind it.
    let mut connect = Connect::persistent(V5, "receiver");
    connect.properties.extend([0x21, 0, 1]);
    let receiver = lab.connect_with(V5, &connect);
    lab.send(publisher, &wire::publish(V5, 0, "t", None, b"live"));
    let mut got = Vec::new();
    loop {
        let news = lab.publishes(receiver);
        if news.is_empty() {
            break;
        }
        for publish in news {
            got.push(String::from_utf8(publish.payload).unwrap());
            if let Some(id) = publish.id {
                lab.send(receiver, &wire::ack(0x40, id));
            }
        }
    }
    assert_eq!(got, ["one", "two", "queued", "live"]);
}

/// What a new subscriber on a shard finds retained.
fn found_on(lab: &mut Lab, shard: u16) -> Vec<String> {
    let client = lab.connect(V311, &on_shard(shard, 9));
    lab.send(client, &wire::subscribe(V311, 1, &[("#", 0)]));
    texts(lab, client)
}

#[test]
fn a_retained_message_that_was_cleared_does_not_come_back_from_another_shard() {
    let mut lab = two_shards();
    let slow = lab.connect(V311, &on_shard(0, 0));
    let late = lab.connect(V311, &on_shard(1, 0));
    lab.pause_mail();
    lab.send(slow, &wire::publish(V311, 1, "t", None, b"old"));
    lab.advance(Duration::from_millis(1));
    lab.send(late, &wire::publish(V311, 1, "t", None, b""));
    lab.mail_arrives();
    assert_eq!((found_on(&mut lab, 0), found_on(&mut lab, 1)), (vec![], vec![]));
    // A value that is newer than the clearing is kept, also when the clearing arrives after it.
    lab.pause_mail();
    lab.send(slow, &wire::publish(V311, 1, "t", None, b""));
    lab.advance(Duration::from_millis(1));
    lab.send(late, &wire::publish(V311, 1, "t", None, b"new"));
    lab.mail_arrives();
    assert_eq!((found_on(&mut lab, 0), found_on(&mut lab, 1)), (vec!["new".into()], vec!["new".into()]));
}

#[test]
fn the_first_retained_message_of_all_is_found_while_it_is_on_its_way_from_another_shard() {
    let mut lab = two_shards();
    let publisher = lab.connect(V311, &on_shard(0, 0));
    let subscriber = lab.connect(V311, &on_shard(1, 0));
    lab.pause_mail();
    lab.send(publisher, &wire::publish(V311, 3, "t", Some(1), b"x"));
    assert_eq!(lab.acks(publisher).len(), 1);
    lab.send(subscriber, &wire::subscribe(V311, 1, &[("t", 1)]));
    lab.mail_arrives();
    assert_eq!(texts(&mut lab, subscriber), ["x"]);
}

#[test]
fn a_retained_message_that_has_expired_does_not_make_room_for_an_older_one() {
    let mut lab = two_shards();
    let slow = lab.connect(V5, &on_shard(0, 0));
    let late = lab.connect(V5, &on_shard(1, 0));
    lab.pause_mail();
    lab.send(slow, &wire::publish(V5, 1, "t", None, b"old"));
    lab.advance(Duration::from_millis(1));
    lab.send(late, &wire::publish_with(V5, 1, "t", None, &[0x02, 0, 0, 0, 1], b"short-lived"));
    lab.advance(Duration::from_secs(2));
    lab.mail_arrives();
    assert_eq!((found_on(&mut lab, 0), found_on(&mut lab, 1)), (vec![], vec![]));
}

#[test]
fn a_shared_message_for_a_shard_whose_members_have_left_goes_to_those_who_stay() {
    let mut lab = two_shards();
    let publisher = lab.connect(V311, &on_shard(0, 1));
    let stays = lab.connect(V5, &on_shard(0, 0));
    let leaves = lab.connect(V5, &on_shard(1, 0));
    lab.send(stays, &wire::subscribe(V5, 1, &[("$share/g/t", 1)]));
    lab.send(leaves, &wire::subscribe(V5, 1, &[("$share/g/t", 1)]));
    lab.packets(stays);
    lab.pause_mail();
    lab.send(leaves, &wire::unsubscribe(V5, 2, &["$share/g/t"]));
    for id in 1..=4 {
        lab.send(publisher, &wire::publish(V311, 2, "t", Some(id), id.to_string().as_bytes()));
    }
    lab.mail_arrives();
    let mut got = texts(&mut lab, stays);
    got.sort();
    assert_eq!(got, ["1", "2", "3", "4"]);
    assert_eq!(texts(&mut lab, leaves), [""; 0]);
}

#[test]
fn a_subscribe_with_very_many_filters_is_answered_with_several_shards() {
    let mut lab = Lab::with(|config| config.shards = 4);
    let client = lab.connect(V311, "client");
    let filters: Vec<String> = (0..30_000).map(|n| format!("{n}")).collect();
    let asked: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    lab.send(client, &wire::subscribe(V311, 1, &asked));
    lab.advance(Duration::from_millis(1));
    let Some(Received::SubAck { codes, .. }) = lab.take_one(client) else { panic!("no SUBACK") };
    assert_eq!(codes.len(), filters.len());
}
