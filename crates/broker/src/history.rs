//! The history of a broker: opened before its store, which may have what a crash kept from it.

use std::{path::Path, sync::Arc};

use cork_core::HistoryTable;
use cork_history::{Engine, Rules, Vault, wall};
use cork_store::{Message, WallTime};

pub use cork_history::wall as now;
pub use cork_history::{
    Cache, Counters, OpenError as HistoryError, Point, Report, Rule, Series, SeriesAnswer, SeriesQuery,
    Vault as History,
};
pub use cork_settings::units::parse_duration;

use crate::{
    config::{Config, Durability},
    data_dir::DataDir,
};

/// Where it is, below the data directory.
const FOLDER: &str = "history";

/// What the configuration asks for.
pub(crate) fn rules(config: &Config) -> Rules {
    Rules { rules: config.history.clone(), retained_bytes: config.limits.retained_history }
}

/// The same, as the shards are told.
pub(crate) fn table(config: &Config) -> Arc<HistoryTable> {
    let filters = config.history.iter().map(|rule| rule.filter.clone()).collect();
    let kept = HistoryTable { filters, retained: config.limits.retained_history > 0 };
    Arc::new(if config.in_memory { HistoryTable::default() } else { kept })
}

/// Opens what is in a data directory.
pub(crate) fn open(config: &Config) -> Result<Vault, HistoryError> {
    let folder = config.data_dir.join(FOLDER);
    let (vault, report) = Vault::open(&folder, &rules(config), config.durability != Durability::None)?;
    report.tell();
    if report.messages > 0 {
        tracing::info!(target: "store", messages = report.messages, bytes = report.bytes, "history opened");
    }
    Ok(vault)
}

/// Takes in what the store has and the history lacks, and starts it.
pub(crate) fn start(vault: Vault, lost: Vec<Arc<Message>>) -> std::io::Result<Engine> {
    if !lost.is_empty() {
        let messages = vault.recover(lost, wall())?;
        tracing::info!(target: "store", messages, "taken over from the store: a crash had kept them from the history");
    }
    Engine::start(vault)
}

/// Reads a moment, in microseconds since 1970-01-01 UTC: so long before `now` (`1h`), a time of RFC 3339, or seconds since
/// 1970. `None` for anything else.
#[must_use]
pub fn parse_moment(text: &str, now: WallTime) -> Option<u64> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| (0.0..1e11).contains(seconds)) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        return Some((seconds * 1e6) as u64);
    }
    if let Some(micros) = cork_sink::parse_rfc3339(text) {
        return Some(u64::try_from(micros).unwrap_or(0)); // before 1970
    }
    let ago = u64::try_from(parse_duration(text)?.as_micros()).unwrap_or(u64::MAX);
    Some(now.0.saturating_sub(ago))
}

/// Opens the history of a data directory that no broker uses, to be read.
///
/// # Errors
/// It cannot be read, or is in use.
pub fn open_unused(data_dir: &Path) -> Result<Unused, std::io::Error> {
    let folder = data_dir.join(FOLDER);
    if !folder.is_dir() {
        let why = format!("{} does not exist: there is no history", folder.display());
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, why));
    }
    let owner = DataDir::open(data_dir)?;
    let found = Vault::open(&folder, &Rules::default(), true);
    let (vault, report) = found.map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(Unused { vault, report, _owner: owner })
}

/// The history of a data directory that no broker uses; none can start on it while this lives.
#[derive(Debug)]
pub struct Unused {
    vault: Vault,
    report: Report,
    _owner: DataDir,
}

impl Unused {
    /// What is kept there.
    #[must_use]
    pub const fn vault(&self) -> &History {
        &self.vault
    }

    /// What was wrong with it when it was opened.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_ago_or_a_date_or_seconds_since_1970() {
        let now = WallTime(10_000_000_000);
        for (text, micros) in [
            ("1h", 6_400_000_000),
            ("9h", 0),
            ("1w", 0),
            ("12.5", 12_500_000),
            ("1970-01-01T00:01:00Z", 60_000_000),
            ("1970-01-01T02:00:00.5+01:00", 3_600_500_000),
            ("1960-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse_moment(text, now), Some(micros), "{text}");
        }
        for wrong in ["", "yesterday", "-1", "1x", "1970-13-01T00:00:00Z", "1970-01-01"] {
            assert_eq!(parse_moment(wrong, now), None, "{wrong}");
        }
    }
}
