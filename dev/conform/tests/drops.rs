//! `$SYS` says which Session lost messages, and why; and what the driver measured.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, time::Duration};

use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V5, V311},
};

fn lab(shards: u16) -> Lab {
    Lab::with(|config| {
        config.shards = shards;
        config.limits.sys_interval = Duration::from_secs(1);
        config.limits.queue_bytes_max = 1000;
    })
}

/// What `$SYS` says of dropped messages, by topic below `sessions`.
fn said(lab: &mut Lab, watcher: ClientIx) -> BTreeMap<String, String> {
    lab.advance(Duration::from_secs(2));
    let published = lab.publishes(watcher).into_iter().filter_map(|message| {
        let topic = message.topic.strip_prefix("$SYS/broker/sessions/")?.to_owned();
        Some((topic, String::from_utf8(message.payload).expect("text")))
    });
    published.collect()
}

#[test]
fn each_session_that_loses_messages_says_why_until_it_ends() {
    for shards in [1, 3] {
        let mut lab = lab(shards);
        let watcher = lab.connect(V5, "watcher");
        lab.send(watcher, &wire::subscribe(V5, 1, &[("$SYS/broker/sessions/#", 0)]));
        for client_id in ["asleep/#", "other"] {
            let connect = Connect { clean: false, ..Connect::new(V311, client_id) };
            let sleeper = lab.connect_with(V311, &connect);
            lab.send(sleeper, &wire::subscribe(V311, 1, &[(client_id.split('/').next().unwrap(), 1)]));
            lab.cut(sleeper);
        }
        let publisher = lab.connect(V311, "publisher");
        for id in 1..=20 {
            lab.send(publisher, &wire::publish(V311, 2, "asleep", Some(id), &[7; 100]));
        }
        let said_now = said(&mut lab, watcher);
        let names: Vec<&str> = said_now.keys().map(|name| &**name).collect();
        assert_eq!(names, ["asleep%2F%23/dropped/queue_full"], "{shards} shards");
        let count: u64 = said_now.values().next().unwrap().parse().unwrap();
        assert!((10..20).contains(&count), "{count}");
        assert!(said(&mut lab, watcher).is_empty(), "only what changed is said again");
        // A Clean Session ends the one before.
        let again = lab.connect(V311, "asleep/#");
        lab.cut(again);
        assert_eq!(said(&mut lab, watcher), BTreeMap::from([(names[0].to_owned(), String::new())]));
        let late = lab.connect(V5, "late");
        lab.send(late, &wire::subscribe(V5, 1, &[("$SYS/broker/sessions/#", 0)]));
        assert!(lab.publishes(late).is_empty(), "nothing stays retained");
    }
}

#[test]
fn qos_0_that_a_slow_reader_does_not_take_is_counted_as_its_own() {
    let mut lab = Lab::with(|config| {
        config.limits.sys_interval = Duration::from_secs(1);
        config.limits.output_bytes_max = 64 << 10;
    });
    let watcher = lab.connect(V5, "watcher");
    lab.send(watcher, &wire::subscribe(V5, 1, &[("$SYS/broker/sessions/#", 0)]));
    let slow = lab.connect(V5, "slow");
    lab.send(slow, &wire::subscribe(V5, 1, &[("t", 0)]));
    lab.set_window(slow, 0);
    let publisher = lab.connect(V5, "publisher");
    for _ in 0..100 {
        lab.send(publisher, &wire::publish(V5, 0, "t", None, &[1; 1000]));
    }
    let dropped = said(&mut lab, watcher)["slow/dropped/slow_reader"].parse::<u64>().unwrap();
    assert!((20..60).contains(&dropped), "{dropped}");
    assert_eq!(lab.stats(0).dropped_slow_reader, dropped);
}

#[test]
fn what_was_measured_is_in_sys() {
    let mut lab = lab(1);
    let watcher = lab.connect(V5, "watcher");
    let topics = ["$SYS/broker/disk/+/bytes", "$SYS/broker/memory/#"];
    lab.send(watcher, &wire::subscribe(V5, 1, &topics.map(|topic| (topic, 0))));
    lab.advance(Duration::from_secs(2));
    assert!(lab.publishes(watcher).is_empty(), "nothing is known yet");
    let pressure = cork_core::Pressure::Tight;
    lab.measured(cork_core::Health { disk_free_bytes: Some(7), store_bytes: 8, memory_bytes: 9, pressure });
    lab.advance(Duration::from_secs(2));
    let got = lab.publishes(watcher).into_iter();
    let got: Vec<(String, Vec<u8>)> = got.map(|message| (message.topic, message.payload)).collect();
    let expected = [("disk/free", b"7"), ("disk/store", b"8"), ("memory/resident", b"9")];
    let mut expected =
        expected.map(|(name, value)| (format!("$SYS/broker/{name}/bytes"), value.to_vec())).to_vec();
    expected.push(("$SYS/broker/memory/pressure".to_owned(), b"tight".to_vec()));
    assert_eq!(got, expected);
}
