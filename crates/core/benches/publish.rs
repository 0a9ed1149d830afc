//! One PUBLISH through the shard, from its bytes to the receivers' output. `cargo bench -p cork-core`.

#[path = "shards/packets.rs"]
mod packets;

use std::io::IoSlice;

use cork_core::{ConnId, Input, Shard, ShardConfig};
use cork_proto::Time;
use divan::{Bencher, counter::ItemsCount};
use packets::{packet, string};

fn main() {
    divan::main();
}

/// Publications handed over in one read, as a busy socket does.
const BURST: usize = 64;

struct Bench {
    shard: Shard,
    sent: usize,
}

impl Bench {
    fn new() -> Self {
        let mut config = ShardConfig::default();
        config.limits.sys_interval = std::time::Duration::ZERO;
        Self { shard: Shard::new(config), sent: 0 }
    }

    fn connect(&mut self, index: u32) -> ConnId {
        let conn = ConnId { index, generation: 0 };
        self.shard.handle(Time::ZERO, Input::Opened { conn, peer: "bench".into() });
        // Six bits a character, so that no two clients are one.
        let id = [18, 12, 6, 0].map(|shift| u8::try_from(index >> shift & 63).expect("six bits"));
        let mut connect = vec![0x10, 16, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 4];
        connect.extend(id.map(|bits| bits + 64));
        connect[1] = u8::try_from(connect.len() - 2).expect("short");
        self.feed(conn, &connect);
        conn
    }

    fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        self.shard.handle(Time::ZERO, Input::Bytes { conn, bytes });
        while self.shard.poll_output().is_some() {}
        while let Some(conn) = self.shard.poll_transmit() {
            let sent = &mut self.sent;
            let take = |slices: &[IoSlice<'_>]| -> Result<usize, ()> {
                let length = slices.iter().map(|slice| slice.len()).sum();
                *sent += length;
                Ok(length)
            };
            self.shard.transmit(Time::ZERO, conn, take).expect("this socket takes everything");
        }
    }
}

fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &string(filter), &[qos]].concat())
}

fn publish(topic: &str) -> Vec<u8> {
    packet(0x30, &[&string(topic)[..], &[b'x'; 32]].concat())
}

/// One topic, this many subscribers: what one delivery costs.
#[divan::bench(args = [1, 10, 1000])]
fn fan_out(bencher: Bencher<'_, '_>, receivers: u32) {
    let mut bench = Bench::new();
    for index in 0..receivers {
        let conn = bench.connect(index);
        bench.feed(conn, &subscribe("plant/7/temperature", 0));
    }
    let publisher = bench.connect(receivers);
    let burst = publish("plant/7/temperature").repeat(BURST);
    let deliveries = BURST * receivers as usize;
    bencher.counter(ItemsCount::new(deliveries)).bench_local(|| bench.feed(publisher, &burst));
    assert!(bench.sent > deliveries);
}

/// This many subscribers of one topic share so many different filters, of which a message passes none: what it costs,
/// by filters and not by subscribers.
#[divan::bench(args = [(1_000, 1), (100_000, 1), (1_000, 1_000), (100_000, 1_000)], max_time = 3)]
fn filtered(bencher: Bencher<'_, '_>, (subscribers, filters): (u32, u32)) {
    let mut bench = Bench::new();
    for index in 0..subscribers {
        let client = bench.connect(index);
        let text = format!("$where/payload.temperature > {}/plant/7/temperature", 1000 + index % filters);
        bench.feed(client, &subscribe(&text, 0));
    }
    let publisher = bench.connect(subscribers);
    let payload = br#"{"sensor":"esp-7f3a","temperature":26.5,"humidity":41,"n":7}"#;
    let one = packet(0x30, &[&string("plant/7/temperature")[..], payload].concat());
    let before = bench.sent;
    bencher.bench_local(|| bench.feed(publisher, &one));
    assert_eq!(bench.sent, before, "nobody gets it");
}

/// The same topic with subscribers of which none has a filter, while a filter waits on another topic: what it costs
/// those who have none.
#[divan::bench(args = [1, 10, 1000])]
fn fan_out_beside_a_filter(bencher: Bencher<'_, '_>, receivers: u32) {
    let mut bench = Bench::new();
    for index in 0..receivers {
        let conn = bench.connect(index);
        bench.feed(conn, &subscribe("plant/7/temperature", 0));
        bench.feed(conn, &subscribe("$where/number > 5/other/#", 0));
    }
    let publisher = bench.connect(receivers);
    let burst = publish("plant/7/temperature").repeat(BURST);
    let deliveries = BURST * receivers as usize;
    bencher.counter(ItemsCount::new(deliveries)).bench_local(|| bench.feed(publisher, &burst));
    assert!(bench.sent > deliveries);
}

/// Random topics among this many wildcard filters in three families, each matched by one to three of them: the time
/// for a million should stay within one and a half of the time for a thousand.
#[divan::bench(args = [1_000, 100_000, 1_000_000], max_time = 3)]
fn among_wildcards(bencher: Bencher<'_, '_>, filters: u32) {
    const SITES: u32 = 1000;
    let mut bench = Bench::new();
    let subscribers: Vec<ConnId> = (0..50).map(|index| bench.connect(index)).collect();
    for number in 0..filters {
        let (device, site) = (number / 3, number / 3 % SITES);
        let filter = match number % 3 {
            0 => format!("site/+/dev/{device}/#"),
            1 => format!("site/{site}/+/{device}/temp"),
            _ => format!("site/{site}/dev/{device}/#"),
        };
        bench.feed(subscribers[number as usize % subscribers.len()], &subscribe(&filter, 0));
    }
    let publisher = bench.connect(50);
    // A fixed sequence of devices (Weyl), so that every run sees the same topics.
    let mut state = 0u32;
    let bursts: Vec<Vec<u8>> = (0..4096)
        .map(|_| {
            let topics = (0..BURST).map(|_| {
                state = state.wrapping_add(0x9E37_79B9);
                let device = state % (filters / 3);
                publish(&format!("site/{}/dev/{device}/temp", device % SITES))
            });
            topics.collect::<Vec<_>>().concat()
        })
        .collect();
    // A first round fills whatever caches there are.
    for burst in &bursts {
        bench.feed(publisher, burst);
    }
    let mut next = bursts.iter().cycle();
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        if let Some(burst) = next.next() {
            bench.feed(publisher, burst);
        }
    });
}
