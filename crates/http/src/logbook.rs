//! The last log lines, for who looks at them over HTTP.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::sync::broadcast;
use utoipa::ToSchema;

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
    pub fields: Vec<(&'static str, Value)>,
}

// Pairs, not a map: they stay in their order.
fn as_map<S: Serializer>(fields: &[(&'static str, Value)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

/// Lines as their writer keeps them. Thousands may be written in a second, and few are ever looked at: only those are
/// made into words.
pub trait Keep: fmt::Debug + Send + Sync {
    /// How many they are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them, counted from 0.
    fn to_line(&self, at: usize) -> LogLine;
}

/// One line of those that were written together.
#[derive(Clone, Debug)]
pub(crate) struct KeptLine {
    lines: Arc<dyn Keep>,
    at: usize,
}

impl KeptLine {
    pub(crate) fn to_line(&self) -> LogLine {
        self.lines.to_line(self.at)
    }
}

/// The last lines. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct LogBook {
    lines: Arc<Mutex<VecDeque<KeptLine>>>,
    fresh: broadcast::Sender<KeptLine>,
}

impl Default for LogBook {
    fn default() -> Self {
        Self { lines: Arc::default(), fresh: broadcast::Sender::new(BEHIND_MAX) }
    }
}

impl LogBook {
    /// How many lines it keeps: of more that come at once, the last ones will do.
    pub const LINES_MAX: usize = 1000;

    /// Notes lines that were written together. Never waits for a reader.
    #[expect(clippy::needless_pass_by_value, reason = "they are kept")]
    pub fn push(&self, fresh: Arc<dyn Keep>) {
        let mut lines = self.lines();
        let too_many = (lines.len() + fresh.len()).saturating_sub(Self::LINES_MAX).min(lines.len());
        lines.drain(..too_many);
        let looked_at = self.fresh.receiver_count() > 0;
        for at in 0..fresh.len() {
            let line = KeptLine { lines: Arc::clone(&fresh), at };
            if looked_at {
                let _ = self.fresh.send(line.clone()); // nobody may be looking any more
            }
            lines.push_back(line);
        }
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<KeptLine>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last lines that `wanted` takes, oldest first.
    pub(crate) fn last(&self, limit: usize, wanted: impl Fn(&LogLine) -> bool) -> Vec<LogLine> {
        let kept: Vec<_> = self.lines().iter().cloned().collect();
        let lines = kept.iter().rev().map(|line| line.to_line());
        let mut found: Vec<_> = lines.filter(wanted).take(limit).collect();
        found.reverse();
        found
    }

    /// What is written from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<KeptLine> {
        self.fresh.subscribe()
    }
}
