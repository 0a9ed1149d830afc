//! What a second shard brings, without sockets: `cargo bench -p cork-core --bench shards [-- part of a name]`.
//!
//! Clients spread over the shards by their names, as a user's do, so half of what they say to each other crosses. A turn
//! is what the runtime makes of it: mail, one read from each publisher, what goes to the other shard in one batch, one
//! write for each receiver. Shards hand batches over by a channel and are never asleep, so nothing is woken. Rounds of one
//! and two shards take turns; the medians and their ratio are printed.

#![expect(clippy::disallowed_methods, reason = "what measures has a clock")]

mod shape;
mod worker;

use std::{
    sync::{Arc, Barrier, atomic::Ordering, mpsc::channel},
    thread,
    time::{Duration, Instant},
};

use cork_core::{Shard, ShardConfig, home_shard};
use shape::{SHAPES, Shape};
use worker::{BURST, Score, Worker};

const ROUNDS: usize = 7;
const SEED: u64 = 42;
/// Times that all shards exchange mail until each knows what the others have told, and asked, it.
const HEARING: usize = 6;

/// The shard of one thread with its clients, all of whose memory is that thread's, as in the runtime. All are ready when
/// this returns.
fn prepare(shape: &Shape, mut worker: Worker, (number, shards): (u16, u16), ready: &Barrier) -> Worker {
    let is_here = |name: &str| home_shard(name, shards, SEED) == number;
    let hear = |worker: &mut Worker| {
        for _ in 0..HEARING {
            worker.settle();
            ready.wait();
            worker.take_mail();
        }
    };
    let named = |prefix: &'static str, count: usize| {
        (0..count).map(move |n| (n, format!("{prefix}{n}"))).filter(move |(_, name)| is_here(name))
    };
    named("kept", if shape.kept { 16 } else { 0 }).for_each(|(_, name)| worker.keep(&name));
    named("s", shape.subscribers).for_each(|(n, name)| worker.subscribe(&name, shape, n));
    hear(&mut worker);
    named("p", shape.publishers).for_each(|(n, name)| worker.publish(&name, shape, n));
    hear(&mut worker);
    worker.begin(shape);
    ready.wait();
    worker
}

/// Deliveries a second.
fn round(shape: &'static Shape, shards: u16) -> f64 {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| channel()).unzip();
    let score = Arc::new(Score::default());
    let (expected, all) = (shape.deliveries(), usize::from(shards));
    let (ready, start) = (Arc::new(Barrier::new(all)), Arc::new(Barrier::new(all + 1)));
    let threads: Vec<_> = (0..shards)
        .zip(receivers)
        .map(|(number, mail)| {
            let (ready, start, score) = (Arc::clone(&ready), Arc::clone(&start), Arc::clone(&score));
            let others = senders.clone();
            thread::spawn(move || {
                let mut config = ShardConfig { shard: number, shards, seed: SEED, ..ShardConfig::default() };
                config.limits.sys_interval = Duration::ZERO;
                let worker = Worker::new(Shard::new(config), mail, others, score);
                let mut worker = prepare(shape, worker, (number, shards), &ready);
                let mut bursts = shape.messages / BURST;
                start.wait();
                while worker.score.delivered.load(Ordering::Relaxed) < expected {
                    worker.turn(&mut bursts);
                }
                let ended = Instant::now();
                start.wait(); // nothing is torn down before all have ended
                ended
            })
        })
        .collect();
    start.wait();
    let began = Instant::now();
    start.wait();
    let ended = threads.into_iter().map(|thread| thread.join().expect("no panic")).max();
    let took = ended.expect("at least one").duration_since(began);
    assert_eq!(score.delivered.load(Ordering::Relaxed), expected, "nothing lost, nothing twice");
    expected as f64 / took.as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("| shape | 1 shard, M/s | 2 shards, M/s | ratio |\n| --- | --: | --: | --: |");
    for shape in
        SHAPES.iter().filter(|it| wanted.is_empty() || wanted.iter().any(|part| it.name.contains(part)))
    {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            rates[0].push(round(shape, 1));
            rates[1].push(round(shape, 2));
        }
        let [one, two] = rates.map(median);
        println!("| {} | {:.2} | {:.2} | x{:.2} |", shape.name, one / 1e6, two / 1e6, two / one);
    }
}
