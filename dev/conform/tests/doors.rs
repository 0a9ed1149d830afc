//! What those may use up who are not logged in, and who publish too fast or finish nothing.
#![forbid(unsafe_code)]

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V5, V311, Version},
};
use cork_core::{AuthOutcome, Door, Ended, Event};

fn publishes(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| wire::publish(V311, 0, "fast", None, n.to_string().as_bytes())).collect()
}

fn causes(lab: &Lab) -> Vec<Ended> {
    let cause = |event: &Event| match event {
        Event::Disconnected { cause, .. } => Some(cause.clone()),
        _ => None,
    };
    lab.events.iter().filter_map(cause).collect()
}

#[test]
fn who_publishes_too_fast_is_slowed_and_loses_nothing() {
    let mut lab = Lab::with(|config| config.limits.messages_per_second = 100);
    let receiver = lab.connect(V311, "receiver");
    lab.send(receiver, &wire::subscribe(V311, 1, &[("#", 0)]));
    let sender = lab.connect_with(V311, &Connect { keep_alive: 1, ..Connect::new(V311, "sender") });
    lab.packets(receiver);
    lab.send(sender, &publishes(1000));
    let mut got = lab.payloads(receiver);
    assert!((100..=101).contains(&got.len()), "a second's worth at once, not {}", got.len());
    for second in 1..=9 {
        lab.advance(Duration::from_secs(1));
        got.extend(lab.payloads(receiver));
        let most = (100 * (second + 1) + 20).min(1000);
        assert!((most - 30..=most).contains(&got.len()), "{} after {second} s", got.len());
    }
    lab.advance(Duration::from_millis(300));
    got.extend(lab.payloads(receiver));
    let expected: Vec<Vec<u8>> = (0..1000).map(|n: usize| n.to_string().into_bytes()).collect();
    assert!(got == expected, "{} messages", got.len());
    assert!(!lab.is_closed(sender), "its Keep Alive of a second does not count while nobody listens");
    let told = |event: &&Event| matches!(event, Event::Slowed { client_id, .. } if &**client_id == "sender");
    assert_eq!(lab.events.iter().filter(told).count(), 1);
    assert!(lab.stats(0).slowed > 10);
    lab.advance(Duration::from_secs(2));
    assert!(lab.is_closed(sender), "now its silence is its own");
}

#[test]
fn bytes_have_a_rate_too() {
    let mut lab = Lab::with(|config| config.limits.publish_bytes_per_second = 10_000);
    let receiver = lab.connect(V5, "receiver");
    lab.send(receiver, &wire::subscribe(V5, 1, &[("#", 0)]));
    let sender = lab.connect(V5, "sender");
    lab.packets(receiver);
    let large = wire::publish(V5, 0, "t", None, &[7; 50_000]);
    lab.send(sender, &[large.clone(), large].concat());
    assert_eq!(lab.publishes(receiver).len(), 1, "however long, the first is taken");
    lab.advance(Duration::from_secs(3));
    assert_eq!(lab.publishes(receiver).len(), 0);
    lab.advance(Duration::from_secs(2));
    assert_eq!(lab.publishes(receiver).len(), 1, "when the first is paid for");
}

#[test]
fn other_packets_cost_nothing() {
    let mut lab = Lab::with(|config| config.limits.messages_per_second = 1);
    let client = lab.connect(V311, "pinger");
    lab.send(client, &wire::pingreq().repeat(500));
    assert_eq!(lab.packets(client).len(), 500);
}

/// Sends the beginning of a long PUBLISH and returns what is left of it.
fn begin(lab: &mut Lab, client: ClientIx) -> Vec<u8> {
    let mut packet = wire::publish(V5, 0, "long", None, &[1; 60_000]);
    let rest = packet.split_off(100);
    lab.send(client, &packet);
    rest
}

#[test]
fn a_packet_that_is_begun_and_dropped_is_ended_after_seconds() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "half");
    begin(&mut lab, client);
    lab.advance(Duration::from_secs(19));
    assert!(!lab.is_closed(client));
    lab.advance(Duration::from_secs(2));
    assert!(lab.is_closed(client));
    assert_eq!(causes(&lab), [Ended::PacketTimeout]);
    assert_eq!(lab.stats(0).closed_packet_timeout, 1);
}

#[test]
fn a_byte_now_and_then_is_no_progress() {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &Connect { keep_alive: 60, ..Connect::new(V5, "drip") });
    let rest = begin(&mut lab, client);
    for byte in rest.chunks(1).take(25) {
        lab.advance(Duration::from_secs(1));
        lab.send(client, byte);
    }
    assert_eq!(causes(&lab), [Ended::PacketTimeout]);
}

