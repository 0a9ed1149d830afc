//! Whether connections come in a crowd, as after an outage or a restart.
//!
//! Putting a thread to sleep and waking it costs more than everything that is done for a CONNECT, and who pays for the
//! waking is the one who sends it. In a crowd the next packet is never far, so the thread looks for it a little while
//! before it sleeps.

use std::time::Duration;

use cork_proto::Time;

/// So many that came within [`WINDOW`] are a crowd.
const CROWD: u32 = 32;
const WINDOW: Duration = Duration::from_millis(10);
/// How long the next one is awaited without sleep.
const AWAIT: Duration = Duration::from_micros(200);

/// Counts who is accepted.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    window_began: Time,
    in_window: u32,
    /// Nobody sleeps until then.
    awake_until: Option<Time>,
}

impl Arrivals {
    /// Somebody was accepted.
    pub(crate) fn count(&mut self, now: Time) {
        if now.since(self.window_began) >= WINDOW {
            (self.window_began, self.in_window) = (now, 0);
        }
        self.in_window += 1;
        if self.in_window >= CROWD {
            self.awake_until = Some(now + AWAIT);
        }
    }

    /// Whether somebody is about to come; the clock is asked only where it matters.
    pub(crate) fn are_awaited(&self, now: impl FnOnce() -> Time) -> bool {
        self.awake_until.is_some_and(|until| now() < until)
    }

    /// Nobody came for long enough.
    pub(crate) fn pass_time(&mut self, now: Time) {
        self.awake_until = self.awake_until.filter(|until| now < *until);
    }
}
