//! The durable store of a broker: opened, and what it found told.

use std::path::Path;

use cork_log::{Keeper, OpenError, Options};
use cork_store::Recovered;

use crate::config::Durability;

/// Opens the store in the data directory.
pub(crate) fn open(data_dir: &Path, durability: Durability) -> Result<(Keeper, Recovered), OpenError> {
    let durability = match durability {
        Durability::Always => cork_log::Durability::Always,
        Durability::Interval(time) => cork_log::Durability::Interval(time),
        Durability::None => cork_log::Durability::None,
    };
    let begun = std::time::Instant::now();
    let (keeper, recovered, report) = Keeper::open(data_dir, Options { durability, ..Options::default() })?;
    if let Some(cut) = &report.cut {
        tracing::warn!(
            "the store ended in {cut}, as a crash leaves it: it is cut off; nobody was told that it was stored"
        );
    }
    if report.full {
        tracing::error!("no space is left for the store: what it has is delivered, nothing new is taken");
    }
    let (sessions, retained) = (recovered.sessions.len(), recovered.retained.len());
    if sessions + retained > 0 {
        let queued: u64 = recovered.sessions.iter().map(|session| session.queue.messages).sum();
        let milliseconds = begun.elapsed().as_millis();
        tracing::info!(sessions, retained, queued, milliseconds, "taken up from the store");
    }
    Ok((keeper, recovered))
}
