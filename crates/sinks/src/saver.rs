//! Saving a batch for good: again until the target is there, in halves until bad rows are alone.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use cork_sink::{Fault, Opening, Row, Sink};

use crate::{
    backoff::Backoff,
    figures::{Figures, State},
};

/// A target, and how it is treated.
pub(crate) struct Saver {
    sink: String,
    target: Box<dyn Sink>,
    timeout: Duration,
    backoff: Backoff,
    /// Whether the target was opened and has not failed since.
    is_open: bool,
    /// Since when it cannot be used.
    outage: Option<Instant>,
    figures: Figures,
}

/// Rows that the target refuses, by their places, each with the reason.
pub(crate) type Refused = Vec<(usize, String)>;

impl Saver {
    pub(crate) fn new(
        sink: String,
        target: Box<dyn Sink>,
        timeout: Duration,
        retry_max: Duration,
        figures: Figures,
    ) -> Self {
        let backoff = Backoff::new(retry_max);
        Self { sink, target, timeout, backoff, is_open: false, outage: None, figures }
    }

    /// Saves rows, however long it takes; returns those that the target refuses. May be dropped; the rows must be
    /// offered again then.
    pub(crate) async fn save(&mut self, rows: &[Row]) -> Refused {
        let mut refused = Refused::new();
        // What is left to do, the next part last.
        let mut parts = Vec::from([Range { start: 0, end: rows.len() }]);
        while let Some(part) = parts.pop() {
            let saved = part.len();
            match self.attempt(&rows[part.clone()]).await {
                Ok(()) => {}
                Err(Fault::Rejected(found)) => {
                    refused.extend(found.into_iter().map(|(at, why)| (part.start + at, why)));
                }
                Err(Fault::Refused(why)) if part.len() == 1 => refused.push((part.start, why)),
                Err(Fault::Refused(_)) => {
                    parts.extend(halves(part));
                    continue;
                }
                // `Unavailable`, and whatever else there may be some day.
                Err(fault) => {
                    let too_slow = matches!(&fault, Fault::Unavailable(why) if why == TOO_SLOW);
                    self.lost(&fault).await;
                    // Less may be done in time.
                    if too_slow && part.len() > 1 {
                        parts.extend(halves(part));
                    } else {
                        parts.push(part);
                    }
                    continue;
                }
            }
            self.found();
            self.figures.set(|now| now.saved += saved as u64);
        }
        let dead = refused.len() as u64;
        self.figures.set(|now| now.saved = now.saved.saturating_sub(dead));
        refused
    }

    /// Opens the target, before the first row needs it.
    pub(crate) async fn open(&mut self) {
        while let Err(fault) = self.opened().await {
            self.lost(&fault).await;
        }
        self.found();
    }

    async fn attempt(&mut self, rows: &[Row]) -> Result<(), Fault> {
        self.opened().await?;
        // Should this be dropped half-way, the target is in no known state.
        self.is_open = false;
        let result = in_time(self.timeout, self.target.save(rows)).await;
        self.is_open = !matches!(result, Err(Fault::Unavailable(_)));
        result
    }

    async fn opened(&mut self) -> Result<(), Fault> {
        if self.is_open {
            return Ok(());
        }
        let made = in_time(self.timeout, self.target.open(Opening::Make)).await?;
        self.is_open = true;
        if !made.is_empty() {
            tracing::info!(target: "sink", sink = self.sink, "created {}", made.join(", "));
        }
        Ok(())
    }

    /// The target cannot be used: says so the first time, and waits.
    async fn lost(&mut self, fault: &Fault) {
        if self.outage.is_none() {
            self.outage = Some(Instant::now());
            tracing::warn!(target: "sink", sink = self.sink, "cannot save, messages wait: {fault}");
        }
        let error = fault.to_string();
        self.figures.set(|now| {
            now.retries += 1;
            now.lost(error);
        });
        tokio::time::sleep(self.backoff.pause()).await;
    }

    fn found(&mut self) {
        self.backoff.reset();
        if let Some(since) = self.outage.take() {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!(target: "sink", sink = self.sink, "saves again, after {seconds:.1} s");
        }
        self.figures.set(|now| {
            now.state = State::Working;
            now.error = String::new();
        });
    }
}

const TOO_SLOW: &str = "no answer in time; a longer `timeout` may help";

async fn in_time<T>(timeout: Duration, work: cork_sink::Work<'_, T>) -> Result<T, Fault> {
    let done = tokio::time::timeout(timeout, work).await;
    done.unwrap_or_else(|_| Err(Fault::Unavailable(TOO_SLOW.to_owned())))
}

/// The second half, and before it, to be taken first, the first one.
fn halves(part: Range<usize>) -> [Range<usize>; 2] {
    let middle = part.start + part.len() / 2;
    [middle..part.end, part.start..middle]
}

#[cfg(test)]
mod tests;
