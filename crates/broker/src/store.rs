//! The durable store of a broker: looked at, saved, taken out and put in from outside.

use std::{
    fmt,
    io::{self, BufRead},
    path::Path,
    sync::Arc,
};

use cork_log::{ImportError, Keeper, Options};
use cork_store::{Message, Recovered};

use crate::{
    config::{Config, Durability},
    data_dir::DataDir,
    memory,
};

pub use cork_log::{CheckReport, Cut, Damage, OpenError, Repaired, check, export};

/// Why a data directory could not be worked on.
#[derive(Debug)]
#[non_exhaustive]
pub enum ToolError {
    /// It belongs to another process, or cannot be used.
    DataDir(io::Error),
    /// The log in it cannot be read or written.
    Log(OpenError),
    /// What was to be imported is wrong.
    Import(ImportError),
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
            Self::Import(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ToolError {}

/// Saves what is sound of a damaged log, see [`cork_log::repair`]. No broker may be running on the data directory.
///
/// # Errors
/// See [`ToolError`].
pub fn repair(data_dir: &Path) -> Result<Repaired, ToolError> {
    // Before the lock, which makes the folder: a name that is mistyped shall not become one.
    check(data_dir).map_err(ToolError::Log)?;
    let _owner = DataDir::open(data_dir).map_err(ToolError::DataDir)?;
    cork_log::repair(data_dir).map_err(ToolError::Log)
}

/// Makes a log of what [`export`] wrote, in a data directory without one: how many lines that were.
///
/// # Errors
/// See [`ToolError`].
pub fn import(data_dir: &Path, from: &mut dyn BufRead) -> Result<usize, ToolError> {
    let _owner = DataDir::open(data_dir).map_err(ToolError::DataDir)?;
    cork_log::import(data_dir, from).map_err(ToolError::Import)
}

/// Opens the store in the data directory.
pub(crate) fn open(
    config: &Config,
    wants: &mut cork_log::Wants<'_>,
) -> Result<(Keeper, Recovered, Vec<Arc<Message>>), OpenError> {
    let durability = match config.durability {
        Durability::Always => cork_log::Durability::Always,
        Durability::Interval(time) => cork_log::Durability::Interval(time),
        Durability::None => cork_log::Durability::None,
    };
    let begun = std::time::Instant::now();
    let live_bytes_max = Some(config.limits.store_max_bytes).filter(|bytes| *bytes > 0);
    let retained_bytes_max = config.memory.map_or(u64::MAX, memory::retained_bytes);
    let options = Options { durability, live_bytes_max, retained_bytes_max, ..Options::default() };
    let (keeper, recovered, report) = Keeper::open_with(&config.data_dir, options, wants)?;
    if let Some(cut) = &report.cut {
        tracing::warn!(
            target: "store", "the store ended in {cut}, as a crash leaves it: it is cut off; nobody was told that it was stored"
        );
    }
    if report.full && report.segments == 0 {
        let mib = options.segment_bytes >> 20;
        tracing::error!(
            target: "store", "the disk has no space for the first {mib} MiB of the store, and {} MiB more in reserve: \
             clients with a Session or a Will are refused, and whoever publishes for them", 2 * mib
        );
    } else if report.full {
        tracing::error!(target: "store", "no space is left for the store: what it has is delivered, nothing new is taken");
    }
    let (sessions, retained) = (recovered.sessions.len(), recovered.retained.len());
    if sessions + retained > 0 {
        let queued: u64 = recovered.sessions.iter().map(|session| session.queue.messages).sum();
        let milliseconds = begun.elapsed().as_millis();
        tracing::info!(target: "store", sessions, retained, queued, milliseconds, "taken up from the store");
    }
    Ok((keeper, recovered, report.remembered))
}
