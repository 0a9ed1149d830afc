//! A queue at its limit gives up QoS 0 first, then takes nothing new; what waits at QoS 1 and 2 stays.
#![forbid(unsafe_code)]

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5, V311, Version},
};

/// Of each payload, so that all messages count the same.
const LENGTH: usize = 100;
/// Parts of a queue that are in memory: all of a short one, a few messages, none.
const HEADS: [u64; 3] = [256 << 10, 700, 0];
const SOON: Duration = Duration::from_secs(1);

fn come_back(lab: &mut Lab, version: Version) -> ClientIx {
    let client = lab.open(version);
    lab.send(client, &Connect::persistent(version, "sleeper").bytes());
    assert!(matches!(lab.take_one(client), Some(Received::ConnAck { code: 0, .. })));
    client
}

/// A sleeper with room for `room` messages, and who publishes to it. `head`: bytes of a queue that are in memory.
fn lab(version: Version, room: u64, head: u64) -> (Lab, ClientIx) {
    let cost = {
        let mut lab = asleep(version, u64::MAX, head);
        let publisher = lab.connect(version, "publisher");
        publish(&mut lab, version, publisher, 1..=1, 1);
        lab.stats(0).queued_bytes
    };
    let mut lab = asleep(version, cost * room, head);
    let publisher = lab.connect(version, "publisher");
    (lab, publisher)
}

fn asleep(version: Version, queue_bytes_max: u64, head: u64) -> Lab {
    let mut lab = Lab::with(|config| {
        config.limits.queue_qos0 = true;
        config.limits.queue_bytes_max = queue_bytes_max;
        config.limits.queue_head_bytes_max = head;
    });
    let sleeper = come_back(&mut lab, version);
    lab.send(sleeper, &wire::subscribe(version, 1, &[("t", 2)]));
    lab.cut(sleeper);
    lab
}

fn publish(
    lab: &mut Lab,
    version: Version,
    publisher: ClientIx,
    numbers: std::ops::RangeInclusive<u16>,
    qos: u8,
) {
    for number in numbers {
        let payload = format!("{number:0LENGTH$}");
        let id = (qos > 0).then_some(number);
        let flags = qos << 1;
        lab.send(publisher, &wire::publish(version, flags, "t", id, payload.as_bytes()));
        if qos == 2 {
            lab.send(publisher, &wire::ack(0x62, number));
        }
    }
}

/// What the sleeper gets when it comes back, as (number, QoS).
fn woken(lab: &mut Lab, version: Version) -> Vec<(u16, u8)> {
    let sleeper = come_back(lab, version);
    let mut got = Vec::new();
    loop {
        let published = lab.publishes(sleeper);
        if published.is_empty() {
            return got;
        }
        for one in published {
            let number = std::str::from_utf8(&one.payload).expect("text").parse().expect("a number");
            got.push((number, one.qos));
            match (one.qos, one.id) {
                (1, Some(id)) => lab.send(sleeper, &wire::ack(0x40, id)),
                (2, Some(id)) => {
                    lab.send(sleeper, &wire::ack(0x50, id));
                    lab.send(sleeper, &wire::ack(0x70, id));
                }
                _ => {}
            }
        }
    }
}

/// Numbers of messages with their QoS.
fn all(numbers: impl IntoIterator<Item = u16>, qos: u8) -> impl Iterator<Item = (u16, u8)> {
    numbers.into_iter().map(move |number| (number, qos))
}

#[test]
fn qos_0_goes_first_then_nothing_new_is_taken() {
    for version in [V311, V5] {
        for (head, crashes) in HEADS.into_iter().flat_map(|head| [(head, false), (head, true)]) {
            let (mut lab, publisher) = lab(version, 10, head);
            publish(&mut lab, version, publisher, 1..=3, 1);
            publish(&mut lab, version, publisher, 4..=8, 0);
            publish(&mut lab, version, publisher, 9..=10, 1);
            assert_eq!(lab.stats(0).dropped_queue_full, 0);
            let publisher = if crashes {
                lab.crash(SOON);
                lab.connect(version, "publisher")
            } else {
                publisher
            };
            publish(&mut lab, version, publisher, 11..=13, 2);
            assert_eq!(lab.stats(0).dropped_queue_full, 3, "4, 5 and 6: {version} {head} {crashes}");
            publish(&mut lab, version, publisher, 14..=14, 0);
            assert_eq!(lab.stats(0).dropped_queue_full, 4, "14: {version} {head} {crashes}");
            publish(&mut lab, version, publisher, 15..=20, 1);
            // What a queue has after a restart is known once it was looked through: until then one more came.
            let dropped = 10 - u64::from(crashes);
            assert_eq!(
                lab.stats(0).dropped_queue_full,
                dropped,
                "7, 8, 17 to 20: {version} {head} {crashes}"
            );
            if crashes {
                lab.crash(SOON);
            }
            let late = all(15..=16 + u16::from(crashes), 1);
            let expected: Vec<_> =
                all(1..=3, 1).chain(all(9..=10, 1)).chain(all(11..=13, 2)).chain(late).collect();
            assert_eq!(woken(&mut lab, version), expected, "{version} {head} {crashes}");
            assert_eq!((lab.stats(0).queued_bytes, lab.stats(0).queued_messages), (0, 0));
        }
    }
}

#[test]
fn what_goes_is_the_oldest_and_the_rest_of_qos_0_is_delivered() {
    for head in HEADS {
        let (mut lab, publisher) = lab(V5, 10, head);
        publish(&mut lab, V5, publisher, 1..=10, 0);
        publish(&mut lab, V5, publisher, 11..=14, 1);
        let expected: Vec<_> = all(5..=10, 0).chain(all(11..=14, 1)).collect();
        assert_eq!(woken(&mut lab, V5), expected, "{head}");
    }
}

#[test]
fn a_long_queue_is_looked_through_a_page_at_a_time() {
    for head in HEADS {
        let (mut lab, publisher) = lab(V5, 2500, head);
        publish(&mut lab, V5, publisher, 1..=2000, 1);
        publish(&mut lab, V5, publisher, 2001..=2500, 0);
        lab.pause_loads();
        publish(&mut lab, V5, publisher, 2501..=3100, 1);
        lab.loads_arrive();
        assert_eq!(lab.stats(0).dropped_queue_full, 600, "{head}");
        let expected: Vec<_> = all(1..=2000, 1).chain(all(2501..=3000, 1)).collect();
        assert_eq!(woken(&mut lab, V5), expected, "{head}");
    }
}

#[test]
fn a_queue_never_takes_more_than_its_limit_at_qos_1_whatever_it_had_of_qos_0() {
    for head in HEADS {
        let (mut lab, publisher) = lab(V5, 10, head);
        publish(&mut lab, V5, publisher, 1..=10, 0);
        // The store is slow: twice the limit, for a while.
        lab.pause_loads();
        publish(&mut lab, V5, publisher, 11..=30, 1);
        lab.loads_arrive();
        assert_eq!(lab.stats(0).queued_messages, 10, "{head}");
        assert_eq!(woken(&mut lab, V5), all(11..=20, 1).collect::<Vec<_>>(), "{head}");
    }
}
