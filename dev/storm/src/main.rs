//! `cork-storm --seed N` runs one storm (`--log` tells what happens in it); `cork-storm --seeds A..B` runs many on two threads and says what happened.
#![forbid(unsafe_code)]

use std::{
    panic::catch_unwind,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use cork_storm::{Coverage, Options, Outcome, Plant, Telling, run_with};

const USAGE: &str = "usage: cork-storm [--plant NAME] (--seed N [--log] | --seeds A..B) | --plants MOST";
/// Storms at a time.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut plant = None;
    if arguments.first().is_some_and(|first| first == "--plant") {
        plant = arguments.get(1).and_then(|name| Plant::named(name));
        if plant.is_none() {
            eprintln!("--plant knows {}", Plant::ALL.map(|plant| plant.to_string()).join(", "));
            return usage();
        }
        arguments.drain(..2);
    }
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--seed", seed] => seed.parse().map_or_else(|_| usage(), |seed| one(seed, plant, Telling::Ending)),
        ["--seed", seed, "--log"] => {
            seed.parse().map_or_else(|_| usage(), |seed| one(seed, plant, Telling::Everything))
        }
        ["--plants", most] => most.parse().map_or_else(|_| usage(), plants),
        ["--seeds", range] => match range.split_once("..").map(|(a, b)| (a.parse(), b.parse())) {
            Some((Ok(from), Ok(to))) => many(from, to, plant),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn attempt(seed: u64, plant: Option<Plant>, telling: Telling) -> Result<Outcome, String> {
    catch_unwind(|| run_with(seed, plant, telling))
        .unwrap_or_else(|_| Err("it panicked, see above".to_owned()))
}

fn one(seed: u64, plant: Option<Plant>, telling: Telling) -> ExitCode {
    println!("{:#?}", Options::draw(seed).0);
    match attempt(seed, plant, telling) {
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

/// So many seeds that fail show that a planted defect is found.
const ENOUGH: usize = 3;

/// Looks for each planted defect in at most so many seeds; prints a table.
fn plants(most: u64) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {})); // a panic is a finding like any other
    println!("| Planted | Seeds that fail, the first {ENOUGH} |\n| --- | --- |");
    let mut missed = 0;
    for plant in Plant::ALL {
        let fails = |seed: &u64| attempt(*seed, Some(plant), Telling::Nothing).is_err();
        let failing: Vec<String> =
            (0..most).filter(fails).take(ENOUGH).map(|seed| seed.to_string()).collect();
        println!("| {plant} | {} |", if failing.is_empty() { "none".to_owned() } else { failing.join(", ") });
        missed += usize::from(failing.is_empty());
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(from: u64, to: u64, plant: Option<Plant>) -> ExitCode {
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(0));
    let began = Instant::now();
    let work = || {
        let mut coverage = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to {
                return coverage;
            }
            match attempt(seed, plant, Telling::Nothing) {
                Ok(outcome) => coverage.add(&outcome.coverage),
                Err(wrong) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("cargo run --profile storm -p cork-storm -- --seed {seed}    # {wrong}");
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
