//! Where a listener listens, as a URL.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

/// What is spoken at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket and TLS.
    Wss,
    /// MQTT over a Unix domain socket.
    Unix,
    /// The dashboard and its API.
    Http,
    /// The same inside TLS.
    Https,
}

impl Scheme {
    const ALL: [Self; 7] =
        [Self::Mqtt, Self::Mqtts, Self::Ws, Self::Wss, Self::Unix, Self::Http, Self::Https];

    /// The word before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of a URL without one: what IANA registered for MQTT, what other brokers use for WebSocket.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 8083,
            Self::Wss => 8084,
            Self::Http => 8080,
            Self::Https => 8443,
            Self::Unix => 0,
        }
    }

    /// Whether a listener of this kind takes a `tls` table.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss | Self::Https)
    }

    /// Whether it is for the dashboard and its API, which the program serves and not the broker.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// The part of a URL between scheme and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// `localhost`: the loopback addresses of both families, without asking a resolver.
    Localhost,
    /// An address; `0.0.0.0` means every interface with IPv4, `[::]` every interface with IPv6 and IPv4.
    Ip(IpAddr),
    /// A name for the system's resolver.
    Name(String),
    /// The path of a Unix domain socket.
    Path(PathBuf),
}

/// The URL of a listener: `mqtt://127.0.0.1:1883`, `ws://[::]:8083`, `mqtt://localhost`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerUrl {
    /// What is spoken.
    pub scheme: Scheme,
    /// Where.
    pub host: Host,
    /// The port; 0 lets the system choose one. Without meaning for [`Host::Path`].
    pub port: u16,
}

/// A text that isn't the URL of a listener: says why, and what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError(String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

impl ListenerUrl {
    /// Where listeners open if nothing names any: MQTT for programs on this machine.
    pub const DEFAULT: Self =
        Self { scheme: Scheme::Mqtt, host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: 1883 };

    /// And the dashboard with its API.
    pub const DEFAULT_HTTP: Self =
        Self { scheme: Scheme::Http, host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: 8080 };

    /// The addresses to bind, at least one.
    ///
    /// `localhost` gives `127.0.0.1` and `[::1]`, `[::]` gives itself and `0.0.0.0`: a socket is for one family. With
    /// port 0 each gets its own port; a machine may lack one of them. What `[::]` leaves to others,
    /// [`Config::addresses`](super::Config::addresses) knows. Only a [`Host::Name`] asks the system's resolver, which may block.
    ///
    /// # Errors
    /// The name can't be resolved, or this is a Unix domain socket.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let ips = match &self.host {
            Host::Localhost => vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            Host::Ip(ip) if *ip == Ipv6Addr::UNSPECIFIED => vec![*ip, IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            // `[::ffff:127.0.0.1]` is 127.0.0.1, and no socket that takes IPv6 only can have it.
            Host::Ip(ip) => vec![ip.to_canonical()],
            Host::Name(name) => return resolve_name(name, self.port),
            Host::Path(_) => return Err(io::Error::other("a Unix domain socket has no network address")),
        };
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect())
    }

    /// Whether only this machine can reach the listener. A [`Host::Name`] counts as reachable from elsewhere: what it
    /// means may change until it is bound.
    pub fn is_local(&self) -> bool {
        match &self.host {
            Host::Localhost | Host::Path(_) => true,
            Host::Ip(ip) => ip.to_canonical().is_loopback(),
            Host::Name(_) => false,
        }
    }
}

fn resolve_name(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = (name, port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

impl FromStr for ListenerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(UrlError("is not a URL; accepted is `mqtt://HOST:PORT`, or with `mqtts`, `ws`, `wss` or `http`, or `unix:///PATH`".into()));
        };
        let Some(scheme) = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme) else {
            return Err(UrlError(format!(
                "has the unknown scheme `{}`; accepted are `mqtt://`, `mqtts://`, `ws://`, `wss://`, `unix://`, `http://` and `https://`",
                scheme.escape_debug()
            )));
        };
        if scheme == Scheme::Unix {
            return Self::from_path(rest);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError(
                "has more than host and port; clients of `ws://` may ask for any path".into(),
            ));
        }
        let (host, port) = split_port(rest)?;
        let port = match port {
            None => scheme.default_port(),
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port
                .parse()
                .map_err(|_| UrlError("has a port that is not a number from 0 to 65535".into()))?,
            Some(_) => return Err(UrlError("has a port that is not a number from 0 to 65535".into())),
        };
        Ok(Self { scheme, host: parse_host(host)?, port })
    }
}

impl ListenerUrl {
    fn from_path(path: &str) -> Result<Self, UrlError> {
        if path.is_empty() || path.contains('\0') {
            return Err(UrlError("names no socket; accepted is `unix:///run/cork.sock`".into()));
        }
        Ok(Self { scheme: Scheme::Unix, host: Host::Path(PathBuf::from(path)), port: 0 })
    }
}

