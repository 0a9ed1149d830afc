//! One end of a Network Connection and the delivery state of a Session, without I/O.
//!
//! These are the small machines the broker's brain (`cork-core`) and the client library are made of:
//! [`Inbound`] cuts a byte stream into packets, [`AliasIn`] and [`AliasOut`] keep Topic Aliases,
//! [`Inflight`] keeps what was sent and not yet acknowledged, [`Received`] the Packet Identifiers of
//! half-done QoS 2 publications. None of them reads a clock, a socket or a random number.
//!
//! ```
//! use cork_proto::{Inbound, split_packet};
//!
//! let mut inbound = Inbound::default();
//! // A PINGREQ and the first byte of another one.
//! let mut input: &[u8] = &[0xC0, 0x00, 0xC0];
//! assert_eq!(split_packet(&mut input, 1024).unwrap(), Some(&[0xC0, 0x00][..]));
//! assert_eq!(split_packet(&mut input, 1024).unwrap(), None);
//! inbound.keep(input);
//! let mut rest: &[u8] = &[0x00];
//! assert_eq!(inbound.complete(&mut rest, 1024).unwrap(), Some(vec![0xC0, 0x00]));
//! ```
#![forbid(unsafe_code)]

mod error;
mod inbound;
mod inflight;
mod received;
mod time;
mod topic_alias;

pub use error::PeerError;
pub use inbound::{Inbound, split_packet};
pub use inflight::{Acked, Flight, Inflight, Phase};
pub use received::Received;
pub use time::Time;
pub use topic_alias::{AliasIn, AliasOut, AliasUse};
