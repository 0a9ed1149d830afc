//! What is saved in one go.

use std::time::Duration;

use cork_sink::Row;
use tokio::time::Instant;

use crate::session::{Delivery, Receipt};

/// Rows, and what their acknowledgements need.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    pub(crate) receipts: Vec<Receipt>,
    bytes: usize,
    since: Option<Instant>,
    /// Rows that were in a batch before; they take nobody's place, so that there are others to compare them with.
    again: usize,
}

/// A batch with so many bytes is full, whatever the number of its rows.
pub(crate) const BATCH_BYTES_MAX: usize = 4 << 20;

impl Batch {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), receipts: Vec::new(), bytes: 0, since: None, again: 0 }
    }

    pub(crate) fn push(&mut self, delivery: Delivery) {
        let Delivery { row, receipt } = delivery;
        self.since.get_or_insert_with(Instant::now);
        self.bytes += row.bytes();
        self.rows.push(row);
        self.receipts.push(receipt);
    }

    pub(crate) fn is_full(&self, rows_max: usize) -> bool {
        self.rows.len() >= rows_max + self.again || self.bytes >= BATCH_BYTES_MAX
    }

    /// Takes these rows, by their places, over into another batch.
    pub(crate) fn hand_over(self, places: &[usize], to: &mut Self) {
        for (at, (row, receipt)) in self.rows.into_iter().zip(self.receipts).enumerate() {
            if places.contains(&at) {
                to.push(Delivery { row, receipt });
                to.again += 1;
            }
        }
    }

    /// When it need not wait for more rows any longer.
    pub(crate) fn due(&self, time: Duration) -> Option<Instant> {
        self.since.map(|since| since + time)
    }
}
