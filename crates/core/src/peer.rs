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
            Kind::V4(address) => {
                // There are two log lines for each connection: the standard library's way takes five times as long.
                let (mut text, mut len) = ([0; "255.255.255.255:65535".len()], 0);
                for (octet, end) in address.ip().octets().into_iter().zip(*b"...:") {
                    len = put_number(&mut text, len, octet.into());
                    text[len] = end;
                    len += 1;
                }
                len = put_number(&mut text, len, address.port());
                f.pad(std::str::from_utf8(&text[..len]).unwrap_or_default())
            }
            Kind::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes a number at `at`; returns where it ends.
fn put_number(text: &mut [u8], at: usize, number: u16) -> usize {
    let (mut end, mut place) = (at, 10_000);
    while place > 0 {
        if number >= place || place == 1 {
            text[end] = b'0' + u8::try_from(number / place % 10).unwrap_or(0);
            end += 1;
        }
        place /= 10;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_as_its_text_and_is_small() {
        for text in
            ["127.0.0.1:1883", "255.255.255.255:65535", "10.0.0.100:0", "203.0.10.9:1000", "[::1]:1883"]
        {
            let peer = Peer::from(text.parse::<SocketAddr>().unwrap());
            assert_eq!(peer.to_string(), text);
        }
        assert!(Peer::from("unix").is("unix") && !Peer::from("unix").is("inside"));
        assert_eq!(Peer::default().to_string(), "");
        assert_eq!(size_of::<Peer>(), 16);
    }
}
