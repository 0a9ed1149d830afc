//! Floods a running broker, one way after the other, and measures what a well-behaved client notices.
//!
//! ```text
//! cork-overload [--full] [--only NAME] [BINARY]
//! ```
//!
//! Each flood meets a broker of its own, started from `BINARY` (default: `CORK_BIN`). Beside it a neighbour publishes
//! and receives one message every 10 ms. A flood is survived when the neighbour's p99 stays below 50 ms (above that of an
//! echo without a broker, which shows what the machine itself is good for at that moment), it loses nothing, the broker's memory grows by less than the flood's bound, and the flood itself got what it was promised.
//! Prints a table; the exit code says whether all were survived.
#![forbid(unsafe_code)]

mod broker;
mod client;
mod floods;
mod neighbour;
mod yardstick;

use std::{env, path::PathBuf, process::ExitCode, thread, time::Duration};

use broker::{Broker, MIB};
use floods::{FLOODS, Flood};
use neighbour::Neighbour;
use yardstick::Yardstick;

/// How often a flood is tried before the neighbour's waiting counts.
const TRIES: usize = 3;
/// What the neighbour may notice.
const P99_MAX: Duration = Duration::from_millis(50);

struct Options {
    full: bool,
    only: Option<String>,
    binary: PathBuf,
}

fn options() -> Option<Options> {
    let mut options =
        Options { full: false, only: None, binary: env::var_os("CORK_BIN").unwrap_or_default().into() };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full" => options.full = true,
            "--only" => options.only = Some(arguments.next()?),
            other if other.starts_with('-') => return None,
            other => options.binary = other.into(),
        }
    }
    (!options.binary.as_os_str().is_empty()).then_some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        let names: Vec<&str> = FLOODS.iter().map(|flood| flood.name).collect();
        eprintln!(
            "usage: cork-overload [--full] [--only NAME] [BINARY, or CORK_BIN]; names: {}",
            names.join(", ")
        );
        return ExitCode::from(2);
    };
    println!(
        "{:<14}{:>8}{:>10}{:>10}{:>10}{:>10}{:>8}{:>6}{:>9}  verdict",
        "flood", "size", "p50 ms", "p99 ms", "max ms", "bare p99", "sent", "lost", "MiB more"
    );
    let mut survived = true;
    let chosen = |flood: &&Flood| options.only.as_ref().is_none_or(|only| only == flood.name);
    for flood in FLOODS.iter().filter(chosen) {
        survived &= run(flood, &options);
    }
    ExitCode::from(u8::from(!survived))
}

/// Runs one flood, prints a line for each try, and returns whether it was survived. A neighbour that only waited too long
/// is tried again: a machine that is busy with something else spoils one run, hardly all.
fn run(flood: &Flood, options: &Options) -> bool {
    for _ in 1..TRIES {
        match try_once(flood, options) {
            Verdict::Survived => return true,
            Verdict::Slow => {}
            Verdict::Failed => return false,
        }
    }
    try_once(flood, options) == Verdict::Survived
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Survived,
    /// The neighbour waited too long, and nothing else is wrong.
    Slow,
    Failed,
}

fn try_once(flood: &Flood, options: &Options) -> Verdict {
    let size = if options.full { flood.full } else { flood.small };
    let broker = Broker::start(&options.binary, flood.users);
    let neighbour = Neighbour::start(broker.port, flood.users);
    thread::sleep(Duration::from_millis(500));
    let yardstick = Yardstick::start().expect("a socket for the yardstick");
    let before = broker.resident_bytes();
    let result = (flood.run)(broker.port, size);
    thread::sleep(Duration::from_millis(500));
    let (noticed, bare) = (neighbour.stop(), yardstick.stop());
    let more = broker.peak_bytes().saturating_sub(before) / MIB;
    let slow = noticed.percentile(99) >= P99_MAX.saturating_add(bare);
    let mut faults = Vec::new();
    if noticed.lost > 0 {
        faults.push("messages were lost".to_owned());
    }
    if more >= flood.mib_max {
        faults.push(format!("memory grew by {} MiB or more", flood.mib_max));
    }
    let (notes, fault) = match result {
        Ok(notes) => (notes, None),
        Err(fault) => (String::new(), Some(fault)),
    };
    faults.extend(fault);
    let (verdict, text) = match (faults.is_empty(), slow) {
        (false, _) => (Verdict::Failed, format!("FAILED: {}", faults.join("; "))),
        (true, true) => {
            (Verdict::Slow, format!("SLOW: p99 is {} ms or more above the bare one", P99_MAX.as_millis()))
        }
        (true, false) => (Verdict::Survived, "ok".to_owned()),
    };
    let milliseconds = |percent| noticed.percentile(percent).as_secs_f64() * 1000.0;
    println!(
        "{:<14}{size:>8}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>8}{:>6}{more:>9}  {text} {notes}",
        flood.name,
        milliseconds(50),
        milliseconds(99),
        milliseconds(100),
        bare.as_secs_f64() * 1000.0,
        noticed.times.len(),
        noticed.lost,
    );
    verdict
}
