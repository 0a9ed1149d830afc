//! Counts the instructions of what a broker does most, and holds them against what they were.
//!
//! ```text
//! cork-counts            compare with dev/counts/figures.toml; fails where one is more than a tenth above
//! cork-counts --write    write dev/counts/figures.toml
//! cork-counts run NAME N do it N times (what valgrind is given)
//! ```
//!
//! A noisy machine spoils times, not counts: valgrind executes the optimised program and counts. Each piece of work
//! runs a few times, and a few times more; what the difference costs is what the work costs, without the start.
#![forbid(unsafe_code)]

mod shard;
mod work;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use work::WORKS;

/// How far above its figure a count may be.
const TOLERANCE: f64 = 0.10;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--write"] => write(),
        ["run", name, times] => run(name, times).map(|()| true),
        _ => {
            eprintln!("usage: cork-counts [--write | run NAME TIMES]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cork-counts: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, times: &str) -> Result<(), Box<dyn Error>> {
    let work = WORKS.iter().find(|work| work.name == name).ok_or_else(|| format!("there is no {name}"))?;
    (work.run)(times.parse()?);
    Ok(())
}

fn figures_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("figures.toml")
}

/// Instructions of one unit of each work.
fn count_all() -> Result<Vec<(&'static str, f64)>, Box<dyn Error>> {
    if cfg!(debug_assertions) {
        return Err("what is not optimised says nothing; run it with --release".into());
    }
    WORKS
        .iter()
        .map(|work| {
            let (few, many) = (count(work.name, work.times)?, count(work.name, 3 * work.times)?);
            let units = 2 * work.times as u64 * work.units;
            Ok((work.name, many.saturating_sub(few) as f64 / units as f64))
        })
        .collect()
}

/// Instructions that one run executes, by valgrind's own count.
fn count(name: &str, times: usize) -> Result<u64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["run", name, &times.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}; install it with: sudo apt-get install valgrind"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(format!("{name}: {said}").into());
    }
    let line =
        said.lines().find(|line| line.contains("refs:")).ok_or_else(|| format!("no count in: {said}"))?;
    let digits: String = line.rsplit(':').next().unwrap_or("").chars().filter(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

fn write() -> Result<bool, Box<dyn Error>> {
    let mut text = String::from(
        "# Instructions, on x86_64: written by `cargo run --release -p cork-counts -- --write`.\n\
         # What a unit is, dev/counts/src/work.rs says.\n",
    );
    for (name, count) in count_all()? {
        text += &format!("{name} = {count:.0}\n");
        println!("{name:20} {count:10.0}");
    }
    fs::write(figures_file(), text)?;
    Ok(true)
}

fn compare() -> Result<bool, Box<dyn Error>> {
    if !cfg!(target_arch = "x86_64") {
        println!("counts: left out: the figures are of x86_64");
        return Ok(true);
    }
    let figures: BTreeMap<String, f64> = figures(&fs::read_to_string(figures_file())?)?;
    let mut sound = true;
    for (name, count) in count_all()? {
        let figure = *figures.get(name).ok_or_else(|| format!("figures.toml has no {name}: use --write"))?;
        let ratio = count / figure;
        let verdict = match ratio {
            _ if ratio > 1.0 + TOLERANCE => "TOO MANY",
            _ if ratio < 1.0 - TOLERANCE => "ok, and so few that the figure should be written anew",
            _ => "ok",
        };
        sound &= ratio <= 1.0 + TOLERANCE;
        println!("counts: {name:20} {count:10.0} instructions, {figure:10.0} before: x{ratio:.3} {verdict}");
    }
    Ok(sound)
}

fn figures(text: &str) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let table: toml::Table = text.parse()?;
    table
        .into_iter()
        .map(|(name, value)| {
            let figure =
                value.as_integer().ok_or_else(|| format!("figures.toml: {name} is no whole number"))?;
            Ok((name, figure as f64))
        })
        .collect()
}
