//! What a second shard brings, without sockets: `cargo bench -p cork-core --bench shards [-- part of a name]`.
//!
//! Clients spread over the shards by their names, as a user's do, so half of what they say to each other crosses. A turn
//! is what the runtime makes of it: mail, one read from each publisher, what goes to the other shard in one batch, one
//! write for each receiver. Shards hand batches over by a channel and are never asleep, so nothing is woken. Rounds of one
//! and two shards take turns; the medians are printed and two ratios: that of the medians, and that of the best rounds, which others
//! on the machine disturb less.

#![expect(clippy::disallowed_methods, reason = "what measures has a clock")]

mod packets;
mod shape;
mod worker;

use std::{
    sync::{Arc, Barrier, atomic::Ordering, mpsc::channel},
    thread,
    time::{Duration, Instant},
};

use cork_core::{Shard, ShardConfig, home_shard};
use shape::{SHAPES, Shape};
use worker::{Score, Worker};

const ROUNDS: usize = 11;
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

/// Deliveries a second, and the time of all shards that each of them took, in nanoseconds.
fn round(shape: &'static Shape, shards: u16) -> (f64, f64) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| channel()).unzip();
    let score = Arc::new(Score::default());
    let (expected, all) = (shape.deliveries(), usize::from(shards));
    let (ready, start) = (Arc::new(Barrier::new(all)), Arc::new(Barrier::new(all)));
    let threads: Vec<_> = (0..shards)
        .zip(receivers)
        .map(|(number, mail)| {
            let (ready, start, score) = (Arc::clone(&ready), Arc::clone(&start), Arc::clone(&score));
            let others = senders.clone();
            let thread = thread::Builder::new().name(format!("{number}-of-{shards}"));
            thread
                .spawn(move || {
                    let mut config =
                        ShardConfig { shard: number, shards, seed: SEED, ..ShardConfig::default() };
                    config.limits.sys_interval = Duration::ZERO;
                    let worker = Worker::new(Shard::new(config), mail, others, score);
                    let mut worker = prepare(shape, worker, (number, shards), &ready);
                    start.wait();
                    let (began, mut idle) = (Instant::now(), Duration::ZERO);
                    let is_over =
                        |worker: &Worker| worker.score.delivered.load(Ordering::Relaxed) >= expected;
                    while !is_over(&worker) {
                        if !worker.is_ready() {
                            let since = Instant::now();
                            while !worker.is_ready() && !is_over(&worker) {}
                            idle += since.elapsed();
                        }
                        worker.turn();
                    }
                    let ended = Instant::now();
                    start.wait(); // nothing is torn down before all have ended
                    (began, ended, ended.duration_since(began).saturating_sub(idle))
                })
                .expect("a thread")
        })
        .collect();
    let times: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert_eq!(score.delivered.load(Ordering::Relaxed), expected, "nothing lost, nothing twice");
    let began = times.iter().map(|(began, ..)| *began).min().expect("at least one");
    let ended = times.iter().map(|(_, ended, _)| *ended).max().expect("at least one");
    let busy: Duration = times.iter().map(|(.., busy)| *busy).sum();
    let rate = expected as f64 / ended.duration_since(began).as_secs_f64();
    (rate, busy.as_secs_f64() * 1e9 / expected as f64)
}

/// The middle one, and the first.
fn middle_and_first(mut figures: Vec<f64>) -> (f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[0])
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!(
        "| shape | 1 shard, M/s | ns | 2 shards, M/s | ns | ratio | of the best rounds | of the ns, by 2 |"
    );
    println!("| --- | --: | --: | --: | --: | --: | --: | --: |");
    for shape in
        SHAPES.iter().filter(|it| wanted.is_empty() || wanted.iter().any(|part| it.name.contains(part)))
    {
        let (mut rates, mut costs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..ROUNDS {
            for shards in 1..=2 {
                let (rate, cost) = round(shape, shards);
                rates[usize::from(shards) - 1].push(-rate / 1e6);
                costs[usize::from(shards) - 1].push(cost);
            }
        }
        let [one, two] = rates.map(middle_and_first);
        let [cost_one, cost_two] = costs.map(middle_and_first);
        println!(
            "| {} | {:.2} | {:.1} | {:.2} | {:.1} | x{:.2} | x{:.2} | x{:.2} |",
            shape.name,
            -one.0,
            cost_one.0,
            -two.0,
            cost_two.0,
            two.0 / one.0,
            two.1 / one.1,
            2.0 * cost_one.1 / cost_two.1
        );
    }
}
