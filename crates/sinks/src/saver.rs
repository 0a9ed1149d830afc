//! Saving a batch for good: again until the target is there, in halves until bad rows are alone.

use std::{
    collections::BTreeMap,
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
    /// Since when it cannot be used, and whether that was said.
    outage: Option<(Instant, bool)>,
    /// When an outage was said last.
    told: Option<Instant>,
    /// Parts that were saved.
    saves: u64,
    /// Rows that failed alone, by their ids.
    doubts: BTreeMap<Box<str>, Doubt>,
    figures: Figures,
}

/// A row that failed, and nobody knows whose fault it was.
struct Doubt {
    /// Failures while others were saved.
    strikes: u32,
    /// `saves` at the last failure.
    saves: u64,
}

/// Rows that the target refuses, by their places, each with the reason.
pub(crate) type Refused = Vec<(usize, String)>;

/// What became of rows that were to be saved: all that are not named here are safe.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) refused: Refused,
    /// By their places: they failed, perhaps for what is in them. They are to be offered again, with others, if there
    /// are any: what fails where others do not is to blame itself.
    pub(crate) doubtful: Vec<usize>,
}

/// A row that failed so often, while another was saved each time in between, is a bad one.
const STRIKES_MAX: u32 = 3;
/// A batch that failed so often, though the target could be opened each time, is tried in halves.
const WHOLE_TRIES: u32 = 3;
/// Another outage so soon after the last one is worth no line until it lasts as long.
const QUIET: Duration = Duration::from_secs(10);

impl Saver {
    pub(crate) fn new(
        sink: String,
        target: Box<dyn Sink>,
        timeout: Duration,
        retry_max: Duration,
        figures: Figures,
    ) -> Self {
        let backoff = Backoff::new(retry_max);
        let (outage, told, doubts) = (None, None, BTreeMap::new());
        Self { sink, target, timeout, backoff, is_open: false, outage, told, saves: 0, doubts, figures }
    }

    /// Saves rows, however long it takes, but those that fail alone. May be dropped; the rows must be offered again then.
    pub(crate) async fn save(&mut self, rows: &[Row]) -> Saved {
        let mut saved = Saved::default();
        // What is left to do, the next part last.
        let mut parts = self.parts(rows);
        let (mut tries, mut halving) = (0, false);
        while let Some(part) = parts.pop() {
            let (count, alone) = (part.len(), part.len() == 1);
            let before = saved.refused.len();
            match self.attempt(&rows[part.clone()]).await {
                Ok(()) => {}
                Err(Fault::Rejected(found)) => {
                    saved.refused.extend(found.into_iter().map(|(at, why)| (part.start + at, why)));
                }
                Err(Fault::Refused(why)) if alone => saved.refused.push((part.start, why)),
                Err(Fault::Refused(_)) => {
                    parts.extend(halves(part));
                    continue;
                }
                Err(Fault::Failed(why)) if alone => {
                    match self.doubt(&rows[part.start], &why) {
                        Some(blamed) => saved.refused.push((part.start, blamed)),
                        None => saved.doubtful.push(part.start),
                    }
                    self.lost(&Fault::Failed(why)).await;
                    continue;
                }
                Err(fault) => {
                    let failed = matches!(fault, Fault::Failed(_));
                    tries += u32::from(failed);
                    // Less may be done in time.
                    halving |= tries >= WHOLE_TRIES || fault == too_slow();
                    self.lost(&fault).await;
                    if failed && halving {
                        parts.extend(halves(part));
                    } else {
                        parts.push(part);
                    }
                    continue;
                }
            }
            let safe = count.saturating_sub(saved.refused.len() - before) as u64;
            self.found(&rows[part], safe);
        }
        saved
    }

    /// Rows under suspicion one by one, after all others.
    fn parts(&self, rows: &[Row]) -> Vec<Range<usize>> {
        let (mut parts, mut suspects) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (at, _) in rows.iter().enumerate().filter(|(_, row)| self.doubts.contains_key(&row.id)) {
            parts.push(start..at);
            suspects.push(at..at + 1);
            start = at + 1;
        }
        parts.push(start..rows.len());
        suspects.extend(parts.into_iter().filter(|part| !part.is_empty()));
        suspects
    }

