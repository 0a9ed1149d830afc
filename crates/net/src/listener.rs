//! Where connections come from: the listening sockets.

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// What carries the bytes of MQTT on a Network Connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The bytes of the TCP connection are the bytes of MQTT.
    Tcp,
    /// MQTT inside the binary frames of a WebSocket connection (5.0 and 3.1.1, section 6).
    WebSocket,
}

/// One listener, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// What its connections speak.
    pub transport: Transport,
    /// The local address and port; port 0 lets the system choose one.
    pub address: SocketAddr,
}

/// Opens a non-blocking listening socket on `address`.
///
/// The port can be taken again at once after a restart (`SO_REUSEADDR`), and an IPv6 socket takes no IPv4
/// connections (`IPV6_V6ONLY`), so `0.0.0.0` and `[::]` can be open on one port side by side.
///
/// # Errors
/// Those of the system: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` and the like. The text does not name the
/// address; the caller knows which listener it was.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it: one system call less for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Connections that may wait to be accepted. Large, because after a restart all devices return in the same second;
/// the system cuts it down to its own limit (`net.core.somaxconn`, 4096 on today's Linux).
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::bind;
    use std::io::ErrorKind;
    use std::net::{Ipv6Addr, SocketAddr, TcpStream};

    #[test]
    fn accepting_does_not_block() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn a_taken_port_is_refused() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_with_old_connections_can_be_taken_again() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        // This side closes first, so that its end of the connection lingers in TIME_WAIT.
        let accepted = loop {
            if let Ok((accepted, _)) = listener.accept() {
                break accepted;
            }
        };
        drop(accepted);
        drop(listener);
        bind(address).unwrap();
    }

    #[test]
    fn both_address_families_share_a_port() {
        // Machines without IPv6 have nothing to share.
        let Ok(six) = bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)) else { return };
        let port = six.local_addr().unwrap().port();
        match bind(SocketAddr::new([0, 0, 0, 0].into(), port)) {
            Ok(_) => {}
            // Another program may hold the same number in the other family.
            Err(error) => assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "{error}"),
        }
    }
}
