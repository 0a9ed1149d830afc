//! The two lanes of a part of the broker: nothing is lost, nothing is there twice at QoS 2, each lane is in order, and
//! what is published now does not wait behind a backlog.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, V5},
};

const FIRST: &str = "$cork/bridge/cloud";
const SECOND: &str = "$cork/bridge/cloud/second";
const WINDOW: u8 = 20;

/// The same sequence on every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

fn user_property(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], wire::string(name), wire::string(value)].concat()
}

fn connect_inside(lab: &mut Lab, client_id: &str, more: &[u8]) -> ClientIx {
    let properties = [&[0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, WINDOW], more].concat();
    let client = lab.open_inside(V5);
    let connect = wire::Connect { clean: false, properties, ..wire::Connect::new(V5, client_id) };
    lab.send(client, &connect.bytes());
    lab.take_one(client);
    client
}

/// The orders there are.
const STRICT: &str = "strict";
const LIVE_FIRST: &str = "live-first";

/// The other end of a lane: what it got, in order, and what it must know for QoS 2.
#[derive(Default)]
struct Remote {
    got: Vec<(String, u64)>,
    begun: BTreeSet<u16>,
    conn: Option<ClientIx>,
}

impl Remote {
    /// Takes what is there, once; whether anything was.
    fn take(&mut self, lab: &mut Lab, arrived: &mut Vec<(String, u64)>) -> bool {
        let Some(conn) = self.conn else { return false };
        let packets = lab.packets(conn);
        let any = !packets.is_empty();
        for packet in packets {
            match packet {
                Received::Publish(message) => {
                    let number = String::from_utf8_lossy(&message.payload).parse().expect("a number");
                    let id = message.id.unwrap_or_default();
                    if message.qos != 2 || self.begun.insert(id) {
                        arrived.push((message.topic.clone(), number));
                        self.got.push((message.topic, number));
                    }
                    lab.send(conn, &wire::ack(if message.qos == 2 { 0x50 } else { 0x40 }, id));
                }
                Received::Ack(ack) if ack.first == 0x62 => {
                    self.begun.remove(&ack.id);
                    lab.send(conn, &wire::ack(0x70, ack.id));
                }
                _ => {}
            }
        }
        any
    }
}

/// What came first of each message, by topic.
fn firsts(got: &[(String, u64)]) -> BTreeMap<&str, Vec<u64>> {
    let (mut seen, mut firsts) = (BTreeSet::new(), BTreeMap::<&str, Vec<u64>>::new());
    for (topic, number) in got {
        if seen.insert(number) {
            firsts.entry(topic).or_default().push(*number);
        }
    }
    firsts
}

struct World {
    lab: Lab,
    lanes: [Remote; 2],
    order: &'static str,
    /// By whichever lane.
    arrived: Vec<(String, u64)>,
    topics: u64,
    publisher: Option<ClientIx>,
    published: u64,
    qos: u8,
}

impl World {
    fn new(order: &'static str, shards: u16, qos: u8, head_bytes: u64) -> Self {
        let lab = Lab::with(|config| {
            config.shards = shards;
            config.limits.queue_head_bytes_max = head_bytes;
        });
        let mut world = Self {
            lab,
            lanes: Default::default(),
            publisher: None,
            published: 0,
            qos,
            order,
            arrived: Vec::new(),
            topics: 7,
        };
        world.connect(0);
        world.connect(1);
        let first = world.lanes[0].conn.expect("it was connected");
        world.lab.send(first, &wire::subscribe(V5, 60000, &[("s/#", qos)]));
        world
    }

    fn connect(&mut self, lane: usize) {
        let (name, asks) =
            [(FIRST, Vec::new()), (SECOND, user_property("cork-lane", self.order))][lane].clone();
        if self.lanes[lane].conn.is_none() {
            self.lanes[lane].conn = Some(connect_inside(&mut self.lab, name, &asks));
        }
    }

    fn cut(&mut self, lane: usize) {
        if let Some(conn) = self.lanes[lane].conn.take() {
            self.lab.cut(conn);
        }
    }

    fn crash(&mut self) {
        self.lab.crash(Duration::from_secs(1));
        (self.lanes[0].conn, self.lanes[1].conn, self.publisher) = (None, None, None);
        // As at the start of a broker: both lanes are there before anybody can publish.
        for lane in [0, 1] {
            self.connect(lane);
            self.cut(lane);
        }
    }

    fn publish(&mut self, count: u64) {
        let publisher = match self.publisher {
            Some(publisher) => publisher,
            None => *self.publisher.insert(self.lab.connect(V5, "publisher")),
        };
        for number in self.published..self.published + count {
            let (id, topic) =
                (u16::try_from(number % 60_000 + 1).expect("16 bits"), format!("s/{}", number % self.topics));
            let qos = if self.qos == 2 { 1 + u8::from(number % 3 > 0) } else { 1 };
            let payload = number.to_string();
            self.lab.send(publisher, &wire::publish(V5, qos << 1, &topic, Some(id), payload.as_bytes()));
            if qos == 2 {
                self.lab.send(publisher, &wire::ack(0x62, id));
            }
        }
        self.lab.acks(publisher);
        self.published += count;
    }

