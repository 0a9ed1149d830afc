//! What a sink says of itself: `$SYS/broker/sink/<name>/...`, retained.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;

/// One sink's figures; clones are handles of the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    now: Arc<Mutex<Now>>,
    changed: Arc<Notify>,
}

/// The values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now {
    /// Rows that the target confirmed, since the start.
    pub(crate) saved: u64,
    /// Rows that went to the dead letters, since the start.
    pub(crate) dead: u64,
    /// Tries that failed because the target was not available, since the start.
    pub(crate) retries: u64,
    /// Rows in memory that are not confirmed.
    pub(crate) pending: u64,
    /// Whether the target answers.
    pub(crate) state: State,
    /// Why it does not, else empty.
    pub(crate) error: String,
    /// Why it did not the last time.
    last_error: String,
    /// Seconds since 1970 of that; 0: it always did.
    last_error_at: u64,
    /// Seconds since 1970 of the last change of the state.
    since: u64,
}

/// How it goes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Not tried yet.
    #[default]
    Starting,
    /// The last try worked.
    Working,
    /// The target is away; messages wait.
    Waiting,
}

impl Now {
    /// The target cannot be used.
    pub(crate) fn lost(&mut self, why: String) {
        (self.state, self.error) = (State::Waiting, why.clone());
        (self.last_error, self.last_error_at) = (why, seconds());
    }
}

/// Since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Figures {
    pub(crate) fn new(changed: &Arc<Notify>) -> Self {
        Self { now: Arc::default(), changed: Arc::clone(changed) }
    }

    /// Changes some. Those who show them learn of another state at once, of everything else by and by.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Now)) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let before = now.state;
        change(&mut now);
        if now.state != before {
            now.since = seconds();
            self.changed.notify_one();
        }
    }

    /// Topics below the sink's own, and their texts.
    pub(crate) fn show(&self) -> BTreeMap<&'static str, String> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Now { saved, dead, retries, pending, state, error, last_error, last_error_at, since } = now;
        let time = |seconds: u64| if seconds == 0 { String::new() } else { seconds.to_string() };
        let state = match state {
            State::Starting => "starting",
            State::Working => "working",
            State::Waiting => "waiting",
        };
        BTreeMap::from([
            ("state", state.to_owned()),
            ("error", error),
            ("last_error", last_error),
            ("last_error_at", time(last_error_at)),
            ("since", time(since)),
            ("rows/saved", saved.to_string()),
            ("rows/dead", dead.to_string()),
            ("rows/pending", pending.to_string()),
            ("retries", retries.to_string()),
        ])
    }
}
