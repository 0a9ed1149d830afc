//! The results as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use crate::args::CompareArgs;
use crate::compare::FLOOR;
use crate::compare::broker::Broker;
use crate::compare::shapes::{Door, Measure, Shape};
use crate::report::Report;
use crate::stats::{advantage, best, median, spread_percent};
use crate::units::show;

/// All measurements so far.
#[derive(Debug)]
pub(crate) struct Table {
    shapes: Vec<Shape>,
    /// Without the floor, in the order the user named them.
    names: Vec<String>,
    floor: bool,
    /// By shape, broker and key: one value per round.
    values: BTreeMap<(&'static str, String, &'static str), Vec<f64>>,
    /// What was wrong: shape, broker, and what, with how often.
    faults: BTreeMap<(&'static str, String, String), usize>,
    /// Measurements in all, and those during which others used the machine.
    runs: (usize, usize),
}

impl Table {
    pub(crate) fn new(brokers: &[Broker], shapes: &[Shape], floor: bool) -> Self {
        let names = brokers.iter().map(|broker| broker.name.clone()).filter(|name| name != FLOOR);
        Self {
            shapes: shapes.to_vec(),
            names: names.collect(),
            floor,
            values: BTreeMap::new(),
            faults: BTreeMap::new(),
            runs: (0, 0),
        }
    }

    /// Adds one measurement.
    pub(crate) fn add(&mut self, shape: &'static str, broker: &str, report: &Report) {
        for number in &report.numbers {
            let key = (shape, broker.to_owned(), number.key);
            self.values.entry(key).or_default().push(number.value);
        }
        self.runs.0 += 1;
        self.runs.1 += usize::from(report.get("others_cpu_percent").is_some_and(|others| others > NOISE));
        for (name, count) in report.faults.each() {
            let lost_at_qos_0 = report.is_clean() && name == "lost";
            if count > 0 && !lost_at_qos_0 {
                self.fail(shape, broker, &format!("messages or connections {name}"));
            }
        }
        if let Some(lost) =
            report.get("lost_percent").filter(|_| report.is_clean()).filter(|lost| *lost > 0.005)
        {
            self.fail(shape, broker, &format!("{lost:.1} % lost, as QoS 0 allows"));
        }
        if report.get("generator_was_limit") == Some(1.0) {
            self.fail(shape, broker, "the generator was the limit: it may be faster");
        }
    }

    /// Notes that something was wrong with a measurement.
    pub(crate) fn fail(&mut self, shape: &'static str, broker: &str, why: &str) {
        let why = why.replace('\n', " ");
        *self.faults.entry((shape, broker.to_owned(), why)).or_default() += 1;
    }

    /// Whether there is a value for everything that was asked for and could be measured.
    pub(crate) fn is_complete(&self) -> bool {
        let failed = |shape: &Shape, name: &String| {
            self.faults.keys().any(|(other, broker, _)| *other == shape.name && broker == name)
        };
        self.shapes.iter().all(|shape| {
            let first = shape.measures.first().map_or("", |measure| measure.key);
            self.names
                .iter()
                .all(|name| self.median(shape.name, name, first).is_some() || !failed(shape, name))
        })
    }

    fn median(&self, shape: &'static str, broker: &str, key: &'static str) -> Option<f64> {
        median(self.values.get(&(shape, broker.to_owned(), key))?)
    }

    /// How many times as good the broker is as the best of the others, without the floor.
    fn against_others(&self, shape: &Shape, broker: &str, measure: Measure) -> Option<f64> {
        let own = self.median(shape.name, broker, measure.key)?;
        let others = self.names.iter().filter(|name| *name != broker);
        let values = others.filter_map(|name| self.median(shape.name, name, measure.key));
        advantage(own, best(values, measure.more)?, measure.more)
    }

    /// The section for a Markdown file, marks included.
    pub(crate) fn markdown(&self, brokers: &[Broker], args: &CompareArgs, minutes: u64) -> String {
        let mut text = format!("{BEGIN}\n");
        self.introduce(&mut text, brokers, args, minutes);
        self.rows(&mut text);
        self.lost_to(&mut text);
        self.remarks(&mut text, brokers);
        text.push_str(END);
        text.push('\n');
        text
    }

    // Writing to a string does not fail; so the results are let go.

