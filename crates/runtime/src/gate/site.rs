//! What counts as one address.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// An IPv4 address, or the /64 of an IPv6 one: who has one address of a /64 has them all.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// The address.
    V4(Ipv4Addr),
    /// The upper half.
    V6(u64),
    /// `::1`, whose /64 holds nothing else that is used.
    Loopback6,
}

impl Site {
    /// Where an address belongs.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => Self::Loopback6,
            IpAddr::V6(address) => Self::V6(u64::try_from(address.to_bits() >> 64).unwrap_or_default()),
        }
    }

    /// Of a peer as the log names it; `None` for sockets without an address, and where a balancer speaks for nobody.
    pub(crate) fn of_peer(peer: &str) -> Option<Self> {
        peer.parse::<SocketAddr>().ok().map(|address| Self::of(address.ip()))
    }

    /// Whether it is this machine.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        match self {
            Self::V4(address) => address.is_loopback(),
            Self::V6(_) => false,
            Self::Loopback6 => true,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(upper) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*upper) << 64)),
            Self::Loopback6 => Ipv6Addr::LOCALHOST.fmt(f),
        }
    }
}
