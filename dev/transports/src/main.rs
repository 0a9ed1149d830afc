//! What TLS and WebSocket cost, against plain TCP and against a bare echo server.
//!
//! ```text
//! cargo build --release && cargo run --release -p cork-transports
//! ```
//!
//! A `cork` process with a listener of each kind, and two echo servers (this program again: TCP, and TLS by rustls
//! without anything of ours), are used in turns by one client. CPU is the server's, all threads, from the scheduler's
//! own account; memory is its resident set. Rounds are interleaved, so that a busy moment hits everybody, and medians
//! are shown. Prints a table for `docs/benchmarks.md`.
#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use server::{Server, Servers};
use wire::{Kind, Peer};

mod echo;
mod server;
mod wire;

/// Rounds of each measurement.
const ROUNDS: usize = 15;
/// Connections opened one after the other in a round.
const HANDSHAKES: usize = 200;
/// Connections that are open and do nothing.
const IDLE: usize = 1000;
/// Messages of a round, one at a time; and many at once.
const SINGLE: usize = 3000;
const STREAM: usize = 60_000;
/// Messages on their way at once in a stream.
const WINDOW: usize = 64;

/// A measurement of one round: what was done in a second, and the server's CPU for each.
#[derive(Clone, Copy)]
struct Figure {
    per_second: f64,
    cpu: Duration,
}

#[derive(Default)]
struct Results {
    handshakes: Vec<Figure>,
    singles: Vec<Figure>,
    streams: Vec<Figure>,
    idle_bytes: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("echo") {
        return echo::serve().map_err(Into::into);
    }
    let servers = Servers::start()?;
    let mut all: Vec<(Kind, Results)> = Kind::ALL.iter().map(|kind| (*kind, Results::default())).collect();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for (kind, results) in &mut all {
            let server = servers.of(*kind);
            results.handshakes.push(measure(server, HANDSHAKES, || {
                for _ in 0..HANDSHAKES {
                    Peer::open(*kind, &servers)?;
                }
                Ok(())
            })?);
            let mut peer = Peer::open(*kind, &servers)?;
            results.singles.push(measure(server, SINGLE, || peer.exchange(SINGLE, 1))?);
            results.streams.push(measure(server, STREAM, || peer.exchange(STREAM, WINDOW))?);
        }
    }
    for (kind, results) in &mut all {
        results.idle_bytes = idle_bytes(*kind, &servers)?;
    }
    print(&mut all);
    Ok(())
}

fn measure(
    server: &Server,
    count: usize,
    mut work: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<Figure, Box<dyn Error>> {
    let (cpu, begin) = (server.cpu()?, Instant::now());
    work()?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = server.cpu()?.saturating_sub(cpu);
    let count = u32::try_from(count)?;
    Ok(Figure { per_second: f64::from(count) / seconds, cpu: cpu / count })
}

/// Growth of the server's memory for each of many idle connections, in a process of its own: what an earlier
/// measurement has left behind would be used up first.
fn idle_bytes(kind: Kind, servers: &Servers) -> Result<f64, Box<dyn Error>> {
    let fresh = servers.again()?;
    // The first connection brings what all share.
    let _first = Peer::open(kind, &fresh)?;
    let before = fresh.of(kind).resident_bytes()?;
    let peers: Vec<Peer> = (0..IDLE).map(|_| Peer::open(kind, &fresh)).collect::<Result<_, _>>()?;
    std::thread::sleep(Duration::from_millis(300));
    let after = fresh.of(kind).resident_bytes()?;
    let (count, grown) = (u32::try_from(peers.len())?, u32::try_from(after.saturating_sub(before))?);
    Ok(f64::from(grown) / f64::from(count))
}

fn print(all: &mut [(Kind, Results)]) {
    println!(
        "| Server | connections/s | CPU each | bytes idle | messages/s, one at a time | CPU each | messages/s, {WINDOW} under way | CPU each |"
    );
    println!("| --- | --: | --: | --: | --: | --: | --: | --: |");
    for (kind, results) in all {
        let [handshakes, singles, streams] =
            [&mut results.handshakes, &mut results.singles, &mut results.streams]
                .map(|figures| median(figures));
        println!(
            "| {} | {:.0} | {} | {:.0} | {:.0} | {} | {:.0} | {} |",
            kind.name(),
            handshakes.per_second,
            micros(handshakes.cpu),
            results.idle_bytes,
            singles.per_second,
            micros(singles.cpu),
            streams.per_second,
            micros(streams.cpu),
        );
    }
}

/// The median of each figure by itself.
fn median(figures: &mut [Figure]) -> Figure {
    let middle = figures.len() / 2;
    figures.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let per_second = figures[middle].per_second;
    figures.sort_by_key(|figure| figure.cpu);
    Figure { per_second, cpu: figures[middle].cpu }
}

fn micros(time: Duration) -> String {
    format!("{:.2} us", time.as_secs_f64() * 1e6)
}
