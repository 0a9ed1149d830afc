//! What the sinks publish: dead letters and figures, over one connection of their own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cork_broker::Connector;
use cork_client::{Client, Options, Property, Publish, PublishError};
use cork_sink::Row;
use cork_store::PACKET_BYTES_ASKED_BY;
use tokio::sync::Notify;

use crate::{figures::Figures, letter, session::PACKET_BYTES_MAX};

/// A handle to publish by; clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    client: Client,
}

/// Who publishes dead letters; nobody outside the broker may be called so.
pub(crate) const CLIENT_ID: &str = "$cork/sinks";

impl Desk {
    pub(crate) fn open(connector: &Connector) -> Result<Self, cork_client::ConnectError> {
        let connector = connector.clone();
        let longest = PACKET_BYTES_MAX.to_string();
        let options = Options::in_process(move || connector.connect())
            .client_id(CLIENT_ID)
            .keep_alive(0)
            .connect_property(Property::UserProperty(PACKET_BYTES_ASKED_BY, &longest));
        Ok(Self { client: Client::start(options)? })
    }

    /// Publishes a dead letter, which is kept then. One that no packet of MQTT can hold is given up, as is one of a dead
    /// letter.
    ///
    /// # Errors
    /// Why it is not kept now.
    pub(crate) async fn bury(&self, sink: &str, row: &Row, reason: &str) -> Result<(), String> {
        // A dead letter of a dead letter would be the first of many.
        if row.topic.starts_with(letter::PREFIX) {
            tracing::warn!(target: "sink", sink, topic = ?row.topic, reason, "a dead letter cannot be saved; it is given up");
            return Ok(());
        }
        match self.client.deliver(letter::write(sink, row, reason)).await {
            Ok(published) if !published.reason.is_error() => Ok(()),
            Ok(published) => Err(published.reason.to_string()),
            Err(error @ (PublishError::TooLarge { .. } | PublishError::Property(_))) => {
                tracing::error!(target: "sink", sink, topic = ?row.topic, reason, "a row cannot be saved, nor become a dead letter: {error}; it is given up");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
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
