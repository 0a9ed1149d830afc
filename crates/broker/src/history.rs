//! The history of a broker: opened before its store, which may have what a crash kept from it.

use std::{path::Path, sync::Arc};

use cork_core::HistoryTable;
use cork_history::{Engine, Rules, Vault, wall};
use cork_store::Message;

pub use cork_history::wall as now;
pub use cork_history::{
    Cache, Counters, OpenError as HistoryError, Point, Rule, Series, SeriesAnswer, SeriesQuery,
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
    let (vault, _) = found.map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(Unused { vault, _owner: owner })
}

/// The history of a data directory that no broker uses; none can start on it while this lives.
#[derive(Debug)]
pub struct Unused {
    vault: Vault,
    _owner: DataDir,
}

impl Unused {
    /// What is kept there.
    #[must_use]
    pub const fn vault(&self) -> &History {
        &self.vault
    }
}
