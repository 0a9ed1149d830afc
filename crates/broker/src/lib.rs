//! The API that programs embed: [`Broker`] and [`Config`].
//!
//! ```
//! use cork_broker::{Broker, Config};
//!
//! let mut config = Config::in_memory();
//! config.listen("mqtt://127.0.0.1:0")?;
//! let broker = Broker::start(&config)?;
//! println!("listening on {:?}", broker.addresses());
//! broker.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`Broker::connector`]: clients of the same program, without a socket that anybody else could see.
//! - [`Broker::start_with`] and [`hooks`]: what clients do, seen and decided by the program.
//! - [`TestBroker`]: a broker for a unit test.
//!
//! `docs/embedding.md` tells about them; `examples/embed.rs` is a program to begin with.
#![forbid(unsafe_code)]

mod broker;
pub mod config;
mod data_dir;
pub mod history;
mod listeners;
pub mod managed;
mod memory;
mod operator;
mod reload;
pub mod store;
mod test_broker;
mod tls;
mod watch;

pub use broker::{Broker, InsideSession, StartError};
pub use config::{Config, Overrides};
pub use cork_access::{Acl, Action, Decision, Subject, passwd};
pub use cork_core::hooks;
pub use cork_core::{
    Answer, Carrier, ConnectionView, Encryption, Query, Reader, RetainedView, Sample, Sampled, SessionView,
    Stats, SubscriptionPlace, SubscriptionView, Transport, Watch,
};
pub use cork_net::Address;
pub use cork_runtime::{Connector, Network, Probe, Site, Taken, Tap, Tapped, Times};
pub use cork_store::{Facts, Histogram};
pub use listeners::listen_on;
pub use operator::Operator;
pub use reload::Reload;
pub use test_broker::TestBroker;
