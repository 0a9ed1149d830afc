//! Links to other brokers, as `[[bridge]]` in the configuration has them.
//!
//! A link is a session inside this broker that never ends, a session in the other broker that never ends, and a relay
//! of packets between the two. What waits, for how long and in which order is the business of the two sessions: there is
//! no queue and no store in between. Exactly once comes from the Packet Identifiers: both brokers keep them, and the relay
//! does not change them.
//!
//! ```no_run
//! use cork_bridge::Bridges;
//! use cork_broker::{Broker, Config};
//!
//! let config = Config::load("cork.toml".as_ref())?;
//! let mut broker = Broker::start_closed(&config)?;
//! let bridges = Bridges::start(&broker)?;
//! broker.open();
//! // ...
//! bridges.stop();
//! broker.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All links share one thread of their own, so that a slow one never costs the broker's clients anything.
//! `docs/bridge.md` tells how to use them.
#![forbid(unsafe_code)]

mod bridges;
mod hops;
mod identity;
mod ids;
mod judge;
mod link;
mod map;
mod relay;
mod session;
mod status;
mod told;
mod trial;
mod wire;

pub use bridges::Bridges;
pub use judge::{judge, notes};
pub use trial::try_links;