    fn drain(&mut self) {
        self.connect(0);
        self.connect(1);
        while self.take(0) | self.take(1) {}
    }

    /// Takes what is there for a lane, once.
    fn take(&mut self, lane: usize) -> bool {
        self.lab.advance(Duration::from_millis(1));
        self.lanes[lane].take(&mut self.lab, &mut self.arrived)
    }

    /// Nothing is missing, no lane is out of order, and what went at QoS 2 is there once.
    fn judge(&self, what: &str) {
        let mut times = BTreeMap::<u64, u32>::new();
        for (_, number) in self.lanes.iter().flat_map(|lane| &lane.got) {
            *times.entry(*number).or_default() += 1;
        }
        for number in 0..self.published {
            let times = times.get(&number).copied().unwrap_or(0);
            assert!(times > 0, "{what}: {number} is lost");
            assert!(times == 1 || self.qos == 1 || number % 3 == 0, "{what}: {number} came {times} times");
        }
        for (at, lane) in self.lanes.iter().enumerate() {
            for (topic, numbers) in firsts(&lane.got) {
                assert!(numbers.is_sorted(), "{what}: lane {at}, {topic}: {numbers:?}");
            }
            let other: BTreeSet<u64> = self.lanes[1 - at].got.iter().map(|(_, number)| *number).collect();
            assert!(
                lane.got.iter().all(|(_, number)| !other.contains(number)),
                "{what}: a message in both lanes"
            );
        }
        for (topic, numbers) in firsts(&self.arrived) {
            assert!(self.order != STRICT || numbers.is_sorted(), "{what}: {topic}: {numbers:?}");
        }
    }
}

#[test]
fn what_is_published_now_does_not_wait_behind_a_backlog() {
    for shards in [1, 3] {
        let mut world = World::new(LIVE_FIRST, shards, 2, 4096);
        world.cut(0);
        world.cut(1);
        world.publish(2000);
        world.connect(0);
        world.connect(1);
        world.publish(15);
        world.take(1);
        while world.take(1) {}
        let live: Vec<u64> = world.lanes[1].got.iter().map(|(_, number)| *number).collect();
        assert_eq!(live, (2000..2015).collect::<Vec<_>>(), "{shards} shards");
        world.drain();
        world.judge("one outage");
        // The second lane is in use now; when it has a backlog, the first one takes over.
        world.cut(1);
        world.publish(500);
        let before = world.lanes[0].got.len();
        while world.take(0) {}
        assert!(world.lanes[0].got.len() >= before + 400, "{} messages", world.lanes[0].got.len() - before);
        world.drain();
        world.judge("two outages");
    }
}

#[test]
fn a_lane_that_is_not_wanted_any_more_keeps_what_it_has() {
    let mut world = World::new(LIVE_FIRST, 3, 2, 4096);
    world.cut(0);
    world.publish(300);
    world.cut(1);
    world.publish(200);
    world.lanes[1].conn = Some(connect_inside(&mut world.lab, SECOND, &[]));
    world.publish(100);
    let kept = u64::try_from(world.lanes[1].got.len()).expect("a small number");
    world.drain();
    world.judge("one lane");
    assert!(world.lanes[0].got.iter().any(|(_, number)| *number >= 500), "{kept}");
    assert!(world.lanes[1].got.iter().all(|(_, number)| *number < 500));
    // Nor is a Session of that name that is nobody's second lane.
    world.lab.send_off(SECOND, true);
    world.lanes[1].conn = None;
    world.publish(100);
    world.drain();
    world.judge("no lane");
}

#[test]
fn a_topic_without_backlog_passes_at_once_and_each_stays_in_order() {
    for shards in [1, 3] {
        let mut world = World::new(STRICT, shards, 2, 4096);
        world.publish(7); // the second lane is there
        world.cut(0);
        world.cut(1);
        world.publish(2000);
        world.connect(0);
        // Some of these have a backlog.
        world.topics = 11;
        world.publish(44);
        while world.take(0) {}
        let live = firsts(&world.lanes[0].got);
        for (topic, numbers) in &live {
            assert!(numbers.len() == 4 || numbers.len() < 60, "{shards} shards: {topic}: {numbers:?}");
        }
        for topic in ["s/7", "s/8", "s/9", "s/10"] {
            assert_eq!(live.get(topic).map(Vec::len), Some(4), "{shards} shards: {topic}");
        }
        world.drain();
        world.judge("strict");
        assert!(world.lanes[1].got.len() > 1500);
        // Everything has passed: the first lane takes all again.
        let before = world.lanes[1].got.len();
        world.publish(50);
        world.drain();
        assert_eq!(world.lanes[1].got.len(), before);
        world.judge("strict, afterwards");
    }
}