/// Splits at the colon of the port; brackets stay with the host.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((_, after)) = rest.split_once(']') else {
            return Err(UrlError("has an IPv6 address without its closing bracket".into()));
        };
        let host = &authority[..authority.len() - after.len()];
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(UrlError("has text after the IPv6 address; accepted is `[::1]:1883`".into())),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(UrlError(
            "has too many colons; an IPv6 address stands in brackets, as in `mqtt://[::1]:1883`".into(),
        )),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn parse_host(host: &str) -> Result<Host, UrlError> {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr =
            inner.parse().map_err(|_| UrlError("has no IPv6 address in its brackets".into()))?;
        return Ok(Host::Ip(address.into()));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(address.into()));
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(Host::Localhost);
    }
    // Digits and dots that are no address are a slip, not a name for a resolver to ponder.
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        && host.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_name {
        return Ok(Host::Name(host.to_owned()));
    }
    Err(UrlError("has no valid host; accepted are a name, an IPv4 address, an IPv6 address in brackets, or `0.0.0.0` for every interface".into()))
}

impl fmt::Display for ListenerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, port) = (self.scheme.as_str(), self.port);
        match &self.host {
            Host::Localhost => write!(f, "{scheme}://localhost:{port}"),
            Host::Ip(ip) => write!(f, "{scheme}://{}", SocketAddr::new(*ip, port)),
            Host::Name(name) => write!(f, "{scheme}://{name}:{port}"),
            Host::Path(path) => write!(f, "{scheme}://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_that_are_accepted() {
        let cases = [
            ("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:1883", &["127.0.0.1:1883"][..], true),
            ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883", &["127.0.0.1:1883"], true),
            ("mqtt://127.3.4.5/", "mqtt://127.3.4.5:1883", &["127.3.4.5:1883"], true),
            ("mqtt://localhost", "mqtt://localhost:1883", &["127.0.0.1:1883", "[::1]:1883"], true),
            ("ws://LocalHost:0", "ws://localhost:0", &["127.0.0.1:0", "[::1]:0"], true),
            ("ws://[::1]", "ws://[::1]:8083", &["[::1]:8083"], true),
            ("mqtt://[::ffff:127.0.0.1]:9", "mqtt://[::ffff:127.0.0.1]:9", &["127.0.0.1:9"], true),
            ("mqtt://0.0.0.0:1883", "mqtt://0.0.0.0:1883", &["0.0.0.0:1883"], false),
            ("mqtt://[::]:1883", "mqtt://[::]:1883", &["[::]:1883", "0.0.0.0:1883"], false),
            ("mqtts://192.0.2.7", "mqtts://192.0.2.7:8883", &["192.0.2.7:8883"], false),
            ("wss://192.0.2.7", "wss://192.0.2.7:8084", &["192.0.2.7:8084"], false),
            ("http://127.0.0.1", "http://127.0.0.1:8080", &["127.0.0.1:8080"], true),
            ("https://10.0.0.1", "https://10.0.0.1:8443", &["10.0.0.1:8443"], false),
        ];
        for (text, shown, addresses, local) in cases {
            let url: ListenerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            let resolved: Vec<String> = url.resolve().unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(resolved, addresses, "{text}");
            assert_eq!(url.is_local(), local, "{text}");
        }
        assert_eq!("mqtt://127.0.0.1:1883".parse(), Ok(ListenerUrl::DEFAULT));
    }

    #[test]
    fn names_and_sockets_are_accepted_but_are_no_addresses_yet() {
        let url: ListenerUrl = "mqtt://broker.example:1884".parse().unwrap();
        assert_eq!(url.host, Host::Name("broker.example".into()));
        assert!(!url.is_local(), "what a name means is not known before it is bound");
        let url: ListenerUrl = "unix:///run/cork.sock".parse().unwrap();
        assert_eq!((url.host.clone(), url.is_local()), (Host::Path("/run/cork.sock".into()), true));
        assert_eq!(url.to_string(), "unix:///run/cork.sock");
        assert!(url.resolve().is_err());
    }

    #[test]
    fn urls_that_are_refused_say_why() {
        let cases = [
            ("", "is not a URL"),
            ("1883", "is not a URL"),
            ("127.0.0.1:1883", "is not a URL"),
            ("mqtt:127.0.0.1", "is not a URL"),
            (
                "tcp://127.0.0.1:1883",
                "unknown scheme `tcp`; accepted are `mqtt://`, `mqtts://`, `ws://`, `wss://`, `unix://`, `http://` and `https://`",
            ),
            ("MQTT://127.0.0.1", "unknown scheme `MQTT`"),
            ("mqtt://", "no valid host"),
            ("mqtt://:1883", "no valid host"),
            ("mqtt://*:1883", "`0.0.0.0` for every interface"),
            ("mqtt://256.0.0.1", "no valid host"),
            ("mqtt://127.0.0.1:65536", "not a number from 0 to 65535"),
            ("mqtt://127.0.0.1:+1", "not a number from 0 to 65535"),
            ("mqtt://127.0.0.1:", "not a number from 0 to 65535"),
            ("mqtt://127.0.0.1:mqtt", "not a number from 0 to 65535"),
            ("mqtt://::1:1883", "stands in brackets"),
            ("mqtt://[::1:1883", "closing bracket"),
            ("mqtt://[::1]1883", "text after the IPv6 address"),
            ("mqtt://[localhost]:1883", "no IPv6 address"),
            ("ws://127.0.0.1:8083/mqtt", "any path"),
            ("mqtt://ann:x@127.0.0.1", "more than host and port"),
            ("unix://", "names no socket"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<ListenerUrl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_reads_back(text in r"(mqtt|ws|unix|http)://[a-z0-9.:\[\]]{0,20}/?|.*") {
            if let Ok(url) = text.parse::<ListenerUrl>() {
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
