//! The last log lines, for who looks at them over HTTP.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// Lines that are kept.
const LINES_MAX: usize = 1000;
/// Lines a slow reader may be behind before it loses some.
const BEHIND_MAX: usize = 256;

/// One line of the log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LogLine {
    /// When it was written, RFC 3339.
    pub time: String,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: &'static str,
    /// Subsystem.
    pub subsystem: &'static str,
    /// What it says.
    pub message: String,
    /// What it says it of.
    #[schema(value_type = Object)]
    #[serde(serialize_with = "as_map")]
    pub fields: Box<[(&'static str, Value)]>,
}

// Pairs, not a map: a thousand lines are kept, and a tree is ten times as large.
fn as_map<S: Serializer>(fields: &[(&'static str, Value)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

/// The last lines. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct LogBook {
    lines: Arc<Mutex<VecDeque<Arc<LogLine>>>>,
    fresh: broadcast::Sender<Arc<LogLine>>,
}

impl Default for LogBook {
    fn default() -> Self {
        Self { lines: Arc::default(), fresh: broadcast::Sender::new(BEHIND_MAX) }
    }
}

impl LogBook {
    /// Notes a line of this time (RFC 3339). Never waits for a reader.
    pub fn push(
        &self,
        time: String,
        level: &'static str,
        subsystem: &'static str,
        message: String,
        fields: Vec<(&'static str, Value)>,
    ) {
        let line = Arc::new(LogLine { time, level, subsystem, message, fields: fields.into() });
        let mut lines = self.lines();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(Arc::clone(&line));
        let _ = self.fresh.send(line); // nobody may be looking
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<Arc<LogLine>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last lines that `wanted` takes, oldest first.
    pub(crate) fn last(&self, limit: usize, wanted: impl Fn(&LogLine) -> bool) -> Vec<Arc<LogLine>> {
        let lines = self.lines();
        let mut found: Vec<_> = lines.iter().rev().filter(|line| wanted(line)).take(limit).cloned().collect();
        found.reverse();
        found
    }

    /// What is written from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Arc<LogLine>> {
        self.fresh.subscribe()
    }
}
