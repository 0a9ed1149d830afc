//! The sink port: batches of messages saved outside the broker.
//!
//! A sink is the consumer of a persistent Session inside the broker. It gets [`Row`]s in the order of arrival, many at a
//! time, and says when they are safe; only then are they acknowledged to the Session. Rows may come again after a crash,
//! so a sink writes by the row's [`id`](Row::id): what is there already is not written twice.
//!
//! What goes where is said by [`Column`]s: where a value comes from ([`Source`]), and what it is to become ([`Kind`]).
//! Without any of them the payload is taken for what it is, see [`Payload`].
//!
//! ```
//! use cork_sink::{Cell, Column, Payload, Row};
//!
//! let row = Row::new("1", 0, "sensors/kitchen", br#"{"temperature": 21.5}"#);
//! let payload = Payload::of(&row);
//! let column: Column = Column::parse("room", "topic[1]").unwrap();
//! assert_eq!(column.cell(&row, &payload), Ok(Cell::Text("kitchen".into())));
//! let column = Column::parse("celsius", "payload.temperature as number").unwrap();
//! assert_eq!(column.cell(&row, &payload), Ok(Cell::Float(21.5)));
//! ```
#![forbid(unsafe_code)]

mod cell;
mod column;
mod document;
mod payload;
mod secret;
mod target;
mod time;

pub use cell::Cell;
pub use column::{Column, Kind, Source, standard_columns, table_columns};
pub use document::{document, properties};
pub use payload::{JSON_LEVELS_MAX, JSON_MEMORY_MAX, Number, Payload};
pub use secret::{Secret, decode};
pub use target::{Fault, Opening, Sink, Work};
pub use time::{parse_rfc3339, rfc3339};

use bytes::Bytes;

/// A message on its way to a sink: the Application Message, and what the broker knows of its arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which message this is: printable ASCII, never the same for two messages, the same when a message comes again.
    pub id: Box<str>,
    /// When it arrived: microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// Topic Name.
    pub topic: Box<str>,
    /// The payload.
    pub payload: Bytes,
    /// QoS, 0 to 2.
    pub qos: u8,
    /// RETAIN as it was published.
    pub retain: bool,
    /// The publisher's Client Identifier; empty for the broker itself.
    pub client_id: Box<str>,
    /// The publisher's User Name, if it gave one.
    pub user: Option<Box<str>>,
    /// Content Type (5.0 3.3.2.3.9).
    pub content_type: Option<Box<str>>,
    /// User Properties (5.0 3.3.2.3.7), in their order.
    pub user_properties: Vec<(Box<str>, Box<str>)>,
}

impl Row {
    /// A row with these, QoS 1 and nothing else.
    #[must_use]
    pub fn new(id: &str, time: i64, topic: &str, payload: &[u8]) -> Self {
        Self {
            id: id.into(),
            time,
            topic: topic.into(),
            payload: Bytes::copy_from_slice(payload),
            qos: 1,
            retain: false,
            client_id: Box::default(),
            user: None,
            content_type: None,
            user_properties: Vec::new(),
        }
    }

    /// Bytes it holds, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let properties: usize =
            self.user_properties.iter().map(|(name, value)| name.len() + value.len()).sum();
        size_of::<Self>() + self.topic.len() + self.payload.len() + properties
    }
}
