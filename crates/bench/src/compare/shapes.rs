//! What is compared: command lines of `cork bench`, and the numbers of each that count.

use crate::args::Set;

/// Which door of a broker a shape needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Plain,
    Tls,
    WebSocket,
}

/// A number that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Its key in the report.
    pub(crate) key: &'static str,
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Whether more is better.
    pub(crate) more: bool,
}

/// One shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// The command line behind `cork bench`.
    pub(crate) line: &'static str,
    pub(crate) door: Door,
    /// Whether the floor can do it.
    pub(crate) floor: bool,
    pub(crate) measures: &'static [Measure],
}

const fn more(key: &'static str, name: &'static str) -> Measure {
    Measure { key, name, more: true }
}

const fn less(key: &'static str, name: &'static str) -> Measure {
    Measure { key, name, more: false }
}

const CPU: Measure = less("broker_cpu_us_per_item", "CPU, us each");
const TRAFFIC: &[Measure] = &[more("delivered_per_second", "delivered/s"), CPU];
const LATENCY: &[Measure] = &[
    less("latency_us_p50", "p50, us"),
    less("latency_us_p99", "p99, us"),
    less("latency_us_p999", "p99.9, us"),
    CPU,
];
const KEPT_LATENCY: &[Measure] = &[
    less("latency_us_p99", "delivered, p99, us"),
    less("acknowledged_us_p50", "acknowledged, p50, us"),
    less("acknowledged_us_p99", "acknowledged, p99, us"),
    CPU,
];
const WILDCARD: &[Measure] = &[
    more("delivered_per_second", "delivered/s"),
    CPU,
    more("filters_per_second", "filters taken/s"),
    less("bytes_per_filter", "bytes per filter"),
];
const RETAINED: &[Measure] = &[
    more("stored_per_second", "stored/s"),
    more("delivered_per_second", "delivered/s"),
    less("bytes_per_message", "bytes per message"),
];
const OFFLINE: &[Measure] = &[
    more("queued_per_second", "queued/s"),
    more("drained_per_second", "drained/s"),
    less("bytes_per_message", "bytes per message"),
];
const CONNECT: &[Measure] = &[
    more("connects_per_second", "clean/s"),
    CPU,
    more("resumed_per_second", "resumed/s"),
    less("bytes_per_session", "bytes per session"),
];
const STORM: &[Measure] = &[more("connects_per_second", "connects/s"), CPU];
const HELD: &[Measure] = &[
    less("bytes_per_connection", "bytes per connection"),
    less("ping_cpu_percent", "CPU of keep-alives, %"),
];

const fn shape(name: &'static str, line: &'static str, measures: &'static [Measure]) -> Shape {
    Shape { name, line, door: Door::Plain, floor: false, measures }
}

impl Shape {
    const fn with_floor(self) -> Self {
        Self { floor: true, ..self }
    }

    const fn at(self, door: Door) -> Self {
        Self { door, ..self }
    }
}

const QUICK: &[Shape] = &[
    shape("pairs-q0", "pairs --qos 0", TRAFFIC).with_floor(),
    shape("pairs-q1", "pairs --qos 1", TRAFFIC).with_floor(),
    shape("pairs-q2", "pairs --qos 2", TRAFFIC).with_floor(),
    shape("pairs-q1-kept", "pairs --qos 1 --kept", TRAFFIC),
    shape("latency-q1", "pairs --qos 1 --rate 2000", LATENCY).with_floor(),
    shape("latency-q1-kept", "pairs --qos 1 --kept --rate 1000", KEPT_LATENCY),
    shape("fan-in-q1", "fan-in --qos 1", TRAFFIC).with_floor(),
    shape("fan-out-q0", "fan-out -n 200 --qos 0", TRAFFIC).with_floor(),
    shape("retained", "retained --messages 20k", RETAINED),
    shape("connect", "connections -n 2000 --churn --resume", CONNECT),
    shape("held", "connections -n 2000 --hold 5s", HELD).with_floor(),
    shape("offline", "offline -n 50 --messages 2000", OFFLINE),
];

