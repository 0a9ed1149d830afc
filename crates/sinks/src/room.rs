//! How much room the dead letters of a sink have: as much as any Session's messages, `limits.queue_max_bytes`.
//!
//! The broker itself would drop what comes beyond that, without a word to who published it. So their Session has no limit
//! there, and the sink asks before it publishes.

use cork_broker::{Answer, Operator, Query};
use cork_sink::Row;
use tokio::sync::oneshot;

/// The room of one sink's letters.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    operator: Operator,
    /// The Session that keeps them.
    client_id: Box<str>,
}

/// What a letter has that its row has not, without the topic.
const EXTRA_BYTES: usize = 1024;

impl Room {
    pub(crate) fn new(operator: Operator, client_id: &str) -> Self {
        Self { operator, client_id: client_id.into() }
    }

    /// Whether there is room for the letter of this row. The first one always has it, however long it is. Those that
    /// somebody has looked at are on their way to him, for the broker; they count as if they were as long as this one.
    pub(crate) async fn is_there_for(&self, row: &Row) -> bool {
        let probe = self.operator.probe();
        let (sender, receiver) = oneshot::channel();
        let query = Query::Session { client_id: self.client_id.clone() };
        probe.ask(probe.home(&self.client_id), query, move |answer| {
            let _ = sender.send(answer); // whoever asked may have been stopped
        });
        // No answer: the broker ends, and takes no letter either.
        let Ok(Answer::Session(Some(session))) = receiver.await else { return true };
        let bytes = (row.bytes() + row.topic.len() + EXTRA_BYTES) as u64;
        let most = self.operator.config().limits.queue_max_bytes;
        let there = session.queued_bytes.saturating_add(bytes.saturating_mul(session.in_flight as u64));
        there == 0 || there.saturating_add(bytes) <= most
    }
}
