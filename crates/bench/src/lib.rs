//! `cork bench`: measures MQTT brokers from outside, and checks whether every message arrived as it was sent.
//!
//! Each scenario runs on one thread (`pairs` on several, if asked): an event loop of its own over `cork-packet`, so
//! that the generator costs less than the broker it measures. All payloads carry who sent them, their number, the time
//! they were due and a checksum. What is measured, and how, is written down in `docs/bench.md`.
//!
//! The command line is a value of [`BenchArgs`], made by clap; [`main`] does what it says and returns the exit code.
//! [`run`] returns the numbers instead of printing them.
//!
//! ```no_run
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Line {
//!     #[command(flatten)]
//!     bench: cork_bench::BenchArgs,
//! }
//!
//! let line = Line::parse_from(["bench", "pairs", "--qos", "1", "--messages", "100k"]);
//! let report = cork_bench::run(&line.bench)?;
//! println!("{:?} messages/s", report.get("delivered_per_second"));
//! # Ok::<(), cork_bench::Failure>(())
//! ```
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

mod args;
mod check;
mod compare;
mod connections;
mod dial;
mod drive;
mod engine;
mod failure;
mod feed;
mod floor;
mod latency;
mod live;
mod machine;
mod meter;
mod pace;
mod payload;
mod progress;
mod publisher;
mod report;
mod shape;
mod sizes;
mod stats;
mod stored;
mod target;
mod tls;
mod traffic;
mod units;
mod websocket;
mod wildcard;
mod wire;

pub use args::BenchArgs;
pub use check::Faults;
pub use failure::Failure;
pub use report::{Number, Report};

use args::{BenchCommand, TargetArgs};
use shape::Shape;
use wildcard::Wildcard;

/// Everything was measured, and with `--verify` nothing was wrong.
pub const EXIT_FINE: u8 = 0;
/// Measured, but `--verify` found faults; or `compare` could not measure everything.
pub const EXIT_FAULTS: u8 = 1;
/// The command line asks for something that cannot be.
pub const EXIT_USAGE: u8 = 2;
/// Nothing was measured: the broker is not there or refuses, or this machine lacks something.
pub const EXIT_FAILED: u8 = 3;

/// Does what the command line says and prints the result; returns the exit code.
pub fn main(args: &BenchArgs) -> ExitCode {
    let done = match &args.command {
        BenchCommand::Compare(args) => compare::run(args),
        BenchCommand::Floor(args) => floor::serve(args).map(|()| true),
        command => run(args).map(|report| print(&report, target(command))),
    };
    ExitCode::from(match done {
        Ok(true) => EXIT_FINE,
        Ok(false) => EXIT_FAULTS,
        Err(failure) => {
            eprintln!("cork bench: {failure}");
            failure.exit_code()
        }
    })
}

/// Prints the result as the user wants it; returns whether it is as the user wants it.
fn print(report: &Report, target: Option<&TargetArgs>) -> bool {
    let (json, verify) = target.map_or((false, false), |target| (target.json, target.verify));
    // Whoever asked may have stopped reading: no reason to panic.
    let _ = writeln!(std::io::stdout(), "{}", if json { report.json() } else { report.table() });
    !verify || report.is_clean()
}

/// Measures one scenario.
///
/// # Errors
/// Why there is nothing measured.
pub fn run(args: &BenchArgs) -> Result<Report, Failure> {
    match &args.command {
        BenchCommand::Connections(args) => connections::run(args),
        BenchCommand::Pairs(args) => {
            let threads = args.threads.clamp(1, args.pairs.max(1));
            let part = |thread: usize| Shape::Pairs { pairs: (args.pairs + thread) / threads };
            let parts: Vec<Shape> = (0..threads).map(part).collect();
            live::run(&format!("pairs, {}", args.pairs), &args.traffic, &parts)
        }
        BenchCommand::FanIn(args) => {
            let shape = Shape::FanIn { publishers: args.publishers };
            live::run(&format!("fan-in, {} to 1", args.publishers), &args.traffic, &[shape])
        }
        BenchCommand::FanOut(args) => {
            let shape = Shape::FanOut { subscribers: at_least_one("subscribers", args.subscribers)? };
            live::run(&format!("fan-out, 1 to {}", args.subscribers), &args.traffic, &[shape])
        }
        BenchCommand::Shared(args) => {
            let members = at_least_one("members", args.members)?;
            let shape = Shape::Shared { publishers: args.publishers, members };
            live::run(
                &format!("shared, {} to a group of {members}", args.publishers),
                &args.traffic,
                &[shape],
            )
        }
        BenchCommand::Wildcard(args) => {
            let filters = usize::try_from(args.filters).unwrap_or(usize::MAX);
            if !(3..=3_000_000).contains(&filters) {
                return Err(Failure::usage(format!("--filters {filters}: there can be 3 to 3 million")));
            }
            let filters = Wildcard::new(filters, args.subscribers, 1);
            let title = format!("wildcard, {} filters", filters.len());
            live::run(&title, &args.traffic, &[Shape::Wildcard { publishers: args.publishers, filters }])
        }
        BenchCommand::Retained(args) => stored::retained(args),
        BenchCommand::Offline(args) => stored::offline(args),
        BenchCommand::Compare(_) | BenchCommand::Floor(_) => Err(Failure::usage("this is no scenario")),
    }
}

fn at_least_one(option: &str, number: usize) -> Result<usize, Failure> {
    if number == 0 {
        Err(Failure::usage(format!("--{option} 0 measures nothing; give 1 at least")))
    } else {
        Ok(number)
    }
}

const fn target(command: &BenchCommand) -> Option<&TargetArgs> {
    match command {
        BenchCommand::Connections(args) => Some(&args.target),
        BenchCommand::Pairs(args) => Some(&args.traffic.target),
        BenchCommand::FanIn(args) => Some(&args.traffic.target),
        BenchCommand::FanOut(args) => Some(&args.traffic.target),
        BenchCommand::Shared(args) => Some(&args.traffic.target),
        BenchCommand::Wildcard(args) => Some(&args.traffic.target),
        BenchCommand::Retained(args) => Some(&args.target),
        BenchCommand::Offline(args) => Some(&args.target),
        BenchCommand::Compare(_) | BenchCommand::Floor(_) => None,
    }
}
