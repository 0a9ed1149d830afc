//! One thread per shard: sockets, mailboxes, timers, the store.
//!
//! A worker thread owns one [`cork_core::Shard`] and drives it: waits for sockets, the clock and other threads, hands
//! what comes to the shard, carries out what the shard wants, writes once per touched connection, waits again. It
//! decides nothing about MQTT. User names and passwords are checked on threads of their own, because hashing a password
//! takes longer than ten thousand messages.
#![forbid(unsafe_code)]

mod access;
mod arrivals;
mod carrier;
mod change;
mod connections;
mod connector;
mod gate;
mod listeners;
mod log;
mod mail;
mod peer;
mod probe;
mod runtime;
mod tap;
mod worker;

pub use connector::Connector;
pub use gate::{AddressLimits, Network, NetworkError, Site};
pub use listeners::{ListenError, PreparedListeners};
pub use probe::{Probe, Times};
pub use runtime::{CertificateCheck, HealthReport, HistoryMaker, Runtime, RuntimeConfig, StoreMaker, Wake};
pub use tap::{Taken, Tap, Tapped};
