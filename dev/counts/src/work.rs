//! What is counted.

use std::hint::black_box;

use cork_core::ConnId;
use cork_packet::{ProtocolVersion, PublishFrame, QoS, Receiver, decode};
use cork_topic::SubscriptionIndex;

use crate::shard::{Bench, packet, string, subscribe};

/// One piece of work.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// How often it is done at first; then three times as often.
    pub(crate) times: usize,
    /// Units in each time: packets, or deliveries.
    pub(crate) units: u64,
    pub(crate) run: fn(usize),
}

/// Publications handed over in one read, as a busy socket does.
const BURST: usize = 64;
/// Clients that come together, and go together.
const CROWD: u32 = 64;
const TOPIC: &str = "plant/7/temperature";
const PAYLOAD: [u8; 32] = [b'x'; 32];

pub(crate) const WORKS: &[Work] = &[
    // One PUBLISH of 3.1.1, QoS 0, 32 bytes.
    Work { name: "decode", times: 20_000, units: 1, run: decode_publish },
    // The same written for one more receiver.
    Work { name: "encode", times: 20_000, units: 1, run: encode_publish },
    // One topic among a thousand filters with wildcards, two of which match.
    Work { name: "match", times: 5_000, units: 1, run: match_topic },
    // One PUBLISH of QoS 0 in a burst of 64 through the shard, per delivery.
    Work { name: "publish-1", times: 200, units: BURST as u64, run: |times| fan_out(1, times) },
    Work { name: "publish-10", times: 50, units: 10 * BURST as u64, run: |times| fan_out(10, times) },
    Work { name: "publish-1000", times: 3, units: 1000 * BURST as u64, run: |times| fan_out(1000, times) },
    // One PUBLISH of QoS 0 that nobody subscribed, of 2,048 topics, while a page watches all of them, and while none does;
    // and while a page watches topics that come in no order.
    Work { name: "watched", times: 200, units: BURST as u64, run: |times| watched(Some(Order::Kept), times) },
    Work {
        name: "scattered",
        times: 200,
        units: BURST as u64,
        run: |times| watched(Some(Order::None), times),
    },
    Work { name: "unwatched", times: 200, units: BURST as u64, run: |times| watched(None, times) },
    // One PUBLISH of QoS 1 in a burst of 64 to one Session that is kept, through the shard and the log, with both
    // acknowledgements.
    Work { name: "durable", times: 100, units: BURST as u64, run: durable },
    // A client that comes and goes: a clean one, and one that finds its Session, through the shard and the log.
    Work { name: "connect", times: 100, units: CROWD as u64, run: |times| come_and_go(true, times) },
    Work { name: "resume", times: 100, units: CROWD as u64, run: |times| come_and_go(false, times) },
];

fn publish(first: u8, identifier: &[u8]) -> Vec<u8> {
    packet(first, &[&string(TOPIC)[..], identifier, &PAYLOAD].concat())
}

fn decode_publish(times: usize) {
    let bytes = publish(0x30, &[]);
    for _ in 0..times {
        black_box(decode(ProtocolVersion::V311, Receiver::Server, black_box(&bytes)).expect("sound"));
    }
}

fn encode_publish(times: usize) {
    let mut out = Vec::with_capacity(256);
    for _ in 0..times {
        let frame = PublishFrame {
            version: ProtocolVersion::V311,
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: black_box(TOPIC),
            topic_alias: None,
            packet_id: None,
            message_expiry: None,
            subscription_ids: &[],
            properties: &[],
            payload_len: PAYLOAD.len(),
        };
        out.clear();
        frame.encode_head(&mut out);
        out.extend_from_slice(black_box(&PAYLOAD));
        black_box(&out);
    }
}

