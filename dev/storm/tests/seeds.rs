//! Storms for every day; `./test.sh` runs ten thousand, optimised, in a stage of its own. `STORM_SEEDS` says how many;
//! `STORM_FROM` where to begin.

use std::panic::catch_unwind;

use cork_storm::{Coverage, run};

/// A few seconds' worth, so that it is run often.
const SEEDS: u64 = 600;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_seed_breaks_a_promise() {
    let (from, seeds) = (number("STORM_FROM", 0), number("STORM_SEEDS", SEEDS));
    let half = seeds.div_ceil(2);
    let work = |from: u64, to: u64| {
        let (mut coverage, mut failed) = (Coverage::default(), Vec::new());
        for seed in from..to {
            match catch_unwind(|| run(seed)) {
                Ok(Ok(outcome)) => coverage.add(&outcome.coverage),
                Ok(Err(wrong)) => {
                    failed.push(format!(
                        "cargo run --profile storm -p cork-storm -- --seed {seed}    # {wrong}"
                    ));
                }
                Err(_) => failed
                    .push(format!("cargo run --profile storm -p cork-storm -- --seed {seed}    # panicked")),
            }
        }
        (coverage, failed)
    };
    let ((mut coverage, mut failed), second) = std::thread::scope(|scope| {
        let second = scope.spawn(move || work(from + half, from + seeds));
        (work(from, from + half), second.join().unwrap())
    });
    coverage.add(&second.0);
    failed.extend(second.1);
    assert!(failed.is_empty(), "{} of {seeds} seeds failed:\n{}", failed.len(), failed.join("\n"));
    if seeds < 500 {
        return; // too few to expect everything to have happened
    }
    // What the generator must reach, or the checks prove nothing.
    for what in [
        "ends by takeover",
        "ends by Keep Alive",
        "cuts with bytes on their way",
        "Sessions resumed",
        "Sessions expired",
        "PUBLISH sent again by clients",
        "PUBREL sent again by clients",
        "PUBLISH sent again by the broker",
        "QoS 2 messages that came twice",
        "acknowledgements out of order",
        "Wills delivered",
        "retained messages delivered",
        "retained messages cleared",
        "Topic Aliases used by the broker",
        "dropped: too large",
        "dropped: expired",
        "dropped: slow reader",
        "deliveries that had to be",
        "shared deliveries that had to be",
        "kills",
        "power cuts",
        "restarts with another number of shards",
        "Sessions recovered",
        "deliveries recovered",
        "released flights recovered",
        "full disks",
        "failing disks",
        "publications refused: no space",
        "presence: online",
        "presence: offline",
        "presence that had to be true",
        "dropped: queues of a user full",
    ] {
        assert!(coverage.of(what) > 0, "no seed reached: {what}\n{coverage}");
    }
}

#[test]
fn the_same_seed_is_the_same_storm() {
    for seed in 0..20 {
        let (first, again) = (run(seed).unwrap(), run(seed).unwrap());
        assert_eq!((first.trace, &first.coverage), (again.trace, &again.coverage), "seed {seed}");
        assert_ne!(first.trace, run(seed + 1).unwrap().trace);
    }
}
