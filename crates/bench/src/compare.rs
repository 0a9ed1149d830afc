//! `cork bench compare`: brokers side by side, each by itself, in turns.
//!
//! Round by round and shape by shape, one broker after the other is started afresh, measured and ended, so that what
//! disturbs the machine disturbs all alike. The medians of the rounds make the table.

mod broker;
mod interrupt;
mod shapes;
mod table;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::{Args as _, FromArgMatches as _};

use crate::Failure;
use crate::args::{BenchArgs, CompareArgs};
use crate::meter::Reading;
use crate::report::{Report, quote};
use crate::units::{SECOND, nanos};
use broker::{Broker, Running, Workshop};
use shapes::Shape;
use table::Table;

/// Reads a command line of `cork bench`, without those two words.
///
/// # Errors
/// What clap says.
pub(crate) fn parse<T: Into<String>>(line: impl IntoIterator<Item = T>) -> Result<BenchArgs, Failure> {
    let words =
        std::iter::once("bench".to_owned()).chain(line.into_iter().map(Into::into)).map(OsString::from);
    let command = BenchArgs::augment_args(clap::Command::new("bench"));
    let matches = command.try_get_matches_from(words).map_err(|error| Failure::usage(error.to_string()))?;
    BenchArgs::from_arg_matches(&matches).map_err(|error| Failure::usage(error.to_string()))
}

/// Compares; returns whether everything could be measured without a fault.
///
/// # Errors
/// Nothing could be measured at all, or the table cannot be written.
pub(crate) fn run(args: &CompareArgs) -> Result<bool, Failure> {
    let shapes = chosen(args)?;
    let mut brokers = args.broker.iter().map(|text| Broker::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&str> = brokers.iter().map(|broker| broker.name.as_str()).collect();
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(Failure::usage(format!("--broker: there are two with the name {}", twice.1)));
    }
    if !args.no_floor {
        brokers.push(floor()?);
    }
    let mut comparison = Comparison {
        args,
        table: Table::new(&brokers, &shapes, !args.no_floor),
        workshop: Workshop::new()?,
        brokers,
        started: Instant::now(),
    };
    comparison.workshop.end_with_this_process()?;
    let total = args.rounds * shapes.len();
    for round in 0..args.rounds {
        for (number, shape) in shapes.iter().enumerate() {
            comparison.say(&format!(
                "[{}/{total}] {} ({})",
                round * shapes.len() + number + 1,
                shape.name,
                shape.line
            ));
            comparison.turn(shape, round)?;
        }
    }
    comparison.write()?;
    Ok(comparison.table.is_complete())
}

/// The shapes that the user wants.
fn chosen(args: &CompareArgs) -> Result<Vec<Shape>, Failure> {
    let all = shapes::of(args.set);
    let known = || {
        let rows = all.iter().map(|shape| format!("  {:<16} cork bench {}", shape.name, shape.line));
        rows.collect::<Vec<_>>().join("\n")
    };
    for name in &args.scenario {
        if !all.iter().any(|shape| shape.name == name) {
            let set = format!("{:?}", args.set).to_lowercase();
            return Err(Failure::usage(format!("--scenario {name}: the set {set} has these:\n{}", known())));
        }
    }
    let wanted =
        |shape: &&Shape| args.scenario.is_empty() || args.scenario.iter().any(|name| name == shape.name);
    Ok(all.iter().filter(wanted).copied().collect())
}

/// The floor, as a command like the others: this program itself.
fn floor() -> Result<Broker, Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::system("cannot find this program", &error))?;
    let program = program.display().to_string().replace('\'', "'\\''");
    let command = format!(
        "exec '{program}' bench floor --port {{port}} --tls-port {{tls_port}} --ws-port {{ws_port}} --cert {{cert}} --key {{key}}"
    );
    Ok(Broker { name: FLOOR.into(), command })
}

/// Its name in the table.
const FLOOR: &str = "floor";

struct Comparison<'a> {
    args: &'a CompareArgs,
    brokers: Vec<Broker>,
    table: Table,
    workshop: Workshop,
    started: Instant,
}

