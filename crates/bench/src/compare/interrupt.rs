//! Ctrl-C while brokers are compared: the broker that runs is in a process group of its own, so that it can be ended
//! with all it started, and hears nothing of the terminal. It is ended here.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Failure;

/// Which process group runs at the moment; 0 for none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group(Arc<AtomicI32>);

impl Group {
    /// Notes that the group of `pid` runs.
    pub(crate) fn runs(&self, pid: u32) {
        self.0.store(i32::try_from(pid).unwrap_or(0), SeqCst);
    }

    /// Sends the group a signal, if there is one. Gone already is as good.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.0.load(SeqCst)) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Ends the group for good.
    pub(crate) fn end(&self) {
        self.signal(Signal::KILL);
        self.0.store(0, SeqCst);
    }

    /// From now on a signal that ends this process ends the group first, and removes `folder`.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn end_with_this_process(&self, folder: PathBuf) -> Result<(), Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| Failure::system("cannot listen for Ctrl-C", &error))?;
        let group = self.clone();
        thread::spawn(move || {
            let Some(signal) = signals.forever().next() else { return };
            group.signal(Signal::TERM);
            thread::sleep(PATIENCE);
            group.end();
            // A rest in the folder for temporary files hurts nobody.
            let _ = std::fs::remove_dir_all(folder);
            std::process::exit(128 + signal);
        });
        Ok(())
    }
}

/// For a broker to end by itself.
const PATIENCE: Duration = Duration::from_millis(500);
