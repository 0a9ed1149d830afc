//! What the sinks publish: dead letters and figures, over one connection of their own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cork_broker::Connector;
use cork_client::{Client, Options, Publish, PublishError};
use cork_sink::Row;
use tokio::sync::Notify;

use crate::{backoff::Backoff, figures::Figures, letter};

/// A handle to publish by; clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    client: Client,
}

const CLIENT_ID: &str = "$cork/sinks";
const RETRY_MAX: Duration = Duration::from_secs(10);

impl Desk {
    pub(crate) fn open(connector: &Connector) -> Result<Self, cork_client::ConnectError> {
        let connector = connector.clone();
        let options = Options::in_process(move || connector.connect()).client_id(CLIENT_ID).keep_alive(0);
        Ok(Self { client: Client::start(options)? })
    }

    /// Publishes a dead letter, however often it takes. It is kept when this returns; only a stop ends it before.
    pub(crate) async fn bury(&self, sink: &str, row: &Row, reason: &str) {
        // A dead letter of a dead letter would be the first of many.
        if row.topic.starts_with(letter::PREFIX) {
            tracing::warn!(target: "sink", sink, topic = ?row.topic, reason, "a dead letter cannot be saved; it is given up");
            return;
        }
        let mut backoff = Backoff::new(RETRY_MAX);
        let mut told = false;
        loop {
            let error = match self.client.deliver(letter::write(sink, row, reason)).await {
                Ok(published) if !published.reason.is_error() => return,
                Ok(published) => published.reason.to_string(),
                Err(PublishError::Closed) => return std::future::pending().await,
                Err(error) => error.to_string(),
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(target: "sink", sink, error, "a dead letter cannot be kept; the sink waits");
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Shows the figures of one sink whenever they change, at most so often.
    pub(crate) async fn show(self, sink: String, figures: Figures, changed: Arc<Notify>, every: Duration) {
        let mut shown: BTreeMap<&str, String> = BTreeMap::new();
        loop {
            for (name, text) in figures.show() {
                if shown.get(name) != Some(&text) && self.publish(&sink, name, &text) {
                    shown.insert(name, text);
                }
            }
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Takes the figures of a sink away.
    pub(crate) fn clear(&self, sink: &str, figures: &Figures) {
        for name in figures.show().keys() {
            self.publish(sink, name, "");
        }
    }

    fn publish(&self, sink: &str, name: &str, text: &str) -> bool {
        let topic = format!("$SYS/broker/sink/{sink}/{name}");
        self.client.try_publish(Publish::new(topic, text.to_owned()).retain(true)).is_ok()
    }

    pub(crate) async fn close(&self) {
        self.client.disconnect().await;
    }
}