    fn introduce(&self, text: &mut String, brokers: &[Broker], args: &CompareArgs, minutes: u64) {
        let _ = writeln!(text, "## Brokers side by side\n");
        let set = format!("{:?}", args.set).to_lowercase();
        let _ = writeln!(
            text,
            "Written by `cork bench compare --set {set} --rounds {}` in {minutes} min, on {}. Each value is the median \
             of {} measurements; for each one the broker was started afresh, and the brokers took turns. In brackets: how \
             many times as good as the best of the *other* brokers, whether more or less is better.{} CPU is that of the \
             broker's whole process tree, kernel included. During {} of {} measurements other processes used more than \
             {NOISE} % of a core.\n",
            args.rounds,
            machine(),
            args.rounds,
            if self.floor {
                " The floor only copies bytes and acknowledges: what this machine's sockets and the generator allow; in \
                 brackets how the first broker stands to it."
            } else {
                ""
            },
            self.runs.1,
            self.runs.0,
        );
        for broker in brokers.iter().filter(|broker| broker.name != FLOOR) {
            let _ = writeln!(text, "- {}: `{}`", broker.name, broker.command);
        }
        text.push('\n');
    }

    fn rows(&self, text: &mut String) {
        let floor = if self.floor { " floor |" } else { "" };
        let _ = writeln!(text, "| Shape | | {} |{floor}", self.names.join(" | "));
        let _ =
            writeln!(text, "| --- | --- |{}", " ---: |".repeat(self.names.len() + usize::from(self.floor)));
        for shape in &self.shapes {
            for (number, measure) in shape.measures.iter().enumerate() {
                let name = if number == 0 { shape.name } else { "" };
                let _ = write!(text, "| {name} | {} |", measure.name);
                for broker in &self.names {
                    let _ = write!(text, " {} |", self.cell(shape, broker, *measure));
                }
                if self.floor {
                    let _ = write!(text, " {} |", self.floor_cell(shape, *measure));
                }
                text.push('\n');
            }
        }
        text.push('\n');
    }

    fn cell(&self, shape: &Shape, broker: &str, measure: Measure) -> String {
        let Some(value) = self.median(shape.name, broker, measure.key) else { return "-".into() };
        let ratio = self.against_others(shape, broker, measure);
        let ratio = ratio.map(|ratio| format!(" ({})", times(ratio))).unwrap_or_default();
        format!("{}{ratio}", show(value))
    }

    /// The floor, and how the first broker stands to it.
    fn floor_cell(&self, shape: &Shape, measure: Measure) -> String {
        let Some(floor) = self.median(shape.name, FLOOR, measure.key) else { return "-".into() };
        let first = self.names.first().and_then(|first| {
            let ratio = advantage(self.median(shape.name, first, measure.key)?, floor, measure.more)?;
            Some(format!(" ({first} {})", times(ratio)))
        });
        format!("{}{}", show(floor), first.unwrap_or_default())
    }

    /// Where the first broker is not the best, said plainly.
    fn lost_to(&self, text: &mut String) {
        let Some(first) = self.names.first().filter(|_| self.names.len() > 1) else { return };
        let mut behind = Vec::new();
        for shape in &self.shapes {
            for measure in shape.measures {
                if let Some(ratio) = self.against_others(shape, first, *measure).filter(|ratio| *ratio < 1.0)
                {
                    behind.push(format!("{} {} ({})", shape.name, measure.name, times(ratio)));
                }
            }
        }
        let _ = if behind.is_empty() {
            writeln!(text, "{first} is not behind another broker in any of these.\n")
        } else {
            writeln!(text, "{first} is behind another broker in: {}.\n", behind.join("; "))
        };
    }

    fn remarks(&self, text: &mut String, brokers: &[Broker]) {
        for ((shape, broker, why), count) in &self.faults {
            let _ = writeln!(text, "- {shape}, {broker}: {why} ({count} times)");
        }
        for broker in brokers {
            for shape in &self.shapes {
                let Some(measure) = shape.measures.first() else { continue };
                let Some(values) = self.values.get(&(shape.name, broker.name.clone(), measure.key)) else {
                    continue;
                };
                let spread = spread_percent(values);
                if spread > SPREAD {
                    let _ = writeln!(
                        text,
                        "- {}, {}: {} differs by {spread:.0} % between rounds",
                        shape.name, broker.name, measure.name
                    );
                }
            }
        }
        text.push_str("\nThe shapes, to be run alone:\n\n");
        for shape in &self.shapes {
            let door = match shape.door {
                Door::Plain => "",
                Door::Tls => ", over TLS (`--url mqtts://...`)",
                Door::WebSocket => ", over WebSocket (`--url ws://...`)",
            };
            let _ = writeln!(text, "- {}: `cork bench {}`{door}", shape.name, shape.line);
        }
    }
}

/// How many times as good, with two digits that say something.
fn times(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 10.0 => format!("x{ratio:.0}"),
        ratio if ratio >= 0.1 => format!("x{ratio:.2}"),
        ratio => format!("x{ratio:.4}"),
    }
}

