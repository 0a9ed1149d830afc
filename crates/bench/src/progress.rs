//! A bar that grows, for people who watch; nothing for files and pipes.

use std::io::{IsTerminal as _, Write as _};

use crate::units::{MILLI, Nanos, show};

/// One line on standard error, drawn over and over, and wiped away at the end.
#[derive(Debug)]
pub(crate) struct Progress {
    total: Nanos,
    on: bool,
    drawn_at: Option<Nanos>,
    counted: u64,
}

impl Progress {
    /// For something that takes `total`; draws only if `wanted` and if standard error is a terminal.
    pub(crate) fn new(wanted: bool, total: Nanos) -> Self {
        Self { total, on: wanted && std::io::stderr().is_terminal(), drawn_at: None, counted: 0 }
    }

    /// Draws the bar for the time that has passed, with the rate at which `count` grew since it was drawn last.
    pub(crate) fn show(&mut self, passed: Nanos, count: u64) {
        let since = passed - self.drawn_at.unwrap_or(0);
        if !self.on || self.drawn_at.is_some() && since < 200 * MILLI {
            return;
        }
        let rate = (count - self.counted) as f64 * 1e9 / since.max(1) as f64;
        (self.drawn_at, self.counted) = (Some(passed), count);
        // Nobody is hurt when it cannot be drawn.
        let _ = write!(std::io::stderr(), "\r{}", line(passed, self.total, rate));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn_at.is_some() {
            let _ = write!(std::io::stderr(), "\r{:WIDTH$}\r", "", WIDTH = BAR + 40);
        }
    }
}

fn line(passed: Nanos, total: Nanos, rate: f64) -> String {
    let share = (passed as f64 / total.max(1) as f64).min(1.0);
    let full = usize::try_from(crate::units::whole(share * BAR as f64)).unwrap_or(BAR);
    format!("[{}{}] {:>3.0}% {:>10}/s ", "=".repeat(full), " ".repeat(BAR - full), share * 100.0, show(rate))
}

const BAR: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_and_ends_full() {
        assert!(line(0, 10, 0.0).starts_with(&format!("[{}]   0%", " ".repeat(BAR))));
        assert!(line(5, 10, 1e6).contains("====    ") && line(5, 10, 1e6).contains("1.00 M/s"));
        assert!(line(99, 10, 0.0).starts_with(&format!("[{}] 100%", "=".repeat(BAR))));
    }

    #[test]
    fn nothing_is_drawn_where_nobody_looks() {
        let mut progress = Progress { total: 1, on: false, drawn_at: None, counted: 0 };
        progress.show(1, 1);
        assert_eq!(progress.drawn_at, None);
    }
}