const FULL: &[Shape] = &[
    shape("pairs-q0", "pairs --qos 0", TRAFFIC).with_floor(),
    shape("pairs-q1", "pairs --qos 1", TRAFFIC).with_floor(),
    shape("pairs-q2", "pairs --qos 2", TRAFFIC).with_floor(),
    shape("pairs-q0-v5", "pairs --qos 0 --protocol 5", TRAFFIC).with_floor(),
    shape("pairs-q1-v5", "pairs --qos 1 --protocol 5", TRAFFIC).with_floor(),
    shape("pairs-500", "pairs -n 500 --window 8", TRAFFIC).with_floor(),
    shape("pairs-16k", "pairs --size 16384 --window 20", TRAFFIC).with_floor(),
    shape("pairs-mix", "pairs --qos 1 --size 16-256*9,4096", TRAFFIC).with_floor(),
    shape("pairs-q1-kept", "pairs --qos 1 --kept", TRAFFIC),
    shape("pairs-q2-kept", "pairs --qos 2 --kept", TRAFFIC),
    shape("latency-q1-kept", "pairs --qos 1 --kept --rate 1000", KEPT_LATENCY),
    shape("pairs-q1-tls", "pairs --qos 1", TRAFFIC).with_floor().at(Door::Tls),
    shape("pairs-q1-ws", "pairs --qos 1", TRAFFIC).with_floor().at(Door::WebSocket),
    shape("latency-q0", "pairs -n 20 --qos 0 --rate 2000", LATENCY).with_floor(),
    shape("latency-q1", "pairs -n 20 --qos 1 --rate 2000", LATENCY).with_floor(),
    shape("latency-q1-20k", "pairs -n 50 --qos 1 --rate 20k", LATENCY).with_floor(),
    shape("fan-in-q0", "fan-in --qos 0", TRAFFIC).with_floor(),
    shape("fan-in-q1", "fan-in --qos 1", TRAFFIC).with_floor(),
    shape("fan-in-q2", "fan-in --qos 2", TRAFFIC).with_floor(),
    shape("fan-out-q0", "fan-out --qos 0", TRAFFIC).with_floor(),
    shape("fan-out-q1", "fan-out --qos 1", TRAFFIC).with_floor(),
    shape("fan-out-q2", "fan-out --qos 2", TRAFFIC).with_floor(),
    shape("fan-out-latency", "fan-out -n 200 --rate 20", LATENCY).with_floor(),
    shape("shared-q1", "shared --qos 1", TRAFFIC),
    shape("wildcard-100k", "wildcard --filters 100k --deadline 120", WILDCARD),
    shape("retained-1m", "retained --messages 1M", RETAINED),
    shape("connect", "connections -n 5000 --churn --resume", CONNECT),
    shape("connect-tls", "connections -n 2000 --churn", STORM).with_floor().at(Door::Tls),
    shape("held-18k", "connections -n 18k --hold 15s", HELD).with_floor(),
    shape("held-2k-tls", "connections -n 2000 --hold 5s", HELD).with_floor().at(Door::Tls),
    shape("offline", "offline -n 100 --messages 5000", OFFLINE),
];

/// The shapes of a set.
pub(crate) const fn of(set: Set) -> &'static [Shape] {
    match set {
        Set::Quick => QUICK,
        Set::Full => FULL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::parse;

    #[test]
    fn every_line_is_one_that_the_user_could_type() {
        for shape in QUICK.iter().chain(FULL) {
            parse(shape.line.split(' ')).unwrap_or_else(|failure| panic!("{}: {failure}", shape.name));
        }
    }

    #[test]
    fn names_are_unique_within_a_set() {
        for set in [QUICK, FULL] {
            let names: std::collections::BTreeSet<&str> = set.iter().map(|shape| shape.name).collect();
            assert_eq!(names.len(), set.len());
        }
    }
}
