//! CPU time and memory: the broker's whole process tree, the generator itself, and the rest of the machine.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use crate::units::{Nanos, SECOND, nanos, ratio};

/// Where the counters stood at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    broker: Option<Tree>,
    own: Nanos,
    own_waited: Nanos,
    machine: Nanos,
}

/// A broker's processes together.
#[derive(Clone, Copy, Debug, Default)]
struct Tree {
    cpu: Nanos,
    rss_bytes: u64,
}

/// What was used between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) time: Nanos,
    /// CPU time of the broker's processes; `None` when nobody said which they are, or they are gone.
    pub(crate) broker_cpu: Option<Nanos>,
    /// CPU time of the thread that read.
    pub(crate) own_cpu: Nanos,
    /// How long that thread could have run and had no CPU.
    pub(crate) own_waited: Nanos,
    /// CPU time of everything on the machine.
    pub(crate) machine_cpu: Nanos,
}

impl Reading {
    /// Reads the counters now, those of the broker if its process is named. Call it on the thread that is measured.
    pub(crate) fn take(broker: Option<u32>) -> Self {
        let schedule = numbers("/proc/thread-self/schedstat");
        Self {
            broker: broker.and_then(tree),
            own: schedule.first().copied().unwrap_or(0),
            own_waited: schedule.get(1).copied().unwrap_or(0),
            machine: machine(),
            at: Instant::now(),
        }
    }

    /// What was used from `earlier` until now.
    pub(crate) fn since(&self, earlier: &Self) -> Usage {
        let broker_cpu = self.broker.zip(earlier.broker).map(|(now, then)| now.cpu.saturating_sub(then.cpu));
        Usage {
            time: nanos(self.at - earlier.at),
            broker_cpu,
            own_cpu: self.own.saturating_sub(earlier.own),
            own_waited: self.own_waited.saturating_sub(earlier.own_waited),
            machine_cpu: self.machine.saturating_sub(earlier.machine),
        }
    }

    /// Resident memory of the broker's processes in bytes.
    pub(crate) fn rss_bytes(&self) -> Option<u64> {
        self.broker.map(|tree| tree.rss_bytes)
    }
}

impl Usage {
    /// Share of one CPU, in percent, that this much CPU time was.
    pub(crate) fn percent(&self, cpu: Nanos) -> f64 {
        ratio(cpu as f64, self.time as f64) * 100.0
    }

    /// Whether the generator's thread was busy all the time while the broker was not: then it was the limit, and the
    /// broker may be faster than measured. Without knowing the broker: whether it was busy.
    pub(crate) fn generator_was_limit(&self) -> bool {
        let busy = self.percent(self.own_cpu + self.own_waited) >= BUSY;
        let broker = self.broker_cpu.map_or(0.0, |cpu| self.percent(cpu));
        // Waiting for a CPU that others have is not being busy.
        let crowded = self.others_percent().is_some_and(|others| others > self.percent(self.own_cpu));
        busy && broker < BUSY && !crowded
    }

    /// Share of one CPU that neither the generator nor the broker used; `None` without knowing the broker.
    pub(crate) fn others_percent(&self) -> Option<f64> {
        Some(self.percent(self.machine_cpu.saturating_sub(self.own_cpu + self.broker_cpu?)))
    }
}

const BUSY: f64 = 95.0;

fn numbers(file: &str) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map_while(|number| number.parse().ok()).collect()
}

/// CPU time of all processes, without what is idle or stolen.
fn machine() -> Nanos {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let fields: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq
    [0, 1, 2, 5, 6].iter().filter_map(|&at| fields.get(at)).sum::<u64>() * nanos_per_tick()
}

fn nanos_per_tick() -> Nanos {
    SECOND / rustix::param::clock_ticks_per_second().max(1)
}

/// One line of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    group: u32,
    ticks: u64,
}

impl Stat {
    fn parse(pid: u32, line: &str) -> Option<Self> {
        // The name of the command stands in brackets and may hold anything.
        let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: u32::try_from(number(1)?).ok()?,
            group: u32::try_from(number(2)?).ok()?,
            ticks: number(11)? + number(12)?,
        })
    }
}

/// The process, what descends from it, and the process group it leads.
fn tree(root: u32) -> Option<Tree> {
    let mut all: Vec<Stat> = Vec::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        all.extend(Stat::parse(pid, &line));
    }
    let members = members(&all, root);
    if members.is_empty() {
        return None;
    }
    let cpu = members.iter().map(|stat| stat.ticks).sum::<u64>() * nanos_per_tick();
    Some(Tree { cpu, rss_bytes: members.iter().map(|stat| rss_bytes(stat.pid)).sum() })
}

fn members(all: &[Stat], root: u32) -> Vec<Stat> {
    let mut pids = BTreeSet::from([root]);
    loop {
        let before = pids.len();
        for stat in all {
            if stat.group == root || pids.contains(&stat.parent) {
                pids.insert(stat.pid);
            }
        }
        if pids.len() == before {
            return all.iter().filter(|stat| pids.contains(&stat.pid)).copied().collect();
        }
    }
}

fn rss_bytes(pid: u32) -> u64 {
    let pages = numbers(&format!("/proc/{pid}/statm")).get(1).copied().unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_have_any_name() {
        let line = "42 (a) b (c) S 7 42 1 0 -1 4 1 2 3 4 50 9 0 0 20 0 1 0 5 6 7";
        assert_eq!(Stat::parse(42, line), Some(Stat { pid: 42, parent: 7, group: 42, ticks: 59 }));
        assert_eq!(Stat::parse(42, "gone"), None);
    }

    #[test]
    fn children_and_the_group_belong_to_it() {
        let stat = |pid, parent, group| Stat { pid, parent, group, ticks: 1 };
        let all = [stat(9, 8, 1), stat(8, 5, 1), stat(5, 1, 5), stat(6, 1, 5), stat(7, 1, 7)];
        let pids: Vec<u32> = members(&all, 5).iter().map(|stat| stat.pid).collect();
        assert_eq!(pids, [9, 8, 5, 6]);
        assert_eq!(members(&all, 77), []);
    }

    #[test]
    fn who_was_the_limit() {
        let usage = |own, waited, broker| Usage {
            time: 100,
            own_cpu: own,
            own_waited: waited,
            broker_cpu: broker,
            machine_cpu: 0,
        };
        assert!(usage(96, 0, Some(50)).generator_was_limit());
        assert!(usage(60, 38, None).generator_was_limit());
        assert!(!usage(96, 0, Some(99)).generator_was_limit());
        assert!(!usage(50, 2, Some(50)).generator_was_limit());
        let crowded = Usage { machine_cpu: 150, ..usage(20, 78, Some(20)) };
        assert!(!crowded.generator_was_limit(), "others had the CPUs");
        assert!((crowded.others_percent().unwrap() - 110.0).abs() < 1e-9);
    }

    #[test]
    fn this_process_uses_something() {
        let before = Reading::take(Some(std::process::id()));
        let end = Instant::now() + std::time::Duration::from_millis(30);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let after = Reading::take(Some(std::process::id()));
        let usage = after.since(&before);
        assert!(usage.own_cpu > 0 && usage.time >= 30_000_000, "{usage:?}");
        assert!(after.rss_bytes().unwrap() > 100_000);
    }
}
