//! Looks after what runs out slowly: space on the disk of the data directory, memory of the process.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cork_core::{Health, Pressure};
use cork_log::Keeper;
use cork_runtime::HealthReport;

use crate::memory::pressure;

/// How often it looks at the disk, and at memory that has no limit.
const EVERY: Duration = Duration::from_secs(1);
/// How often it looks at memory that has one, and which may fill at hundreds of megabytes a second.
const CLOSELY: Duration = Duration::from_millis(50);

/// A thread that looks, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    warn_below: Arc<AtomicU64>,
}

/// What it looks at.
pub(crate) struct Watched {
    /// Where the store is, if there is one.
    pub(crate) store: Option<(PathBuf, Weak<Keeper>)>,
    /// `memory`: what the process may take.
    pub(crate) memory: Option<u64>,
    /// Whom it tells.
    pub(crate) report: HealthReport,
}

impl Watch {
    /// Starts to look.
    ///
    /// # Errors
    /// No threads left.
    pub(crate) fn start(watched: Watched, warn_below: u64) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let warn_below = Arc::new(AtomicU64::new(warn_below));
        let (mark, mut last, mut low) = (Arc::clone(&warn_below), Health::default(), false);
        let (mut health, mut looked) = (Health::default(), None::<Instant>);
        let look = move || loop {
            let due = looked.is_none_or(|looked| looked.elapsed() >= EVERY);
            if due {
                looked = Some(Instant::now());
                watched.look_at_disk(&mut health);
            }
            watched.look_at_memory(&mut health);
            if let (Some(free), Some((folder, _))) = (health.disk_free_bytes, &watched.store) {
                low = judge(free, mark.load(Ordering::Relaxed), low, folder);
            }
            if due && health != last || health.pressure != last.pressure {
                say(&health, last.pressure, watched.memory);
                last = health;
                watched.report.send(health);
            }
            let pause = if watched.memory.is_some() { CLOSELY } else { EVERY };
            if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        };
        let thread = thread::Builder::new().name("cork-watch".to_owned()).spawn(look)?;
        Ok(Self { stop: Some(stop), thread: Some(thread), warn_below })
    }

    /// Another mark holds from now on.
    pub(crate) fn set_warn_below(&self, bytes: u64) {
        self.warn_below.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(target: "broker", "the thread that looks after disk and memory ended by a panic");
        }
    }
}

impl Watched {
    fn look_at_memory(&self, health: &mut Health) {
        health.memory_bytes = resident_bytes().unwrap_or(0);
        if let Some(memory) = self.memory {
            health.pressure = pressure(health.memory_bytes, memory, health.pressure);
        }
    }

    fn look_at_disk(&self, health: &mut Health) {
        if let Some((folder, keeper)) = &self.store {
            health.disk_free_bytes = free_bytes(folder);
            health.store_bytes = keeper.upgrade().map_or(0, |keeper| keeper.stats().used_bytes);
        }
    }
}

/// Says when memory gets short, and when it is not any more.
fn say(health: &Health, before: Pressure, memory: Option<u64>) {
    let (now, resident, memory) = (health.pressure, health.memory_bytes, memory.unwrap_or(0));
    if now >= Pressure::Tight && now > before {
        let consequence = match now {
            Pressure::Short => "clients that publish are read more slowly",
            _ => "QoS 0 messages for slow readers are dropped",
        };
        tracing::warn!(target: "broker", resident, memory, "memory is short: {consequence}");
    } else if before >= Pressure::Tight && now < Pressure::Tight {
        tracing::info!(target: "broker", resident, memory, "memory is not short any more");
    }
}

/// Says once that the mark is crossed, and once that it is left; half of a tenth above it, so that a disk around the mark
/// does not fill the log. Whether it is crossed now.
fn judge(free: u64, mark: u64, low: bool, folder: &Path) -> bool {
    let folder = folder.display();
    if !low && free < mark {
        tracing::warn!(
            target: "store", free, mark, %folder,
            "the disk of the data directory is getting full: make space; on a full disk what needs the store is refused"
        );
        return true;
    }
    if low && free >= mark.saturating_add(mark / 20) {
        tracing::info!(target: "store", free, mark, %folder, "the disk of the data directory has space again");
        return false;
    }
    low
}

/// What is left for us on the disk.
fn free_bytes(folder: &Path) -> Option<u64> {
    let figures = rustix::fs::statvfs(folder).ok()?;
    Some(figures.f_bavail.saturating_mul(figures.f_frsize))
}

/// Resident memory of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_crossed_once_and_left_once() {
        let folder = Path::new("data");
        let mut low = false;
        let mut states = Vec::new();
        for free in [2000, 1000, 999, 1001, 990, 1049, 1050, 1000, 999] {
            low = judge(free, 1000, low, folder);
            states.push(low);
        }
        assert_eq!(states, [false, false, true, true, true, true, false, false, true]);
        assert!(!judge(0, 0, false, folder), "no mark, no warning");
        assert!(!judge(0, 0, true, folder), "nor is one left");
    }

    #[test]
    fn this_process_and_this_disk_can_be_measured() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(free_bytes(Path::new(".")).unwrap() > 0);
        assert_eq!(free_bytes(Path::new("/nothing/here")), None);
    }
}