/// Of one core, that is noise.
const NOISE: f64 = 15.0;
/// Between rounds, in percent, that is worth a remark.
const SPREAD: f64 = 25.0;

const BEGIN: &str = "<!-- cork bench compare: begin; what stands here is replaced -->";
const END: &str = "<!-- cork bench compare: end -->";

/// `old` with the marked section replaced by `new`, or with `new` at its end.
pub(crate) fn replace_section(old: &str, new: &str) -> String {
    let marks = old.find(BEGIN).and_then(|begin| Some((begin, begin + old[begin..].find(END)? + END.len())));
    match marks {
        Some((begin, end)) => format!("{}{}{}", &old[..begin], new.trim_end(), &old[end..]),
        None if old.is_empty() => format!("# Benchmarks\n\n{new}"),
        None => format!("{}\n\n{new}", old.trim_end()),
    }
}

/// What it was measured on.
fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line =
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_prefix(':').or(Some(line)));
        line.map(|line| line.trim().to_owned())
    };
    let processor =
        value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processors".into());
    let memory = read("/proc/meminfo");
    let kilobytes =
        memory.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} CPUs ({processor}), {:.0} GB of memory, Linux {}", kilobytes / 1e6, kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{BenchCommand, Set};
    use crate::compare::{parse, shapes};
    use cork_packet::QoS;

    fn report(delivered: f64, cpu: f64, lost: u64) -> Report {
        let mut report = Report::new("pairs", QoS::AtLeastOnce);
        report.put("delivered_per_second", "", "", delivered);
        report.put("broker_cpu_us_per_item", "", "", cpu);
        report.faults.lost = lost;
        report
    }

    fn table(ours: &[Report], theirs: &[Report]) -> (Table, Vec<Broker>) {
        let broker = |name: &str| Broker { name: name.into(), command: format!("{name} {{port}}") };
        let brokers = vec![broker("ours"), broker("theirs"), broker(FLOOR)];
        let shapes: Vec<Shape> = shapes::of(Set::Quick)[1..2].to_vec();
        let mut table = Table::new(&brokers, &shapes, true);
        for report in ours {
            table.add("pairs-q1", "ours", report);
        }
        for report in theirs {
            table.add("pairs-q1", "theirs", report);
        }
        (table, brokers)
    }

    fn markdown(table: &Table, brokers: &[Broker]) -> String {
        let BenchCommand::Compare(args) = parse(["compare", "--broker", "a={port}"]).unwrap().command else {
            panic!()
        };
        table.markdown(brokers, &args, 3)
    }

    #[test]
    fn medians_and_ratios_in_both_directions() {
        let ours = [report(100.0, 2.0, 0), report(300.0, 9.0, 0), report(200.0, 2.0, 0)];
        let (table, brokers) = table(&ours, &[report(100.0, 1.0, 0)]);
        let text = markdown(&table, &brokers);
        assert!(text.contains("| pairs-q1 | delivered/s | 200 (x2.00) | 100 (x0.50) | - |"), "{text}");
        assert!(text.contains("|  | CPU, us each | 2.00 (x0.50) | 1.00 (x2.00) | - |"), "{text}");
        assert!(text.contains("ours is behind another broker in: pairs-q1 CPU, us each (x0.50)."), "{text}");
        assert!(text.contains("differs by 100 % between rounds"), "{text}");
        assert!(table.is_complete());
    }

    #[test]
    fn faults_and_gaps_are_told() {
        let (mut table, brokers) = table(&[report(1.0, 1.0, 4)], &[]);
        table.fail("pairs-q1", "theirs", "does not\nanswer");
        let text = markdown(&table, &brokers);
        assert!(text.contains("- pairs-q1, ours: messages or connections lost (1 times)"), "{text}");
        assert!(text.contains("- pairs-q1, theirs: does not answer (1 times)"), "{text}");
        assert!(!table.is_complete());
    }

    #[test]
    fn only_the_marked_section_is_replaced() {
        let first = replace_section("", &format!("{BEGIN}\none\n{END}\n"));
        assert!(first.starts_with("# Benchmarks\n"));
        let page = format!("# Mine\n\nbefore\n\n{BEGIN}\none\n{END}\n\nafter\n");
        let second = replace_section(&page, &format!("{BEGIN}\ntwo\n{END}\n"));
        assert_eq!(second, page.replace("one", "two"));
        let third = replace_section("# Mine\n", &format!("{BEGIN}\n{END}\n"));
        assert_eq!(third, format!("# Mine\n\n{BEGIN}\n{END}\n"));
    }
}