fn match_topic(times: usize) {
    const SITES: usize = 100;
    let mut index: SubscriptionIndex<u32> = SubscriptionIndex::new(1);
    for number in 0..1000_usize {
        let (device, site) = (number / 2, number / 2 % SITES);
        let filter = match number % 2 {
            0 => format!("site/+/dev/{device}/#"),
            _ => format!("site/{site}/+/{device}/temp"),
        };
        index.insert(&filter, u32::try_from(number).expect("few"), 0);
    }
    let topics: Vec<String> =
        (0..500).map(|device| format!("site/{}/dev/{device}/temp", device % SITES)).collect();
    let mut found = Vec::new();
    for topic in topics.iter().cycle().take(times) {
        found.clear();
        index.matches(black_box(topic), &mut found);
        assert_eq!(black_box(&found).len(), 2);
    }
}

fn fan_out(receivers: u32, times: usize) {
    let mut bench = Bench::new();
    for index in 0..receivers {
        let conn = bench.connect(index, true);
        bench.feed(conn, &subscribe(TOPIC, 0));
    }
    let publisher = bench.connect(receivers, true);
    let burst = publish(0x30, &[]).repeat(BURST);
    let before = bench.sent;
    for _ in 0..times {
        bench.feed(publisher, &burst);
    }
    assert_eq!(bench.sent - before, times * receivers as usize * burst.len());
}

/// In which order topics come.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Order {
    /// The same again and again.
    Kept,
    None,
}

fn watched(watched: Option<Order>, times: usize) {
    const TOPICS: usize = 32 * BURST;
    let watches = watched.is_some();
    let mut bench = Bench::new();
    let publisher = bench.connect(0, true);
    if watches {
        bench.watch();
    }
    let mut random = 7_usize;
    let mut topics: Vec<usize> = (0..TOPICS).collect();
    if watched == Some(Order::None) {
        topics.extend((0..9 * TOPICS).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % TOPICS
        }));
    }
    let topics: Vec<String> =
        topics.into_iter().map(|number| format!("plant/{number:04}/temperature")).collect();
    let bursts: Vec<Vec<u8>> = topics
        .chunks(BURST)
        .map(|topics| {
            topics.iter().flat_map(|topic| packet(0x30, &[&string(topic)[..], b"21.5"].concat())).collect()
        })
        .collect();
    let mut seen = 0;
    for number in 0..times {
        bench.feed(publisher, &bursts[number % bursts.len()]);
        // As often as with 50,000 messages a second and two and a half looks.
        if watches && (number % 300 == 299 || number + 1 == times) {
            seen += bench.sample(1000);
        }
    }
    assert_eq!(seen, if watches { (times * BURST) as u64 } else { 0 });
}

fn durable(times: usize) {
    let mut bench = Bench::durable();
    let keeper: ConnId = bench.connect(0, false);
    bench.feed(keeper, &subscribe(TOPIC, 1));
    let publisher = bench.connect(1, true);
    // The Session's identifiers follow from its delivery numbers: the first is 1.
    let mut identifiers = (1..=u16::MAX).cycle();
    for _ in 0..times {
        let taken: Vec<[u8; 2]> = identifiers.by_ref().take(BURST).map(u16::to_be_bytes).collect();
        let burst: Vec<u8> = taken.iter().flat_map(|id| publish(0x32, id)).collect();
        let before = bench.sent;
        bench.feed(publisher, &burst);
        assert_eq!(bench.sent - before, burst.len() + 4 * BURST, "delivered, and acknowledged");
        let acks: Vec<u8> = taken.iter().flat_map(|id| packet(0x40, id)).collect();
        bench.feed(keeper, &acks);
    }
}

fn come_and_go(clean: bool, times: usize) {
    let mut bench = Bench::durable();
    for _ in 0..=times {
        let before = bench.sent;
        let crowd: Vec<ConnId> = (0..CROWD).map(|index| bench.connect(index, clean)).collect();
        assert_eq!(bench.sent - before, 4 * crowd.len(), "each has its CONNACK");
        for conn in crowd {
            bench.feed(conn, &[0xE0, 0]);
            bench.close(conn);
        }
    }
}
