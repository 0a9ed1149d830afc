//! The result of a run: numbers with names and units, faults, remarks; as a table and as JSON.

use std::fmt::Write as _;

use cork_packet::QoS;
use hdrhistogram::Histogram;

use crate::check::Faults;
use crate::latency::micros;
use crate::meter::Usage;
use crate::units::{ratio, show};

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// Its name in JSON, with the unit at its end.
    pub key: &'static str,
    /// What it is, for people.
    pub label: &'static str,
    /// Its unit, for people.
    pub unit: &'static str,
    /// The value.
    pub value: f64,
}

/// The result of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which scenario.
    pub scenario: String,
    /// What was measured, in the order of the table.
    pub numbers: Vec<Number>,
    /// What went wrong.
    pub faults: Faults,
    /// What the reader should know.
    pub remarks: Vec<String>,
    may_lose: bool,
}

impl Report {
    pub(crate) fn new(scenario: impl Into<String>, qos: QoS) -> Self {
        Self {
            scenario: scenario.into(),
            numbers: Vec::new(),
            faults: Faults::default(),
            remarks: Vec::new(),
            may_lose: qos == QoS::AtMostOnce,
        }
    }

    /// The number with this key.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.numbers.iter().find(|number| number.key == key).map(|number| number.value)
    }

    /// Whether nothing went wrong that must not; QoS 0 may lose.
    pub fn is_clean(&self) -> bool {
        self.faults.total(self.may_lose) == 0
    }

    pub(crate) fn put(&mut self, key: &'static str, label: &'static str, unit: &'static str, value: f64) {
        self.numbers.push(Number { key, label, unit, value });
    }

    pub(crate) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// CPU of broker and generator, the broker's also for each of `items` deliveries.
    pub(crate) fn put_usage(&mut self, usage: &Usage, items: u64) {
        if let Some(cpu) = usage.broker_cpu {
            self.put("broker_cpu_percent", "broker's CPU", "% of a core", usage.percent(cpu));
            if items > 0 {
                let each = ratio(cpu as f64 / 1e3, items as f64);
                self.put("broker_cpu_us_per_item", "broker's CPU for each", "us", each);
            }
        }
        self.put("generator_cpu_percent", "generator's CPU", "% of a core", usage.percent(usage.own_cpu));
        self.put(
            "generator_waited_percent",
            "generator waited for a CPU",
            "% of the time",
            usage.percent(usage.own_waited),
        );
        let others = usage.others_percent();
        if let Some(others) = others {
            self.put("others_cpu_percent", "CPU of everybody else", "% of a core", others);
        }
        let limit = usage.generator_was_limit();
        self.put("generator_was_limit", "generator was the limit", "1 = yes", f64::from(u8::from(limit)));
        if others.is_some_and(|others| others > NOISE) {
            self.remark("other processes used this machine: rates and latencies are worse than they need be");
        } else if limit {
            self.remark(if usage.broker_cpu.is_some() {
                "the generator was busy all the time and the broker was not: the broker may be faster than this"
            } else {
                "the generator was busy all the time: the broker may be faster than this (--broker-pid tells)"
            });
        }
    }

    /// Percentiles of a distribution of times.
    pub(crate) fn put_latency(&mut self, times: &Histogram<u64>) {
        let rows = [
            ("latency_us_p50", "latency, half below", 0.5),
            ("latency_us_p90", "latency, 90 % below", 0.9),
            ("latency_us_p99", "latency, 99 % below", 0.99),
            ("latency_us_p999", "latency, 99.9 % below", 0.999),
            ("latency_us_max", "latency, largest", 1.0),
        ];
        for (key, label, quantile) in rows {
            self.put(key, label, "us", micros(times, quantile));
        }
    }

    /// The same of the time until the publisher had PUBACK or PUBCOMP.
    pub(crate) fn put_acknowledgement(&mut self, times: &Histogram<u64>) {
        let rows = [
            ("acknowledged_us_p50", "acknowledged, half within", 0.5),
            ("acknowledged_us_p99", "acknowledged, 99 % within", 0.99),
            ("acknowledged_us_p999", "acknowledged, 99.9 % within", 0.999),
        ];
        for (key, label, quantile) in rows {
            self.put(key, label, "us", micros(times, quantile));
        }
    }

    /// Growth of memory for each of `items`.
    pub(crate) fn put_growth(
        &mut self,
        key: &'static str,
        label: &'static str,
        before: Option<u64>,
        after: Option<u64>,
        items: u64,
    ) {
        if let (Some(before), Some(after)) = (before, after) {
            self.put(key, label, "bytes", ratio(after as f64 - before as f64, items as f64));
        }
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}\n", self.scenario);
        // Writing to a string does not fail.
        for number in &self.numbers {
            let _ = writeln!(text, "  {:<28} {:>10}  {}", number.label, show(number.value), number.unit);
        }
        let faults: Vec<String> = (self.faults.each().iter().filter(|(_, count)| *count > 0))
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let faults = if faults.is_empty() { "none".into() } else { faults.join(", ") };
        let _ = writeln!(text, "  {:<28} {faults}", "faults");
        for remark in &self.remarks {
            let _ = writeln!(text, "  note: {remark}");
        }
        text
    }

    /// One JSON object, without a line break.
    pub(crate) fn json(&self) -> String {
        let mut text = format!("{{\"scenario\":{}", quote(&self.scenario));
        for number in &self.numbers {
            let _ = write!(text, ",\"{}\":{}", number.key, json_number(number.value));
        }
        for (name, count) in self.faults.each() {
            let _ = write!(text, ",\"{name}\":{count}");
        }
        let remarks: Vec<String> = self.remarks.iter().map(|remark| quote(remark)).collect();
        let _ = write!(text, ",\"ok\":{},\"remarks\":[{}]}}", self.is_clean(), remarks.join(","));
        text
    }
}

/// Percent of a core that others may use before it is worth a remark.
const NOISE: f64 = 15.0;

/// JSON knows no infinity.
fn json_number(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { "null".into() }
}

/// A string of JSON.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_json() {
        let mut report = Report::new("pairs \"x\"", QoS::AtLeastOnce);
        report.put("a_us", "a", "us", 0.25);
        report.put("b", "b", "", f64::INFINITY);
        report.remark("tab\there");
        assert_eq!(
            report.json(),
            "{\"scenario\":\"pairs \\\"x\\\"\",\"a_us\":0.25,\"b\":null,\"lost\":0,\"duplicated\":0,\"reordered\":0,\
             \"corrupt\":0,\"misrouted\":0,\"refused\":0,\"ended\":0,\"stalled\":0,\"forgotten\":0,\"ok\":true,\
             \"remarks\":[\"tab\\u0009here\"]}"
        );
    }

    #[test]
    fn faults_are_told() {
        let mut report = Report::new("fan-in", QoS::AtMostOnce);
        report.faults.lost = 3;
        assert!(report.is_clean() && report.table().contains("3 lost"));
        report.faults.corrupt = 1;
        assert!(!report.is_clean() && report.table().contains("3 lost, 1 corrupt"));
    }
}
