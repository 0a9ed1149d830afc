//! What carries the bytes of MQTT, as far as an operator may want to know it.
//!
//! The shard sees none of that: its driver adds it to what the shard answers ([`Answer::connections_mut`]), so that no
//! connection keeps it.

use crate::query::{Answer, ConnectionView};

/// What carries the bytes of MQTT of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// What it goes over.
    pub transport: Transport,
    /// TLS, where there is some.
    pub encryption: Option<Encryption>,
}

/// What a connection goes over.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// The binary frames of a WebSocket connection, whatever that goes over.
    WebSocket,
    /// A Unix domain socket.
    Unix,
    /// A pipe within the program the broker is part of.
    InProcess,
}

/// What TLS agreed upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite by IANA's name.
    pub cipher_suite: &'static str,
    /// The subject of the certificate that the client has proven to be its own (RFC 4514); none if it showed none.
    pub client_subject: Option<Box<str>>,
}

impl Answer {
    /// All connections in it.
    pub fn connections_mut(&mut self) -> impl Iterator<Item = &mut ConnectionView> {
        let sessions = match self {
            Self::Sessions { items, .. } => items.as_mut_slice(),
            Self::Session(Some(session)) => std::slice::from_mut(&mut **session),
            _ => &mut [],
        };
        sessions.iter_mut().filter_map(|session| session.connection.as_mut())
    }
}
