//! Brokers that end the connection at some messages, at all of them, or for no reason: what passes, and what is dropped.

use std::collections::BTreeSet;

use cork_packet::Publish;

use super::*;

/// What waits in the session in this broker, and how far it is.
#[derive(Clone, Debug)]
struct Waiting {
    id: u16,
    qos: u8,
    topic: String,
    payload: Vec<u8>,
    sent: bool,
    released: bool,
}

/// What the other broker does with a packet of a client.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Does {
    Answer,
    /// As if it had not come.
    Nothing,
    Close,
    /// With everything it has not said yet.
    CloseMute,
}

/// A link between two sessions, one connection after the other.
struct Game {
    version: ProtocolVersion,
    plan: Plan,
    receive_maximum: u16,
    suspects: Suspects,
    queue: Vec<Waiting>,
    next_id: u16,
    /// Identifiers the other broker knows of QoS 2.
    taken: BTreeSet<u16>,
    /// Payloads, as they came there.
    arrived: Vec<String>,
    /// Messages of the link's own.
    probes: u32,
    connections: u32,
    counters: Counters,
    found: Vec<Found>,
}

impl Game {
    fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            plan: Plan { into: Map::default(), inflight: 10, packet_bytes_max: 100_000, ..plan() },
            receive_maximum: 10,
            suspects: Suspects::default(),
            queue: Vec::new(),
            next_id: 1,
            taken: BTreeSet::new(),
            arrived: Vec::new(),
            probes: 0,
            connections: 0,
            counters: Counters::default(),
            found: Vec::new(),
        }
    }

    fn publish(&mut self, topic: &str, payload: &str, qos: u8) {
        let (id, payload) = (self.next_id, payload.as_bytes().to_vec());
        self.next_id = self.next_id % u16::MAX + 1;
        self.queue.push(Waiting { id, qos, topic: topic.to_owned(), payload, sent: false, released: false });
    }

    /// One connection, until it ends or there is nothing to do. Returns whether the other broker ended it.
    fn connect(&mut self, does: &mut dyn FnMut(&Packet<'_>) -> Does) -> bool {
        self.connections += 1;
        let opening = Opening { suspects: std::mem::take(&mut self.suspects), ..opening(self.version) };
        let mut pair = Pair::new(self.plan.clone(), opening);
        let wire_version = if self.version.is_v5() { V5 } else { V311 };
        pair.remote();
        let [high, low] = self.receive_maximum.to_be_bytes();
        pair.remote_says(&connack(wire_version, true, &[0x21, high, low]));
        pair.relay.local_opened(pair.now);
        let connect = pair.local().remove(0);
        let window = cork_packet::decode_connect(&connect).unwrap().properties.receive_maximum().unwrap();
        pair.local_says(&connack(V5, true, &[]));
        self.resend(&mut pair);
        let by_remote = self.talk(&mut pair, usize::from(window), does);
        self.counters = self.counters.plus(&pair.relay.counters());
        let (found, suspects) = pair.relay.conclude(by_remote);
        self.suspects = suspects;
        if found != Found::Nothing {
            self.found.push(found);
        }
        by_remote
    }

    /// Flights of the connection before.
    fn resend(&mut self, pair: &mut Pair) {
        for waiting in &mut self.queue {
            waiting.sent = false;
            if waiting.released {
                pair.local_says(&wire::ack(0x62, waiting.id));
            }
        }
    }

    fn talk(&mut self, pair: &mut Pair, window: usize, does: &mut dyn FnMut(&Packet<'_>) -> Does) -> bool {
        let mut under_way = BTreeSet::new();
        loop {
            self.send_local(pair, window);
            let (packets, mut answers) = (pair.remote(), Vec::new());
            let idle = packets.is_empty();
            if !idle {
                pair.relay.wrote_remote(pair.now, false);
            }
            for bytes in packets {
                let packet = decode(self.version, Receiver::Server, &bytes).unwrap();
                if let Packet::Publish(publish) = &packet {
                    under_way.extend(publish.packet_id.map(cork_packet::PacketId::get));
                    assert!(under_way.len() <= usize::from(self.receive_maximum), "more than it takes");
                }
                match does(&packet) {
                    Does::Nothing => {}
                    Does::Answer => answers.extend(self.answer(&packet, &mut under_way)),
                    Does::Close => {
                        pair.remote_says(&answers);
                        self.hear_local(pair);
                        return true;
                    }
                    Does::CloseMute => return true,
                }
            }
            pair.remote_says(&answers);
            let heard = self.hear_local(pair);
            if pair.relay.ended().is_some() {
                return false;
            }
            if idle && !heard {
                // A minute of silence is enough, or two with pings.
                let due = pair.relay.next_timeout();
                if due > START + Duration::from_secs(120) {
                    return false;
                }
                pair.now = pair.now.max(due);
                pair.relay.handle_timeout(pair.now);
            }
        }
    }

    fn send_local(&mut self, pair: &mut Pair, window: usize) {
        let mut open = self.queue.iter().filter(|waiting| waiting.sent).count();
        for waiting in &mut self.queue {
            if waiting.sent || waiting.released || open >= window {
                continue;
            }
            (waiting.sent, open) = (true, open + 1);
            let id = Some(waiting.id);
            pair.local_says(&wire::publish(V5, waiting.qos << 1, &waiting.topic, id, &waiting.payload));
        }
    }

    /// What the other broker says to a packet.
    fn answer(&mut self, packet: &Packet<'_>, under_way: &mut BTreeSet<u16>) -> Vec<u8> {
        match packet {
            Packet::Publish(Publish { topic, packet_id: Some(id), .. }) if topic.contains("cork-probe-") => {
                assert!(
                    self.queue.iter().all(|waiting| waiting.id != id.get()),
                    "an identifier that is in use"
                );
                under_way.remove(&id.get());
                self.probes += 1;
                wire::ack(0x40, id.get())
            }
            Packet::Publish(Publish { qos, packet_id: Some(id), payload, .. }) => {
                let twice = *qos == QoS::ExactlyOnce && !self.taken.insert(id.get());
                if !twice {
                    self.arrived.push(String::from_utf8_lossy(payload).into_owned());
                }
                if *qos == QoS::AtLeastOnce {
                    under_way.remove(&id.get());
                }
                wire::ack(if *qos == QoS::ExactlyOnce { 0x50 } else { 0x40 }, id.get())
            }
            Packet::PubRel(ack) => {
                self.taken.remove(&ack.packet_id.get());
                under_way.remove(&ack.packet_id.get());
                wire::ack(0x70, ack.packet_id.get())
            }
            Packet::PingReq => vec![0xD0, 0],
            _ => Vec::new(),
        }
    }

    /// What this broker does with its answers; whether there were any.
    fn hear_local(&mut self, pair: &mut Pair) -> bool {
        let packets = pair.local();
        for bytes in &packets {
            let packet = decode(ProtocolVersion::V5, Receiver::Server, bytes).unwrap();
            match packet {
                Packet::PubAck(ack) => self.queue.retain(|waiting| waiting.id != ack.packet_id.get()),
                Packet::PubRec(ack) if ack.reason.is_error() => {
                    self.queue.retain(|waiting| waiting.id != ack.packet_id.get());
                }
                Packet::PubRec(ack) => {
                    for waiting in self.queue.iter_mut().filter(|waiting| waiting.id == ack.packet_id.get()) {
                        waiting.released = true;
                    }
                    pair.local_says(&wire::ack(0x62, ack.packet_id.get()));
                }
                Packet::PubComp(ack) => self.queue.retain(|waiting| waiting.id != ack.packet_id.get()),
                other => panic!("{other:?}"),
            }
        }
        !packets.is_empty()
    }

    /// Connections until nothing waits.
    fn drain(&mut self, connections: u32, does: &mut dyn FnMut(&Packet<'_>) -> Does) {
        let last = self.connections + connections;
        while !self.queue.is_empty() {
            assert!(
                self.connections < last,
                "{} wait after {connections}: {:?}",
                self.queue.len(),
                self.found
            );
            self.connect(does);
        }
    }
}

/// A broker that ends the connection at payloads that begin with "bad".
fn closes_at_bad(packet: &Packet<'_>) -> Does {
    match packet {
        Packet::Publish(publish) if publish.payload.starts_with(b"bad") => Does::Close,
        _ => Does::Answer,
    }
}

/// A broker that loses what it would have said.
fn closes_mute(packet: &Packet<'_>) -> Does {
    if closes_at_bad(packet) == Does::Close { Does::CloseMute } else { Does::Answer }
}

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];

/// A row of numbers that looks random.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[test]
fn one_message_that_ends_connections_is_dropped_and_all_others_pass_in_order() {
    for version in VERSIONS {
        for qos in [1, 2] {
            for does in [closes_at_bad, closes_mute] {
                let mut game = Game::new(version);
                for number in 0..30 {
                    game.publish("a", &if number == 7 { "bad".to_owned() } else { number.to_string() }, qos);
                }
                game.drain(12, &mut { does });
                assert_eq!(game.counters.disconnected, 1);
                let mut arrived = game.arrived.clone();
                arrived.dedup();
                if qos == 1 {
                    // What was not acknowledged before the end comes again.
                    arrived.sort_by_key(|one| one.parse::<u32>().unwrap());
                    arrived.dedup();
                }
                let expected: Vec<_> = (0..30).filter(|n| *n != 7).map(|n| n.to_string()).collect();
                assert_eq!(arrived, expected, "{version} {qos}");
            }
        }
    }
}

#[test]
fn a_broker_that_closes_at_everything_is_no_reason_to_drop_anything() {
    for version in VERSIONS {
        for (qos, count) in [(1, 1), (2, 1), (1, 20), (2, 20), (1, 60)] {
            let mut game = Game::new(version);
            for number in 0..count {
                game.publish("a", &number.to_string(), qos);
            }
            for round in 0..400 {
                game.connect(&mut |packet| match packet {
                    Packet::Publish(_) => Does::Close,
                    _ => Does::Answer,
                });
                assert_eq!((game.counters.disconnected, game.queue.len()), (0, count), "round {round}");
                assert!(game.suspects.len() <= 32);
            }
            assert!(game.arrived.is_empty());
            // It is well again.
            game.drain(5, &mut |_| Does::Answer);
            assert_eq!(game.counters.disconnected, 0);
            let mut arrived = game.arrived.clone();
            let number = |one: &String| one.parse::<u32>().unwrap();
            let overtaken = arrived.windows(2).filter(|two| number(&two[0]) > number(&two[1])).count();
            assert!(overtaken <= 1, "{arrived:?}");
            arrived.sort_by_key(|one| one.parse::<u32>().unwrap());
            assert_eq!(arrived, (0..count).map(|n| n.to_string()).collect::<Vec<_>>(), "each once");
        }
    }
}

#[test]
fn what_is_taken_after_all_is_overtaken_by_one_message_at_most() {
    for qos in [1, 2] {
        let mut game = Game::new(ProtocolVersion::V311);
        for number in 0..5 {
            game.publish("a", &number.to_string(), qos);
        }
        while game.suspects.len() < 3 {
            game.connect(&mut |packet| match packet {
                Packet::Publish(_) => Does::Close,
                _ => Does::Answer,
            });
        }
        game.drain(4, &mut |_| Does::Answer);
        assert_eq!(game.arrived, ["3", "0", "1", "2", "4"]);
        assert!(matches!(game.found.last(), Some(Found::Taken(case, true)) if case.topic == "a"));
    }
}

/// A broker of rights: at what it does not know it ends the connection.
fn closes_at_probes(packet: &Packet<'_>) -> Does {
    match packet {
        Packet::Publish(publish) if publish.topic.contains("cork-probe-") => Does::Close,
        _ => closes_at_bad(packet),
    }
}

#[test]
fn alone_a_message_is_known_by_witnesses_of_the_links_own() {
    for version in VERSIONS {
        for qos in [1, 2] {
            let mut game = Game::new(version);
            game.publish("a", "bad", qos);
            game.drain(12, &mut closes_at_bad);
            assert_eq!((game.counters.disconnected, game.probes), (1, 1 + 2 + 3), "{:?}", game.found);
            assert!(game.arrived.is_empty());
        }
    }
}

#[test]
fn who_takes_no_witness_shows_with_the_next_message_what_it_is() {
    for qos in [1, 2] {
        let mut game = Game::new(ProtocolVersion::V311);
        game.publish("a", "bad", qos);
        for _ in 0..100 {
            game.connect(&mut closes_at_probes);
        }
        assert_eq!((game.counters.disconnected, game.queue.len(), game.suspects.len()), (0, 1, 1));
        for number in 0..6 {
            game.publish("a", &number.to_string(), qos);
        }
        game.drain(12, &mut closes_at_probes);
        assert_eq!(game.counters.disconnected, 1);
        assert_eq!(game.arrived, ["0", "1", "2", "3", "4", "5"]);
        // What is good passes even if nothing else comes.
        game.publish("a", "good", qos);
        for _ in 0..20 {
            game.connect(&mut |packet| {
                if matches!(packet, Packet::Publish(_)) { Does::Close } else { Does::Answer }
            });
        }
        game.drain(3, &mut closes_at_probes);
        assert_eq!(game.arrived.last().unwrap(), "good");
    }
}

#[test]
fn any_number_of_bad_ones_in_a_row_is_passed_by() {
    for (qos, count) in [(1, 33), (2, 70)] {
        let mut game = Game::new(ProtocolVersion::V311);
        for number in 0..count {
            game.publish("pictures", &format!("bad {number}"), qos);
        }
        game.publish("pictures", "good", qos);
        game.drain(10 * count, &mut closes_at_bad);
        assert_eq!((game.counters.disconnected, game.arrived), (u64::from(count), vec!["good".to_owned()]));
        assert!(!game.found.iter().any(|found| matches!(found, Found::All(_))));
    }
}

#[test]
fn who_takes_so_many_and_then_closes_has_nothing_against_a_message() {
    for qos in [1, 2] {
        for aside in [1, 5, 12] {
            for takes in 0..12 {
                let mut game = Game::new(ProtocolVersion::V311);
                for number in 0..60 {
                    game.publish("a", &number.to_string(), qos);
                }
                // It is away, but for its door.
                while game.suspects.len() < aside {
                    game.connect(&mut |packet| match packet {
                        Packet::Publish(_) => Does::Close,
                        _ => Does::Answer,
                    });
                }
                // It comes back, busy: so many messages a connection, or one each second connection.
                for round in 0..200 {
                    let mut left = if takes == 0 { round % 2 } else { takes };
                    game.connect(&mut |packet| match packet {
                        Packet::Publish(_) if left == 0 => Does::Close,
                        Packet::Publish(_) => {
                            left -= 1;
                            Does::Answer
                        }
                        _ => Does::Answer,
                    });
                }
                assert_eq!(game.counters.disconnected, 0, "qos {qos}, {aside} aside, takes {takes}");
                game.drain(10, &mut |_| Does::Answer);
                game.arrived.sort_by_key(|one| one.parse::<u32>().unwrap());
                game.arrived.dedup();
                assert_eq!(game.arrived.len(), 60);
            }
        }
    }
}

#[test]
fn who_takes_so_many_in_a_time_and_then_closes_has_nothing_against_a_message() {
    for seed in 0..40 {
        let mut random = random(seed);
        let mut game = Game::new(VERSIONS[usize::from(seed % 2 == 0)]);
        let qos = if seed % 4 < 2 { 1 } else { 2 };
        for number in 0..150 {
            game.publish("a", &number.to_string(), qos);
        }
        // A bucket of tokens that fills while the link waits.
        let (size, fill) = (1 + random(8), 1 + random(20));
        let mut tenths = 0;
        while !game.queue.is_empty() && game.connections < 1500 {
            tenths = (tenths + random(2 * fill)).min(size * 10);
            game.connect(&mut |packet| match packet {
                Packet::Publish(_) if tenths < 10 => Does::Close,
                Packet::Publish(_) => {
                    tenths -= 10;
                    Does::Answer
                }
                _ => Does::Answer,
            });
        }
        assert_eq!(game.counters.disconnected, 0, "seed {seed}, size {size}, fill {fill}");
    }
}

#[test]
fn who_closes_at_every_other_message_gets_them_all_the_same() {
    for seed in 0..20 {
        let mut random = random(seed);
        let mut game = Game::new(VERSIONS[usize::from(seed % 2 == 0)]);
        for number in 0..100 {
            game.publish("a", &number.to_string(), 1 + u8::from(seed % 4 < 2));
        }
        game.drain(600, &mut |packet| match packet {
            Packet::Publish(_) if random(5) < 2 => Does::Close,
            _ => Does::Answer,
        });
        assert_eq!((game.counters.disconnected, game.arrived.len()), (0, 100), "seed {seed}");
        let news = |found: &&Found| {
            matches!(found, Found::Aside(_, true) | Found::All(true) | Found::Taken(_, true))
        };
        assert!(game.found.iter().filter(news).count() <= 3, "it is said once: {:?}", game.found);
    }
}

#[test]
fn trials_that_end_without_a_word_do_not_hold_up_the_rest() {
    for qos in [1, 2] {
        let mut game = Game::new(ProtocolVersion::V311);
        game.publish("a", "bad", qos);
        while game.suspects.len() == 0 {
            game.connect(&mut closes_at_bad);
        }
        for number in 0..1000 {
            game.publish("b", &number.to_string(), qos);
        }
        // From now on it swallows what it does not like.
        let before = game.connections;
        while game.queue.len() > 1 {
            game.connect(&mut |packet| match closes_at_bad(packet) {
                Does::Close => Does::Nothing,
                other => other,
            });
            assert!(game.connections < before + 5, "{} wait", game.queue.len());
        }
        game.drain(2, &mut |_| Does::Answer);
        assert_eq!((game.arrived.len(), game.counters.disconnected), (1001, 0));
    }
}

#[test]
fn many_bad_ones_in_a_row_do_not_stop_what_is_behind_them() {
    let mut game = Game::new(ProtocolVersion::V5);
    for number in 0..25 {
        game.publish("pictures", &format!("bad {number}"), 1);
    }
    for number in 0..100 {
        game.publish("a", &number.to_string(), 1);
    }
    game.drain(200, &mut closes_at_bad);
    assert_eq!(game.counters.disconnected, 25);
    assert_eq!(game.arrived, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    // Later ones of the topic are known sooner, until all is well for a while.
    let one = |game: &mut Game| {
        game.publish("pictures", "bad", 1);
        for _ in 0..5 {
            game.publish("a", "x", 1);
        }
        let before = game.connections;
        game.drain(10, &mut closes_at_bad);
        game.connections - before
    };
    let again = one(&mut game);
    assert!(again <= 4, "{again}");
    for _ in 0..200 {
        game.publish("a", "x", 1);
    }
    game.drain(1, &mut closes_at_bad);
    assert!(one(&mut game) > again);
    assert_eq!(game.counters.disconnected, 27);
}

#[test]
fn a_broker_that_takes_one_at_a_time_gets_no_more() {
    for qos in [1, 2] {
        let mut game = Game::new(ProtocolVersion::V5);
        game.receive_maximum = 1;
        for number in 0..20 {
            game.publish("a", &if number % 4 == 0 { "bad".to_owned() } else { number.to_string() }, qos);
        }
        game.drain(60, &mut closes_at_bad);
        assert_eq!((game.counters.disconnected, game.arrived.len()), (5, 15));
    }
}

#[test]
fn connections_that_end_for_no_reason_and_crashes_lose_nothing() {
    for seed in 0..300 {
        let mut random = random(seed);
        let mut game = Game::new(VERSIONS[usize::from(seed % 2 == 0)]);
        let qos = if seed % 4 < 2 { 1 } else { 2 };
        for number in 0..200 {
            game.publish(if number % 3 == 0 { "a" } else { "b" }, &number.to_string(), qos);
        }
        let often = 8 + random(30);
        while !game.queue.is_empty() {
            assert!(game.connections < 5000, "seed {seed}, often {often}");
            let mut left = 1 + random(often);
            let close = if random(2) == 0 { Does::Close } else { Does::CloseMute };
            game.connect(&mut |_| {
                left = left.saturating_sub(1);
                if left == 0 { close } else { Does::Answer }
            });
            if random(40) == 0 {
                // This broker crashes: what it knew of suspects is gone.
                game.suspects = Suspects::default();
            }
        }
        assert_eq!(game.counters.disconnected, 0, "seed {seed}, often {often}");
        let mut arrived = game.arrived.clone();
        arrived.sort_by_key(|one| one.parse::<u32>().unwrap());
        if qos == 1 {
            arrived.dedup();
        }
        assert_eq!(arrived, (0..200).map(|n| n.to_string()).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn what_is_too_old_goes_even_if_it_is_aside() {
    let mut game = Game::new(ProtocolVersion::V311);
    game.publish("a", "bad", 1);
    while game.suspects.len() == 0 {
        game.connect(&mut closes_at_bad);
    }
    // No rule is for it any more, which is the same to a relay.
    game.plan.out = Map::new(vec![rule("b", "b", "c", QoS::AtLeastOnce)]);
    game.connect(&mut closes_at_bad);
    assert_eq!((game.queue.len(), game.suspects.len(), game.counters.unmapped), (0, 0, 1));
}
