//! Where the broker is and how to talk to it; and from which addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use cork_packet::ProtocolVersion;
use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Failure;
use crate::args::TargetArgs;
use crate::tls;
use crate::websocket::WebSocket;
use crate::wire::Wire;

/// A broker to measure.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) version: ProtocolVersion,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) keep_alive: u16,
    pub(crate) sources: Vec<IpAddr>,
    host: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Host with port, and path.
    websocket: Option<(String, String)>,
}

impl Target {
    /// Judges what the user said.
    ///
    /// # Errors
    /// A URL that is none, a host without address, a CA file that cannot be used.
    pub(crate) fn new(args: &TargetArgs) -> Result<Self, Failure> {
        let url = Url::parse(&args.url).map_err(|why| {
            Failure::usage(format!("--url {}: {why}; write for example mqtt://127.0.0.1:1883", args.url))
        })?;
        let mut addresses = (url.host, url.port).to_socket_addrs().map_err(|error| {
            Failure::run(format!("--url {}: no address for {}: {error}", args.url, url.host))
        })?;
        let first = addresses.next();
        // A broker that names 127.0.0.1 does not listen on ::1; most do the former.
        let address =
            addresses.find(SocketAddr::is_ipv4).filter(|_| !first.is_some_and(|first| first.is_ipv4()));
        let address = address
            .or(first)
            .ok_or_else(|| Failure::run(format!("--url {}: {} has no address", args.url, url.host)))?;
        let tls = if url.tls {
            let name = ServerName::try_from(url.host.to_owned()).map_err(|_| {
                Failure::usage(format!("--url {}: {} is no name for TLS", args.url, url.host))
            })?;
            Some((tls::config(args.ca.as_deref(), args.insecure)?, name))
        } else {
            None
        };
        if args.password.is_some() && args.user.is_none() && args.protocol.version() != ProtocolVersion::V5 {
            return Err(Failure::usage("--password without --user: MQTT 3 has no such login; add --user"));
        }
        let websocket = url.websocket.then(|| (format!("{}:{}", url.host, url.port), url.path.to_owned()));
        Ok(Self {
            address,
            version: args.protocol.version(),
            user: args.user.clone(),
            password: args.password.clone(),
            keep_alive: args.keep_alive,
            sources: args.source.iter().flat_map(|source| source.0.clone()).collect(),
            host: url.host.to_owned(),
            tls,
            websocket,
        })
    }

    /// Begins a connection, from the address `source` if one is given.
    ///
    /// # Errors
    /// Those of the system: no descriptor, no port.
    pub(crate) fn open(&self, source: Option<SocketAddr>) -> io::Result<Wire> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&source.into())?;
        }
        match socket.connect(&self.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let tls = match &self.tls {
            None => None,
            Some((config, name)) => {
                let connection =
                    ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                Some(Box::new(connection))
            }
        };
        let websocket = self.websocket.as_ref().map(|(host, path)| Box::new(WebSocket::new(host, path)));
        Ok(Wire::new(TcpStream::from_std(socket.into()), tls, websocket))
    }

    /// Whether there are other addresses to connect from without asking anybody.
    fn is_loopback4(&self) -> bool {
        self.address.ip().to_canonical().is_loopback() && self.address.is_ipv4()
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> String {
        format!("{} ({})", self.host, self.address)
    }
}

/// Hands out source addresses, so that more connections are possible than one address has ports.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    addresses: Vec<IpAddr>,
    next: usize,
}

impl Sources {
    /// For about `connections` connections (all there will be within a minute, for their ports rest that long). On
    /// loopback and without a list of the user, as many addresses of 127.0.0.0/8 as that needs.
    pub(crate) fn new(target: &Target, connections: usize) -> Self {
        let addresses = if !target.sources.is_empty() {
            target.sources.clone()
        } else if target.is_loopback4() {
            loopback(connections, ports())
        } else {
            Vec::new()
        };
        Self { addresses, next: 0 }
    }

    /// Begins a connection from the next address that has a port left.
    ///
    /// # Errors
    /// No address has; or anything else the system says.
    pub(crate) fn open<T>(
        &mut self,
        mut open: impl FnMut(Option<SocketAddr>) -> io::Result<T>,
    ) -> io::Result<T> {
        for _ in 1..self.addresses.len() {
            match open(self.take()) {
                Err(error) if is_out_of_ports(&error) => {}
                result => return result,
            }
        }
        open(self.take())
    }

