//! `cork-storm --seed N` runs one storm (`--log` tells what happens in it); `cork-storm --seeds A..B` runs many on two threads and says what happened.
#![forbid(unsafe_code)]

use std::{
    panic::catch_unwind,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use cork_storm::{Coverage, Options, Outcome, run_telling};

const USAGE: &str = "usage: cork-storm --seed N [--log] | --seeds A..B";
/// Storms at a time.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--seed", seed] => seed.parse().map_or_else(|_| usage(), |seed| one(seed, false)),
        ["--seed", seed, "--log"] => seed.parse().map_or_else(|_| usage(), |seed| one(seed, true)),
        ["--seeds", range] => match range.split_once("..").map(|(a, b)| (a.parse(), b.parse())) {
            Some((Ok(from), Ok(to))) => many(from, to),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn attempt(seed: u64, log: bool) -> Result<Outcome, String> {
    catch_unwind(|| run_telling(seed, log)).unwrap_or_else(|_| Err("it panicked, see above".to_owned()))
}

fn one(seed: u64, log: bool) -> ExitCode {
    println!("{:#?}", Options::draw(seed).0);
    match attempt(seed, log) {
        Ok(Outcome { trace, coverage }) => {
            print!("{coverage}");
            println!("seed {seed} holds, trace {trace:016x}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            println!("seed {seed}: {wrong}");
            ExitCode::FAILURE
        }
    }
}

fn many(from: u64, to: u64) -> ExitCode {
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(0));
    let began = Instant::now();
    let work = || {
        let mut coverage = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to {
                return coverage;
            }
            match attempt(seed, false) {
                Ok(outcome) => coverage.add(&outcome.coverage),
                Err(wrong) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("cargo run -p cork-storm -- --seed {seed}    # {wrong}");
                }
            }
        }
    };
    let mut coverage = Coverage::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Ok(counted) = thread.join() {
                coverage.add(&counted);
            }
        }
    });
    print!("{coverage}");
    let (seeds, seconds) = (to.saturating_sub(from), began.elapsed().as_secs_f64());
    let failed = failed.into_inner();
    println!("{seeds} seeds in {seconds:.1} s, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
