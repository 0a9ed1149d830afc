//! Content filters: expressions over one message.
//!
//! The language is CEL, the Common Expression Language: it always ends and changes nothing. An expression is read and
//! checked once ([`Expression`]); a message is read once, by the first expression that asks for its payload
//! ([`Scratch::look`]); all expressions then look into the same [`Seen`]. A [`Rule`] adds *when to pass on*: only what
//! changed, and how often. This crate keeps no state and knows no clock.
//!
//! ```
//! use cork_filter::{Expression, Message, NoProperties, Outcome, Scratch};
//!
//! let warm = Expression::condition("payload.temperature > 25 && topic[1] == \"kitchen\"")?;
//! let message = Message {
//!     topic: "home/kitchen/climate",
//!     payload: br#"{"temperature": 26.5}"#,
//!     qos: 0,
//!     retain: false,
//!     client_id: "esp-7",
//!     user: "",
//!     properties: &NoProperties,
//! };
//! let mut scratch = Scratch::default();
//! let seen = scratch.look(message);
//! assert_eq!(warm.test(&seen), Outcome::Passes);
//! scratch.take_back(seen); // its memory serves the next message
//!
//! let wrong = Expression::condition("payload.temperature >").unwrap_err();
//! assert_eq!(wrong.to_string(), "at character 22: a value is expected here, not the end");
//! # Ok::<(), cork_filter::FilterError>(())
//! ```
//!
//! What a message does not have, or has with another type, has no value (an error in CEL's words): `||` and `&&` go
//! by their other side where that decides, otherwise the message does not pass. One thing is wider than CEL: in
//! arithmetic a whole number goes with a double, since the sender of a `21` may send a `21.5` next.

#![forbid(unsafe_code)]

mod cbor;
mod compile;
mod error;
mod eval;
mod expression;
mod functions;
mod json;
mod literal;
mod message;
mod msgpack;
mod number;
mod parse;
mod pattern;
mod reading;
mod rule;
mod scan;
mod tape;
mod token;
mod value;

pub use error::FilterError;
pub use expression::{Expression, Outcome};
pub use message::{Message, NoProperties, PayloadType, Properties, Scratch, Seen};
pub use reading::Reading;
pub use rule::{Changed, EVERY_MAX, Rule, percent_decode, percent_encode};

pub(crate) use error::Fault;

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 4096;
/// The most values, operators and names in an expression.
pub const NODES_MAX: usize = 512;
/// How deep an expression may be nested.
pub const DEPTH_MAX: usize = 32;
/// The longest pattern of `matches()`, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;
/// The longest text that `matches()` looks at, in bytes.
pub const PATTERN_TEXT_BYTES_MAX: usize = 64 << 10;
/// Steps after which an evaluation is given up; the message does not pass then. A step is about ten nanoseconds: a name,
/// an operator, an element gone over, some hundred bytes looked at or 64 copied.
pub const STEPS_MAX: u32 = 10_000;
/// Steps that all expressions together take over one message before each further one has [`STEPS_LATE_MAX`] only.
pub const MESSAGE_STEPS_MAX: u32 = 50_000;
/// Steps of an evaluation over a message that has cost [`MESSAGE_STEPS_MAX`]: enough for a few comparisons, so that heavy
/// filters take nothing from simple ones.
pub const STEPS_LATE_MAX: u32 = 100;
/// The longest payload that is looked into, in bytes. A longer one is `binary`.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The most values in a payload that is looked into.
pub const PAYLOAD_VALUES_MAX: usize = 64 << 10;
/// How deep a payload may be nested to be looked into.
pub const PAYLOAD_DEPTH_MAX: usize = 64;