impl Comparison<'_> {
    fn say(&self, text: &str) {
        let passed = self.started.elapsed().as_secs();
        eprintln!("{:>3}:{:02} {text}", passed / 60, passed % 60);
    }

    /// Each broker once in one shape. Every round begins with another one.
    fn turn(&mut self, shape: &Shape, round: usize) -> Result<(), Failure> {
        let count = self.brokers.len();
        for number in (0..count).map(|number| (number + round) % count) {
            let broker = self.brokers[number].clone();
            if !broker.has(shape.door) || broker.name == FLOOR && !shape.floor {
                continue;
            }
            match self.measure(shape, &broker) {
                Ok(report) => {
                    let first = shape.measures.first();
                    let value = first.and_then(|first| Some((first.name, report.get(first.key)?)));
                    let value = value.map(|(name, value)| format!("{} {name}", crate::units::show(value)));
                    let clean = if report.is_clean() { "" } else { "  with faults" };
                    self.say(&format!("  {:<16} {}{clean}", broker.name, value.unwrap_or_default()));
                    self.keep(shape, &broker, round, &report)?;
                    self.table.add(shape.name, &broker.name, &report);
                }
                Err(failure) => {
                    self.say(&format!("  {:<16} not measured: {failure}", broker.name));
                    self.table.fail(shape.name, &broker.name, &failure.to_string());
                }
            }
        }
        Ok(())
    }

    fn measure(&self, shape: &Shape, broker: &Broker) -> Result<Report, Failure> {
        self.quiet();
        let running = Running::start(broker, shape.door, &self.workshop, READY)?;
        let mut line: Vec<String> = shape.line.split(' ').map(String::from).collect();
        line.extend(running.reach(shape.door, &self.workshop));
        line.extend(["--verify".into(), "--json".into(), format!("--broker-pid={}", running.pid())]);
        if let Some(core) = self.args.core.or_else(last_core) {
            line.push(format!("--core={core}"));
        }
        if matches!(line[0].as_str(), "pairs" | "fan-in" | "fan-out" | "shared" | "wildcard") {
            line.push(format!("--duration={}ms", self.args.duration.as_millis()));
        }
        let args = parse(line)?;
        // On a thread of its own, for the measuring thread is bound to a CPU and stays so.
        std::thread::scope(|scope| {
            let measuring = scope.spawn(|| crate::run(&args));
            measuring.join().unwrap_or_else(|_| Err(Failure::run("the measurement panicked")))
        })
    }

    /// Waits until little else runs on this machine.
    fn quiet(&self) {
        let end = Instant::now() + self.args.quiet;
        while Instant::now() < end {
            let before = Reading::take(None);
            std::thread::sleep(SAMPLE);
            let usage = Reading::take(None).since(&before);
            if usage.percent(usage.machine_cpu) < QUIET_PERCENT {
                return;
            }
        }
    }

    /// Appends one measurement to the raw file.
    fn keep(&self, shape: &Shape, broker: &Broker, round: usize, report: &Report) -> Result<(), Failure> {
        let Some(file) = &self.args.raw else { return Ok(()) };
        let (shape, name) = (quote(shape.name), quote(&broker.name));
        let line = format!(
            "{{\"shape\":{shape},\"broker\":{name},\"round\":{round},\"result\":{}}}\n",
            report.json()
        );
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .and_then(|mut open| open.write_all(line.as_bytes()))
            .map_err(|error| Failure::system(&format!("--raw {}: cannot write it", file.display()), &error))
    }

    fn write(&self) -> Result<(), Failure> {
        let minutes = nanos(self.started.elapsed()) / SECOND / 60;
        let text = self.table.markdown(&self.brokers, self.args, minutes);
        let Some(file) = &self.args.output else {
            let _ = writeln!(std::io::stdout(), "{text}"); // nobody may be reading it
            return Ok(());
        };
        let wrong = |error: &std::io::Error| {
            Failure::system(&format!("--output {}: cannot write it", file.display()), error)
        };
        let old = match std::fs::read_to_string(file) {
            Ok(old) => old,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(wrong(&error)),
        };
        std::fs::write(file, table::replace_section(&old, &text)).map_err(|error| wrong(&error))
    }
}

/// The last CPU, if that leaves one for the broker.
fn last_core() -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores > 1).then(|| cores - 1)
}

const READY: Duration = Duration::from_secs(60);
const SAMPLE: Duration = Duration::from_millis(500);
/// Of one core.
const QUIET_PERCENT: f64 = 15.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(line: &str) -> CompareArgs {
        match parse(line.split(' ')).unwrap().command {
            crate::args::BenchCommand::Compare(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_user_chooses_shapes() {
        let args = compare("compare --broker a=b --scenario pairs-q0,held");
        let names: Vec<&str> = chosen(&args).unwrap().iter().map(|shape| shape.name).collect();
        assert_eq!(names, ["pairs-q0", "held"]);
        let unknown = chosen(&compare("compare --broker a=b --scenario ?")).unwrap_err().to_string();
        assert!(unknown.contains("pairs-q0") && unknown.contains("cork bench pairs --qos 0"), "{unknown}");
    }

    #[test]
    fn two_brokers_of_one_name_are_refused() {
        let error = run(&compare("compare --broker a=b{port} --broker a=c{port}")).unwrap_err();
        assert!(error.to_string().contains("two with the name a"), "{error}");
    }
}