    fn take(&mut self) -> Option<SocketAddr> {
        let address = *self.addresses.get(self.next % self.addresses.len().max(1))?;
        self.next += 1;
        Some(SocketAddr::new(address, 0))
    }
}

fn is_out_of_ports(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

/// As many addresses as `connections` need with `ports` ports each, of which a quarter may be taken; none when the
/// system's own choice of address does.
fn loopback(connections: usize, ports: usize) -> Vec<IpAddr> {
    let usable = (ports * 3 / 4).max(1);
    let needed = connections.div_ceil(usable);
    if needed < 2 {
        return Vec::new();
    }
    (0..needed.min(0xFF_FFFE))
        .map(|n| {
            let [_, a, b, c] = (u32::try_from(n).unwrap_or(u32::MAX) + 1).to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(127, a, b, c))
        })
        .collect()
}

/// How many ports the system gives to one address of a client.
fn ports() -> usize {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().map_while(|end| end.parse::<usize>().ok());
    match (ends.next(), ends.next()) {
        (Some(low), Some(high)) if high >= low => high - low + 1,
        _ => 28_232,
    }
}

/// An address, or the addresses from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceRange(Vec<IpAddr>);

impl std::str::FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address; write for example 127.0.0.2 or 127.0.0.2-127.0.0.20");
        let Some((from, to)) = text.split_once('-') else {
            return text.parse().map(|address| Self(vec![address])).map_err(|_| wrong());
        };
        let (from, to): (Ipv4Addr, Ipv4Addr) =
            (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
        let range = from.to_bits()..=to.to_bits();
        if range.is_empty() || range.end() - range.start() > 0xFFFF {
            return Err(format!(
                "`{text}` has no address in it, or more than 65536; write the smaller one first"
            ));
        }
        Ok(Self(range.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))).collect()))
    }
}

struct Url<'a> {
    tls: bool,
    websocket: bool,
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("has no scheme")?;
        let (tls, websocket, usual) = match scheme {
            "mqtt" => (false, false, 1883),
            "mqtts" => (true, false, 8883),
            "ws" => (false, true, 80),
            "wss" => (true, true, 443),
            other => return Err(format!("unknown scheme `{other}`, there are mqtt, mqtts, ws and wss")),
        };
        let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if place.contains('@') {
            return Err("user and password belong into --user and --password".into());
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("`{port}` is no port"))?)
            }
            _ => (place, usual),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("has no host".into());
        }
        let path = if path.is_empty() || path == "/" && websocket { "/mqtt" } else { path };
        Ok(Self { tls, websocket, host, port, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = Url::parse("wss://[::1]:9001/x").unwrap();
        assert_eq!((url.tls, url.websocket, url.host, url.port, url.path), (true, true, "::1", 9001, "/x"));
        let url = Url::parse("mqtt://localhost").unwrap();
        assert_eq!((url.tls, url.websocket, url.host, url.port), (false, false, "localhost", 1883));
        for wrong in ["localhost", "http://x", "mqtt://", "mqtt://x:port", "mqtt://me@x"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_address_while_its_ports_suffice_then_as_many_as_it_takes() {
        assert_eq!(loopback(21_000, 28_232), Vec::<IpAddr>::new());
        assert_eq!(loopback(21_200, 28_232).len(), 2);
        let many = loopback(1000, 4);
        assert_eq!(
            (many.len(), many[0].to_string(), many[299].to_string()),
            (334, "127.0.0.1".into(), "127.0.1.44".into())
        );
    }

    #[test]
    fn an_address_without_ports_is_passed_over() {
        let mut sources = Sources { addresses: vec![[127, 0, 0, 1].into(), [127, 0, 0, 2].into()], next: 0 };
        let mut asked = Vec::new();
        let got = sources.open(|source| {
            asked.push(source.unwrap().ip().to_string());
            if asked.len() == 1 { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(7) }
        });
        assert_eq!((got.unwrap(), asked), (7, vec!["127.0.0.1".into(), "127.0.0.2".to_string()]));
        let none = sources.open(|_| Err::<(), _>(io::ErrorKind::AddrNotAvailable.into())).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn ranges_of_sources() {
        assert_eq!("127.0.0.9-127.0.1.9".parse::<SourceRange>().unwrap().0.len(), 257);
        assert_eq!("::1".parse::<SourceRange>().unwrap().0.len(), 1);
        assert!("127.0.0.9-127.0.0.1".parse::<SourceRange>().is_err());
        assert!("here".parse::<SourceRange>().unwrap_err().contains("`here` is no address"));
    }
}
