//! What a broker asks of a cluster.
//!
//! A node claims a Client Identifier before it serves the Session, announces the filters somebody subscribed on it,
//! and forwards messages to nodes that announced one. [`Alone`] is the mesh of a single broker: it grants every claim
//! at once and has nobody to tell.
//!
//! ```
//! use cork_mesh::{Alone, Claim, Mesh};
//!
//! let mut mesh = Alone::default();
//! mesh.claim(7, "sensor-1");
//! assert_eq!(mesh.poll_claim(), Some((7, Claim::Granted)));
//! ```
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// This node serves the Session.
    Granted,
    /// Another node does; a v5 client is told to go there (5.0 4.11, Server Reference).
    Elsewhere(String),
    /// The cluster cannot say: the client is refused with 0x88 (Server unavailable).
    Unavailable,
}

/// The port to a cluster engine.
pub trait Mesh: Send {
    /// Asks to serve the Session of `client_id`; the answer comes under `ticket` from [`Mesh::poll_claim`].
    fn claim(&mut self, ticket: u64, client_id: &str);

    /// The next answer.
    fn poll_claim(&mut self) -> Option<(u64, Claim)>;

    /// This node got its first (`true`) or lost its last (`false`) subscriber of `filter`.
    fn announce(&mut self, filter: &str, interested: bool);
}

/// The mesh of one broker.
#[derive(Debug, Default)]
pub struct Alone {
    granted: VecDeque<u64>,
}

impl Mesh for Alone {
    fn claim(&mut self, ticket: u64, _client_id: &str) {
        self.granted.push_back(ticket);
    }

    fn poll_claim(&mut self) -> Option<(u64, Claim)> {
        Some((self.granted.pop_front()?, Claim::Granted))
    }

    fn announce(&mut self, _filter: &str, _interested: bool) {}
}
