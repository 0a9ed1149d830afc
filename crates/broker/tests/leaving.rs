//! Clients that say what they have to say and go, without reading what is still on its way to them.
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use cork_broker::TestBroker;
use cork_client::{Options, Publish, blocking::Client as Publisher};
use cork_conform::wire::{self, V311};
use support::Client;

mod support;

const LEAVERS: usize = 200;

/// A socket that is closed with something unread in it breaks what the broker writes next. The broker may find that out
/// before it has read the DISCONNECT.
#[test]
fn mqtt_3_14_4_3_a_disconnect_counts_although_the_broker_could_not_write_any_more() {
    let broker = TestBroker::start();
    let mut watcher = Client::tcp(broker.address(), V311).named("watcher");
    watcher.send(&wire::subscribe(V311, 1, &[("gone", 0)]));
    assert_eq!(watcher.packet().unwrap()[0], 0x90);

    let over = Arc::new(AtomicBool::new(false));
    let flood = thread::spawn({
        let (over, url) = (Arc::clone(&over), broker.url());
        move || {
            let publisher = Publisher::connect(Options::new(&url).unwrap()).unwrap();
            while !over.load(Ordering::Relaxed) {
                publisher.publish(Publish::new("flood", vec![b'x'; 200])).unwrap();
            }
        }
    });
    for number in 0..LEAVERS {
        let mut leaver = Client::tcp(broker.address(), V311);
        let name = format!("leaver-{number}");
        let will = wire::Connect::new(V311, &name).with_will("gone", name.as_bytes());
        assert_eq!(leaver.connect(&will), Some(0));
        leaver.send(&wire::subscribe(V311, 1, &[("flood", 0)]));
        while leaver.packet().unwrap()[0] != 0x30 {}
        leaver.send(&wire::disconnect());
    }
    over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    thread::sleep(Duration::from_millis(300));
    let wills = watcher.until_answered();
    assert_eq!(wills.len(), 0, "Wills of {LEAVERS} clients that took leave");
}
