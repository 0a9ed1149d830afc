//! What the program around the broker does for the API.

use cork_broker::{
    Reload,
    config::{LogLevel, Subsystem},
};

/// The program around the broker: it has the configuration file, and the log.
///
/// All methods may block: they run on a thread for that.
pub trait Host: Send + Sync {
    /// Reads the configuration again and takes it over.
    ///
    /// # Errors
    /// All faults, one in a line; nothing has changed then.
    fn reload(&self) -> Result<Reload, String>;

    /// Writes lines of this level from now on, of one subsystem or of all, until the next reload.
    ///
    /// # Errors
    /// Why it does not.
    fn set_log_level(&self, subsystem: Option<Subsystem>, level: LogLevel) -> Result<(), String>;
}