#[test]
fn a_slow_link_may_take_its_time_for_a_long_packet() {
    let mut lab = Lab::new();
    let receiver = lab.connect_with(V5, &Connect { keep_alive: 0, ..Connect::new(V5, "receiver") });
    lab.send(receiver, &wire::subscribe(V5, 1, &[("#", 0)]));
    // Longer than its Keep Alive, which a packet on its way fulfils.
    let client = lab.connect_with(V5, &Connect { keep_alive: 10, ..Connect::new(V5, "slow") });
    let rest = begin(&mut lab, client);
    for part in rest.chunks(200) {
        lab.advance(Duration::from_secs(1));
        lab.send(client, part);
    }
    assert_eq!(lab.publishes(receiver).len(), 1);
    assert!(!lab.is_closed(client));
}

#[test]
fn many_short_packets_cut_in_two_are_no_long_one() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "cut");
    let ping = wire::pingreq();
    lab.send(client, &ping[..1]);
    for _ in 0..100 {
        lab.advance(Duration::from_millis(900));
        lab.send(client, &[ping[1], ping[0]]);
    }
    assert!(!lab.is_closed(client));
    lab.advance(Duration::from_secs(20));
    assert!(lab.is_closed(client), "the last one was not finished");
}

/// A CONNECT of about 100 KB without its end.
fn long_connect(version: Version, client_id: &str) -> Vec<u8> {
    let connect = Connect::new(version, client_id).with_will("w", &[0; 60_000]);
    let mut bytes = Connect { user: Some("u".repeat(40_000)), ..connect }.bytes();
    bytes.pop();
    bytes
}

#[test]
fn strangers_share_one_budget_and_those_who_hold_most_go_first() {
    const BUDGET: usize = 4 << 20;
    let mut lab = Lab::with(|config| config.limits.login_bytes_total_max = BUDGET);
    let well_behaved = lab.connect(V5, "inside");
    let small = lab.open(V5);
    let connect = Connect::new(V5, "small").bytes();
    lab.send(small, &connect[..10]);
    let drippers: Vec<ClientIx> = (0..100).map(|_| lab.open(V5)).collect();
    for (n, client) in drippers.iter().enumerate() {
        lab.send(*client, &long_connect(V5, &format!("drip-{n}")));
    }
    let closed = drippers.iter().filter(|client| lab.is_closed(**client)).count();
    assert!((60..=70).contains(&closed), "{closed} of 100 were closed");
    assert_eq!(lab.stats(0).closed_login_memory, closed as u64);
    assert!(causes(&lab).iter().all(|cause| *cause == Ended::NoRoomForStrangers));
    lab.send(small, &connect[10..]);
    assert_eq!(lab.packets(small).len(), 1, "who needs little gets in");
    assert!(!lab.is_closed(well_behaved));
    // What they held is free again: as many more fit.
    drippers.iter().for_each(|client| lab.cut(*client));
    let later: Vec<ClientIx> = (0..35).map(|_| lab.open(V5)).collect();
    later.iter().for_each(|client| lab.send(*client, &long_connect(V5, "later")));
    assert!(later.iter().all(|client| !lab.is_closed(*client)));
}

#[test]
fn who_waits_for_the_access_port_counts_until_the_answer() {
    let mut lab = Lab::with(|config| {
        config.door = Door::Checked;
        config.limits.login_bytes_total_max = 1 << 20;
    });
    lab.on_authenticate(|_| AuthOutcome::Allowed { user: None, data: None });
    for n in 0..100 {
        let client = lab.open(V5);
        let mut bytes = long_connect(V5, &format!("client-{n}"));
        bytes.push(b'u');
        lab.send(client, &bytes);
        assert_eq!(lab.packets(client).len(), 1);
    }
    assert_eq!(lab.stats(0).closed_login_memory, 0);
}

#[test]
fn when_too_many_log_in_they_are_told_to_come_back() {
    for (version, code) in [(V5, 0x89), (V311, 3)] {
        let mut lab = Lab::with(|config| config.door = Door::Checked);
        lab.on_authenticate(|_| AuthOutcome::Busy);
        let client = lab.open(version);
        lab.send(client, &Connect::new(version, "c").bytes());
        let bytes = lab.bytes(client);
        assert_eq!((bytes[0], bytes[3]), (0x20, code));
        assert!(lab.is_closed(client));
        assert_eq!((lab.stats(0).refused_busy, lab.stats(0).refused_login), (1, 0));
    }
}
