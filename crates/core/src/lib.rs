//! The brain of the broker: [`Shard`], one deterministic machine per core.
//!
//! A shard owns Sessions and their connections, matches publications with subscriptions, keeps retained messages and
//! Wills, and says what to send, what to store and when to wake it. It calls nobody: no clock, no socket, no thread,
//! no store. Whoever drives it follows one rule: **mutate** with [`Shard::handle`], **drain** [`Shard::poll_output`]
//! and [`Shard::poll_transmit`], then **wait** until [`Shard::next_timeout`] or for input.
//!
//! ```
//! use cork_core::{ConnId, Input, Output, Shard, ShardConfig};
//! use cork_proto::Time;
//!
//! let mut shard = Shard::new(ShardConfig::default());
//! let conn = ConnId { index: 0, generation: 0 };
//! shard.handle(Time::ZERO, Input::Opened { conn, peer: "127.0.0.1:50000".into() });
//! // CONNECT, MQTT 3.1.1, clean session, client identifier "a".
//! let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'a'];
//! shard.handle(Time::ZERO, Input::Bytes { conn, bytes: &connect });
//! while let Some(output) = shard.poll_output() {
//!     assert!(!matches!(output, Output::Close { .. }));
//! }
//! let mut sent = Vec::new();
//! while let Some(conn) = shard.poll_transmit() {
//!     let write = |slices: &[std::io::IoSlice<'_>]| -> Result<usize, ()> {
//!         let before = sent.len();
//!         slices.iter().for_each(|slice| sent.extend_from_slice(slice));
//!         Ok(sent.len() - before)
//!     };
//!     shard.transmit(Time::ZERO, conn, write).unwrap();
//! }
//! assert_eq!(sent, [0x20, 2, 0, 0]); // CONNACK: accepted
//! ```
#![forbid(unsafe_code)]

mod absent;
mod accounts;
mod acknowledge;
mod backlog;
mod board;
mod carrier;
mod change;
mod config;
mod conn;
mod connect;
mod cursors;
mod deliver;
mod drops;
mod end;
mod event;
mod filters;
mod gather;
mod gone;
mod history;
pub mod hooks;
mod io;
mod lanes;
mod list;
mod outbuf;
mod parcel;
mod peer;
mod peers;
mod presence;
mod pressure;
mod publish;
mod quarrel;
mod query;
mod queue;
mod rate;
mod refuse;
mod restore;
mod resume;
mod retained;
mod rights;
mod router;
mod sample;
mod session;
mod shard;
mod share;
mod stats;
mod strangers;
mod subscribe;
mod subscriptions;
mod sys;
mod waits;
mod watchers;
mod weed;

pub use carrier::{Carrier, Encryption, Transport};
pub use config::{Bans, Door, Limits, Settings, ShardConfig, Users};
pub use connect::INSIDE_PREFIX;
pub use event::{Ended, Event, Refused};
pub use filters::{Attachment, FilterCounts, FilterTable, Who};
pub use history::HistoryTable;
pub use io::{AuthOutcome, Batch, Claim, ConnId, Health, Input, Item, Output, TurnedAway, Waiter};
pub use parcel::Parcel;
pub use peer::Peer;
pub use pressure::Pressure;
pub use query::{
    Answer, ConnectionView, Query, Reader, RetainedView, SessionView, SubscriptionPlace, SubscriptionView,
};
pub use restore::share_out;
pub use sample::{Sample, Sampled};
pub use shard::{Shard, home_shard};
pub use stats::Stats;
pub use waits::Tally;
pub use watchers::Watch;
