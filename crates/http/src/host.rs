//! What the program around the broker does for the API.

use cork_broker::{
    Reload,
    config::{LogLevel, Subsystem},
    managed::{Edit, EditError},
};

/// The program around the broker: it has the configuration file, the log and the links.
///
/// All methods may block: they run on a thread for that.
pub trait Host: Send + Sync {
    /// Reads the configuration again and takes it over.
    ///
    /// # Errors
    /// All faults, one in a line; nothing has changed then.
    fn reload(&self) -> Result<Reload, String>;

    /// Changes what is managed: it holds, and is on the disk, when this returns.
    ///
    /// # Errors
    /// Why it does not; nothing has changed then.
    fn manage(&self, edit: Edit) -> Result<Reload, EditError>;

    /// Writes lines of this level from now on, of one subsystem or of all, until the next reload.
    ///
    /// # Errors
    /// Why it does not.
    fn set_log_level(&self, subsystem: Option<Subsystem>, level: LogLevel) -> Result<(), String>;

    /// Dead letters of a sink, oldest first, after the one with this id.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn letters(&self, sink: &str, after: Option<&str>, limit: usize) -> Result<LettersPage, String>;

    /// Has dead letters of a sink tried again, these or all; how many that are.
    ///
    /// # Errors
    /// Why it cannot be asked.
    fn replay(&self, sink: &str, ids: Option<&[String]>) -> Result<u64, String>;

    /// Throws all dead letters of a sink away; how many that were.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn discard(&self, sink: &str) -> Result<u64, String>;
}

/// A row that a sink's target refused.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Which.
    pub id: String,
    /// When it was refused, in microseconds since 1970.
    pub time: i64,
    /// What the target said.
    pub reason: String,
    /// The row's topic.
    pub topic: String,
    /// The row's payload.
    pub payload: bytes::Bytes,
    /// QoS it was published with.
    pub qos: u8,
    /// Whether it was retained.
    pub retain: bool,
    /// Its content type.
    pub content_type: Option<String>,
    /// Its User Properties.
    pub user_properties: Vec<(String, String)>,
}

/// A page of dead letters.
#[derive(Clone, Debug)]
pub struct LettersPage {
    /// What was found.
    pub items: Vec<Letter>,
    /// After which one to go on; none: there are no more.
    pub next: Option<String>,
}
