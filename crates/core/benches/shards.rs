//! What a second shard brings, without sockets: `cargo bench -p cork-core --bench shards`.
//!
//! Pairs of a publisher and a subscriber with a topic each, on one shard and on two, each with a thread of its own. Of
//! two shards, half of the pairs have their ends on different ones, as chance would have it, and their messages go
//! through a channel. Rounds of one and two shards take turns; the medians and their ratio are printed.

#![expect(clippy::disallowed_methods, reason = "what measures has a clock")]

use std::{
    io::IoSlice,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Instant,
};

use cork_core::{Batch, ConnId, Input, Output, Shard, ShardConfig, home_shard};
use cork_proto::Time;

/// Pairs in all.
const PAIRS: usize = 64;
/// Publications handed over in one read, as a busy socket does.
const BURST: usize = 64;
/// Bursts of each publisher in a round.
const BURSTS: usize = 600;
const ROUNDS: usize = 9;
const SEED: u64 = 42;

/// One shard with its ways to the others.
struct Worker {
    shard: Shard,
    number: u16,
    mail: Receiver<Batch>,
    others: Vec<Sender<Batch>>,
    clients: u32,
    /// Each one's next burst.
    publishers: Vec<(ConnId, Vec<u8>)>,
    delivered: Arc<AtomicU64>,
    /// Where packets begin is known by their length.
    packet_bytes: usize,
}

impl Worker {
    fn connect(&mut self, client_id: &str) -> ConnId {
        let conn = ConnId { index: self.clients, generation: 0 };
        self.clients += 1;
        self.shard.handle(Time::ZERO, Input::Opened { conn, peer: "bench".into() });
        let body = [&[0, 4][..], b"MQTT", &[4, 2, 0, 0], &string(client_id)].concat();
        self.feed(conn, &packet(0x10, &body));
        conn
    }

    fn feed(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        self.shard.handle(Time::ZERO, Input::Bytes { conn, bytes });
        self.settle()
    }

    /// Carries out what the shard wants; the bytes it sent.
    fn settle(&mut self) -> usize {
        while let Some(output) = self.shard.poll_output() {
            if let Output::Forward { shard, batch } = output {
                self.others[usize::from(shard)].send(batch).expect("the other end lives as long");
            }
        }
        let mut sent = 0;
        while let Some(conn) = self.shard.poll_transmit() {
            let take = |slices: &[IoSlice<'_>]| -> Result<usize, ()> {
                let length = slices.iter().map(|slice| slice.len()).sum();
                sent += length;
                Ok(length)
            };
            self.shard.transmit(Time::ZERO, conn, take).expect("this socket takes everything");
        }
        sent
    }

    /// Takes what came from other shards: the bytes that were sent of it, and whether anything came.
    fn take_mail(&mut self) -> (usize, bool) {
        let (mut sent, mut any) = (0, false);
        while let Ok(batch) = self.mail.try_recv() {
            any = true;
            self.shard.handle(Time::ZERO, Input::Batch(batch));
            sent += self.settle();
        }
        (sent, any)
    }

    fn play(&mut self, expected: u64) {
        let publishers = std::mem::take(&mut self.publishers);
        for _ in 0..BURSTS {
            for (conn, burst) in &publishers {
                let sent = self.feed(*conn, burst) + self.take_mail().0;
                self.count(sent);
            }
        }
        self.publishers = publishers;
        while self.delivered.load(Ordering::Relaxed) < expected {
            let (sent, _) = self.take_mail();
            self.count(sent);
            std::hint::spin_loop();
        }
    }

    fn count(&self, sent: usize) {
        if sent > 0 {
            self.delivered.fetch_add((sent / self.packet_bytes) as u64, Ordering::Relaxed);
        }
    }
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).ok().filter(|length| *length < 128).expect("short");
    [&[first, length][..], body].concat()
}

fn workers(shards: u16) -> Vec<Worker> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| channel()).unzip();
    let delivered = Arc::new(AtomicU64::new(0));
    let publication =
        |pair: usize| packet(0x30, &[&string(&format!("pair/{pair:02}"))[..], &[b'x'; 32]].concat());
    let mut workers: Vec<Worker> = (0..shards)
        .zip(receivers)
        .map(|(number, mail)| {
            let mut config = ShardConfig { shard: number, shards, seed: SEED, ..ShardConfig::default() };
            config.limits.sys_interval = std::time::Duration::ZERO;
            Worker {
                shard: Shard::new(config),
                number,
                mail,
                others: senders.clone(),
                clients: 0,
                publishers: Vec::new(),
                delivered: Arc::clone(&delivered),
                packet_bytes: publication(0).len(),
            }
        })
        .collect();
    for pair in 0..PAIRS {
        let home = |name: &str| usize::from(home_shard(name, shards, SEED));
        let (reader, writer) = (format!("s{pair}"), format!("p{pair}"));
        let subscriber = &mut workers[home(&reader)];
        let conn = subscriber.connect(&reader);
        let filter = [&[0, 1][..], &string(&format!("pair/{pair:02}")), &[0]].concat();
        subscriber.feed(conn, &packet(0x82, &filter));
        // The others hear of the subscription before anybody publishes.
        while workers.iter_mut().any(|worker| worker.take_mail().1) {}
        let publisher = &mut workers[home(&writer)];
        let conn = publisher.connect(&writer);
        publisher.publishers.push((conn, publication(pair).repeat(BURST)));
    }
    workers
}

/// Deliveries a second.
fn round(shards: u16) -> f64 {
    let workers = workers(shards);
    let expected = (PAIRS * BURST * BURSTS) as u64;
    let start = Arc::new(Barrier::new(usize::from(shards) + 1));
    let threads: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            let start = Arc::clone(&start);
            thread::Builder::new()
                .name(format!("shard-{}", worker.number))
                .spawn(move || {
                    start.wait();
                    worker.play(expected);
                    worker // ends after the clock has stopped
                })
                .expect("a thread")
        })
        .collect();
    start.wait();
    let began = Instant::now();
    let ended: Vec<Worker> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    let took = began.elapsed();
    assert_eq!(ended[0].delivered.load(Ordering::Relaxed), expected, "nothing lost, nothing twice");
    expected as f64 / took.as_secs_f64()
}

fn main() {
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rates[0].push(round(1));
        rates[1].push(round(2));
    }
    let [one, two] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    });
    println!(
        "{PAIRS} pairs, medians of {ROUNDS} rounds: 1 shard {:.2} M/s, 2 shards {:.2} M/s, x{:.2}",
        one / 1e6,
        two / 1e6,
        two / one
    );
}
