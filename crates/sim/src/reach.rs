//! Whether the broker can be reached, for all devices together: what ten thousand of them find out is said once.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use cork_client::{ConnectError, Disconnected};
use tokio::sync::Notify;

/// Tells a person something, a line at a time.
pub(crate) type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// What all connections know together.
pub(crate) struct Reach {
    url: String,
    say: Say,
    /// Whether it is the end, when connections end that should.
    is_quiet: AtomicBool,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Connections that came about at least once.
    arrived: usize,
    /// Connections that have trouble now.
    troubled: usize,
    losses: u64,
    /// Why the last attempt failed.
    why: Option<ConnectError>,
    /// Why a device will never be connected again.
    refused: Option<ConnectError>,
    is_begun: bool,
}

/// How one connection stands.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    has_arrived: bool,
    has_trouble: bool,
}

/// Whether there is no point in trying again.
fn is_final(why: &ConnectError) -> bool {
    match why {
        ConnectError::Refused(refusal) => !refusal.is_temporary(),
        ConnectError::Disconnected(why) => !why.is_temporary(),
        ConnectError::Options(_) => true,
        _ => false,
    }
}

impl Reach {
    pub(crate) fn new(url: String, say: Say) -> Self {
        let (is_quiet, state) = (AtomicBool::new(false), Mutex::default());
        Self { url, say, is_quiet, state, changed: Notify::new() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn say(&self, text: &str) {
        if !self.is_quiet.load(Relaxed) {
            (self.say)(text);
        }
    }

    /// From now on nothing is worth a word.
    pub(crate) fn hush(&self) {
        self.is_quiet.store(true, Relaxed);
    }

    /// Waits until enough connections came about.
    pub(crate) async fn arrived(&self, enough: impl Fn(usize) -> bool) -> Result<(), ConnectError> {
        loop {
            {
                let state = self.lock();
                if let Some(refused) = &state.refused {
                    return Err(refused.clone());
                }
                if enough(state.arrived) {
                    return Ok(());
                }
            }
            self.changed.notified().await;
        }
    }

    pub(crate) fn why(&self) -> Option<ConnectError> {
        self.lock().why.clone()
    }

    pub(crate) fn losses(&self) -> u64 {
        self.lock().losses
    }

    /// All devices are connected; a refusal is no reason to give up any more.
    pub(crate) fn begun(&self) {
        self.lock().is_begun = true;
    }

    /// A connection came about, for the first time or again.
    pub(crate) fn connected(&self, standing: &mut Standing) {
        let is_well = {
            let mut state = self.lock();
            if !std::mem::replace(&mut standing.has_arrived, true) {
                state.arrived += 1;
            }
            std::mem::take(&mut standing.has_trouble) && state.eased()
        };
        if is_well {
            self.say(&format!("connected to {}", self.url));
        }
        self.changed.notify_one();
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, standing: &mut Standing, why: &ConnectError) {
        self.lock().why = Some(why.clone());
        if !is_final(why) {
            self.trouble(standing, &format!("{why}; trying again"));
        }
    }

    /// A connection was lost, and not on purpose.
    pub(crate) fn lost(&self, standing: &mut Standing, why: &Disconnected) {
        self.lock().losses += 1;
        if why.is_temporary() {
            self.trouble(standing, &format!("lost the connection to {}: {why}; trying again", self.url));
        }
    }

    fn trouble(&self, standing: &mut Standing, text: &str) {
        if std::mem::replace(&mut standing.has_trouble, true) {
            return;
        }
        let is_first = {
            let mut state = self.lock();
            state.troubled += 1;
            state.troubled == 1
        };
        if is_first {
            self.say(text);
        }
    }

    /// A connection came to its end. `last` is what went wrong after it was there the last time.
    pub(crate) fn ended(&self, standing: &mut Standing, last: Option<&ConnectError>) {
        let mut state = self.lock();
        if std::mem::take(&mut standing.has_trouble) {
            state.eased();
        }
        let Some(why) = last.filter(|why| is_final(why)) else { return };
        let is_first = state.refused.is_none();
        state.refused = Some(why.clone());
        let is_begun = state.is_begun;
        drop(state);
        if is_first && is_begun {
            self.say(&format!("a device will not come back: {why}"));
        }
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One connection less has trouble; true if none has any more.
    const fn eased(&mut self) -> bool {
        self.troubled -= 1;
        self.troubled == 0
    }
}
