//! Where a connection comes from, as rights, log and operators see it.

use std::{
    fmt,
    net::{SocketAddr, SocketAddrV4},
};

/// Address of a peer: of IPv4 as it is, anything else as text. Each connection keeps one, and most are of the first kind,
/// which needs no memory of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    V4(SocketAddrV4),
    Text(Box<str>),
}

impl Peer {
    /// Whether it is this text, for those who are not on the network.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        matches!(&self.0, Kind::Text(own) if **own == *text)
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self(Kind::Text(Box::default()))
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self(Kind::V4(address)),
            SocketAddr::V6(_) => Self(Kind::Text(address.to_string().into())),
        }
    }
}

impl From<&str> for Peer {
    fn from(text: &str) -> Self {
        Self(Kind::Text(text.into()))
    }
}

impl From<String> for Peer {
    fn from(text: String) -> Self {
        Self(Kind::Text(text.into()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::V4(address) => address.fmt(f),
            Kind::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_as_its_text_and_is_small() {
        for text in ["127.0.0.1:1883", "[::1]:1883"] {
            let peer = Peer::from(text.parse::<SocketAddr>().unwrap());
            assert_eq!(peer.to_string(), text);
        }
        assert!(Peer::from("unix").is("unix") && !Peer::from("unix").is("inside"));
        assert_eq!(Peer::default().to_string(), "");
        assert_eq!(size_of::<Peer>(), 16);
    }
}
