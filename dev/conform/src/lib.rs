//! The specification's normative statements, each with a test against the shard.
//!
//! A [`Lab`] is a broker without sockets, threads or clock: bytes go in, bytes come out, time moves when told. The
//! tests speak in bytes made by [`wire`], which shares no code with the broker's own encoder, so that a mistake in one
//! does not hide behind the same mistake in the other.
//!
//! The steps of a test (connect, subscribe, publish) assert nothing: a test asserts only what its statement says, so
//! that a violation turns that test red and no other.
//!
//! ```
//! use cork_conform::{Lab, wire::{self, V5}};
//!
//! let mut lab = Lab::new();
//! let client = lab.connect(V5, "a");
//! lab.send(client, &wire::subscribe(V5, 1, &[("t", 1)]));
//! lab.send(client, &wire::publish(V5, 0, "t", None, b"hello"));
//! let got = lab.publishes(client);
//! assert_eq!(got[0].payload, b"hello");
//! ```
#![forbid(unsafe_code)]

mod lab;
mod received;
pub mod wire;

pub use lab::{ClientIx, Lab};
pub use received::{Ack, Props, Published, Received, split};