    /// A row failed alone; the reason, if it is to blame.
    fn doubt(&mut self, row: &Row, why: &str) -> Option<String> {
        let saves = self.saves;
        let doubt = self.doubts.entry(row.id.clone()).or_insert(Doubt { strikes: 0, saves });
        doubt.strikes += u32::from(doubt.saves < saves);
        doubt.saves = saves;
        if doubt.strikes < STRIKES_MAX {
            return None;
        }
        self.doubts.remove(&row.id);
        Some(format!("{why} (again and again, while others were saved)"))
    }

    /// Opens the target, before the first row needs it.
    pub(crate) async fn open(&mut self) {
        while let Err(fault) = self.opened().await {
            self.lost(&fault).await;
        }
        self.found(&[], 0);
    }

    async fn attempt(&mut self, rows: &[Row]) -> Result<(), Fault> {
        self.opened().await?;
        // Should this be dropped half-way, the target is in no known state.
        self.is_open = false;
        let saved = tokio::time::timeout(self.timeout, self.target.save(rows)).await;
        let result = saved.unwrap_or_else(|_| Err(too_slow())).map_err(shortened);
        self.is_open = matches!(result, Ok(()) | Err(Fault::Refused(_) | Fault::Rejected(_)));
        result
    }

    async fn opened(&mut self) -> Result<(), Fault> {
        if self.is_open {
            return Ok(());
        }
        let opened = tokio::time::timeout(self.timeout, self.target.open(Opening::Make)).await;
        // Whatever it is, it does not lie in rows.
        let unavailable = |fault: Fault| Fault::Unavailable(shortened(fault).to_string());
        let made = opened.unwrap_or_else(|_| Err(too_slow())).map_err(unavailable)?;
        self.is_open = true;
        if !made.is_empty() {
            tracing::info!(target: "sink", sink = self.sink, "created {}", made.join(", "));
        }
        Ok(())
    }

    /// The target cannot be used: says so the first time, and waits.
    async fn lost(&mut self, fault: &Fault) {
        let now = Instant::now();
        let (since, said) = self.outage.unwrap_or((now, false));
        let quiet = self.told.is_some_and(|told| now - told < QUIET) && now - since < QUIET;
        if !said && !quiet {
            self.told = Some(now);
            tracing::warn!(target: "sink", sink = self.sink, "cannot save, messages wait: {fault}");
        }
        self.outage = Some((since, said || !quiet));
        let error = fault.to_string();
        self.figures.set(|now| {
            now.retries += 1;
            now.lost(error);
        });
        tokio::time::sleep(self.backoff.pause()).await;
    }

    /// The target can be used, and these rows are settled; so many of them are safe.
    fn found(&mut self, rows: &[Row], safe: u64) {
        self.backoff.reset();
        self.saves += u64::from(safe > 0);
        if !self.doubts.is_empty() {
            for row in rows {
                self.doubts.remove(&row.id);
            }
        }
        if let Some((since, true)) = self.outage.take() {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!(target: "sink", sink = self.sink, "saves again, after {seconds:.1} s");
        }
        self.figures.set(|now| {
            now.saved += safe;
            now.state = State::Working;
            now.error = String::new();
        });
    }
}

fn too_slow() -> Fault {
    Fault::Failed("no answer in time; a longer `timeout` may help".to_owned())
}

/// What servers say may be as long as what they were sent; and a reason has to fit into one line, and into MQTT.
fn shortened(fault: Fault) -> Fault {
    match fault {
        Fault::Unavailable(why) => Fault::Unavailable(short(&why)),
        Fault::Failed(why) => Fault::Failed(short(&why)),
        Fault::Refused(why) => Fault::Refused(short(&why)),
        Fault::Rejected(rows) => {
            Fault::Rejected(rows.into_iter().map(|(at, why)| (at, short(&why))).collect())
        }
        other => other,
    }
}

fn short(why: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut text: String = why.chars().take(REASON_CHARS_MAX).map(plain).collect();
    if text.len() < why.len() {
        text.push_str("...");
    }
    text
}

const REASON_CHARS_MAX: usize = 500;

/// The second half, and before it, to be taken first, the first one.
fn halves(part: Range<usize>) -> [Range<usize>; 2] {
    let middle = part.start + part.len() / 2;
    [middle..part.end, part.start..middle]
}

#[cfg(test)]
mod tests;
