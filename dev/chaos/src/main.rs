//! Chaos for the real binary: a load that keeps a ledger, and disasters: kills, power cuts, failing and full disks.
//!
//! `cork-chaos cut --seed 7 --rounds 20` starts the broker with its data on a disk of our own (FUSE), lets a crowd of
//! clients publish and subscribe, cuts the power at random moments, starts it again, and in the end compares what was
//! acknowledged with what came. `--broker mosquitto` does the same to Mosquitto. Exit code 1: something was wrong.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use options::{Mode, Options, USAGE};

mod broker;
mod disk;
mod full;
mod ledger;
mod link;
mod member;
mod options;
mod rounds;
mod session;
mod trace;
mod wills;
mod world;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut right = true;
    for mode in &options.modes {
        println!("{}: {:?}, seed {}", mode.name(), options.broker, options.seed);
        match attempt(*mode, &options) {
            Ok(clean) => right &= clean,
            Err(wrong) => {
                println!("{}: {wrong}", mode.name());
                right = false;
            }
        }
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a mode in a folder of its own, which stays if something was wrong.
fn attempt(mode: Mode, options: &Options) -> Result<bool, String> {
    let folder = rounds::folder(mode)?;
    let done = match mode {
        Mode::Kill | Mode::Cut | Mode::Sync => rounds::run(mode, options, &folder),
        Mode::Full | Mode::FullCut => full::run(mode, options, &folder),
        Mode::Trace => trace::run(options, &folder),
    };
    if matches!(done, Ok(true)) {
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        println!("  what is left: {}", folder.display());
    }
    done
}