#[test]
fn a_topic_with_few_messages_does_not_wait_behind_one_with_many() {
    let mut world = World::new(STRICT, 1, 2, 4096);
    world.publish(7);
    world.cut(0);
    world.cut(1);
    world.topics = 1;
    for _ in 0..10 {
        world.publish(300);
        world.topics = 2;
        world.publish(world.published % 2 + 1); // one of `s/1`, or one of each
        world.topics = 1;
    }
    world.connect(0);
    world.connect(1);
    world.arrived.clear();
    for _ in 0..40 {
        world.take(0);
        world.take(1);
    }
    let ahead = world.arrived.iter().rposition(|(topic, _)| topic == "s/1").expect("some of it");
    assert!(ahead < 250, "{ahead} messages went before the last one of a topic with ten");
    world.drain();
    world.judge("a flood");
}

#[test]
fn a_new_topic_passes_a_first_lane_that_is_long_for_once() {
    let mut world = World::new(STRICT, 1, 1, 4096);
    // Nobody knows yet whether the second lane will ever be let in.
    world.cut(0);
    world.cut(1);
    world.publish(17_000);
    world.connect(0);
    world.connect(1);
    world.topics = 10;
    world.publish(30);
    while world.take(1) {}
    assert_eq!(firsts(&world.lanes[1].got).keys().copied().collect::<Vec<_>>(), ["s/7", "s/8", "s/9"]);
    world.drain();
    world.judge("from the beginning");
}

#[test]
fn after_a_restart_with_two_backlogs_each_topic_stays_in_order() {
    let mut world = World::new(STRICT, 2, 2, 4096);
    world.publish(7);
    world.cut(0);
    world.cut(1);
    world.publish(700);
    world.topics = 14;
    world.publish(600);
    world.crash();
    world.publish(300);
    world.connect(1);
    assert!(!world.take(1), "the second lane waits for the first");
    world.drain();
    world.judge("restart");
    assert!(world.lanes[1].got.len() > 200);
}

#[test]
fn a_strict_second_lane_that_is_not_wanted_any_more_gets_what_belongs_behind_what_it_has() {
    let mut world = World::new(STRICT, 1, 2, 4096);
    world.publish(7);
    world.cut(0);
    world.cut(1);
    world.publish(1000);
    world.lanes[1].conn = Some(connect_inside(&mut world.lab, SECOND, &[]));
    world.topics = 9;
    world.publish(90);
    world.drain();
    world.judge("one lane is to end");
    let before = world.lanes[1].got.len();
    assert!(world.lanes[1].got.iter().all(|(topic, _)| topic != "s/7" && topic != "s/8"));
    world.cut(0);
    world.publish(500);
    world.drain();
    assert_eq!(world.lanes[1].got.len(), before);
    world.judge("one lane");
}

fn storm(order: &'static str, seed: u64) -> usize {
    let mut random = Random(seed);
    let shards = 1 + u16::try_from(random.below(3)).expect("a small number");
    let qos = 1 + u8::from(random.below(3) > 0);
    let mut world = World::new(order, shards, qos, [512, 65_536][usize::from(random.below(2) == 0)]);
    for _ in 0..120 {
        let lane = usize::from(random.below(2) == 0);
        match random.below(14) {
            0..4 => {
                let count = 1 + random.below(120);
                world.publish(count);
            }
            4..7 => drop(world.take(lane)),
            7..9 => world.connect(lane),
            9 | 10 => world.cut(lane),
            11 | 12 => world.topics = 1 + random.below(500),
            _ => world.crash(),
        }
    }
    world.drain();
    world.judge(&format!("{order}, seed {seed}"));
    world.lanes[1].got.len()
}

#[test]
fn through_cuts_and_crashes_nothing_is_lost_doubled_or_out_of_order() {
    for order in [STRICT, LIVE_FIRST] {
        let used = (0..30).filter(|seed| storm(order, *seed) > 0).count();
        assert!(used > 5, "{order}: the second lane was used in {used} of 30 runs");
    }
}

#[test]
fn a_part_of_the_broker_may_have_a_queue_of_its_own_length() {
    let mut world = World::new(LIVE_FIRST, 1, 1, 4096);
    world.cut(1);
    world.cut(0);
    world.lanes[0].conn =
        Some(connect_inside(&mut world.lab, FIRST, &user_property("cork-queue-bytes", "10000")));
    world.cut(0);
    world.publish(1000);
    world.drain();
    let few = world.lanes[0].got.len();
    assert!((10..500).contains(&few), "{few} of 1000 fit into 10,000 bytes");
    // Nobody outside gets what it asks for.
    let connect = wire::Connect {
        properties: [vec![0x11, 0, 0, 0xFF, 0xFF], user_property("cork-queue-bytes", "1")].concat(),
        clean: false,
        ..wire::Connect::new(V5, "outside")
    };
    let outside = world.lab.connect_with(V5, &connect);
    world.lab.send(outside, &wire::subscribe(V5, 1, &[("s/#", 1)]));
    world.lab.cut(outside);
    world.publish(10);
    let outside = world.lab.connect_with(V5, &connect);
    assert_eq!(world.lab.publishes(outside).len(), 10);
}
