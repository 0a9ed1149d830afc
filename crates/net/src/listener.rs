//! Where connections come from: the listening sockets.

use crate::tls::TlsAcceptor;
use crate::wire::{Peer, Wire};
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What carries the bytes of MQTT on a Network Connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The bytes of the connection are the bytes of MQTT.
    Tcp,
    /// MQTT inside the binary frames of a WebSocket connection (5.0 and 3.1.1, section 6).
    WebSocket,
}

/// What is wrapped around MQTT on the connections of a listener, from the inside out.
#[derive(Clone, Debug)]
pub struct Wrap {
    /// The framing.
    pub transport: Transport,
    /// TLS, if any.
    pub tls: Option<Arc<TlsAcceptor>>,
    /// A header of the PROXY protocol comes first, and is believed.
    pub proxy: bool,
}

impl From<Transport> for Wrap {
    fn from(transport: Transport) -> Self {
        Self { transport, tls: None, proxy: false }
    }
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A local address and port; port 0 lets the system choose one.
    Net(SocketAddr),
    /// A Unix domain socket.
    Unix {
        /// The socket file.
        path: PathBuf,
        /// Its permissions, `0o660` for owner and group.
        mode: u32,
    },
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Unix { path, .. } => path.display().fmt(f),
        }
    }
}

/// One listener, as configured.
#[derive(Clone, Debug)]
pub struct Listen {
    /// What its connections speak.
    pub wrap: Wrap,
    /// Where it is.
    pub address: Address,
}

impl Listen {
    /// Opens the listening socket.
    ///
    /// # Errors
    /// Those of [`bind`] and [`bind_unix`].
    pub fn open(&self) -> io::Result<Listener> {
        match &self.address {
            Address::Net(address) => bind(*address).map(Listener::Tcp),
            Address::Unix { path, mode } => bind_unix(path, *mode).map(Listener::Unix),
        }
    }

    /// The same while `others`, listeners of this process that are about to be closed, still hold the port for another
    /// address: `0.0.0.0` can be opened before `127.0.0.1` is closed. For that moment the port is open to every process
    /// of this user, since the system knows no narrower way.
    ///
    /// # Errors
    /// Those of [`bind`] and [`bind_unix`].
    pub fn open_beside(&self, others: &[&Listener]) -> io::Result<Listener> {
        let taken = match (self.open(), &self.address) {
            (Err(error), Address::Net(address)) if error.kind() == ErrorKind::AddrInUse => *address,
            (opened, _) => return opened,
        };
        let on_port = |other: &&&Listener| match other {
            Listener::Tcp(other) => other.local_addr().is_ok_and(|at| at.port() == taken.port()),
            Listener::Unix(_) => false,
        };
        let others: Vec<&&Listener> = others.iter().filter(on_port).collect();
        if others.is_empty() {
            return bind(taken).map(Listener::Tcp);
        }
        let share = |on: bool| others.iter().try_for_each(|other| other.share_port(on));
        let opened = share(true).and_then(|()| bind_sharing(taken));
        // It is back to normal even if some said no.
        share(false)?;
        opened.map(Listener::Tcp)
    }
}

/// An open listening socket; accepting does not block.
#[derive(Debug)]
pub enum Listener {
    /// Of TCP.
    Tcp(TcpListener),
    /// Of Unix domain sockets.
    Unix(UnixListener),
}

impl Listener {
    /// Takes the next connection.
    ///
    /// # Errors
    /// `WouldBlock` when nobody waits; those of the system.
    pub fn accept(&self) -> io::Result<(Wire, Peer)> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(socket, peer)| (socket.into(), peer.into())),
            Self::Unix(listener) => listener.accept().map(|(socket, _)| (socket.into(), Peer::Unix)),
        }
    }

    /// Where it listens: `address`, with the port that the system chose.
    ///
    /// # Errors
    /// Those of the system.
    pub fn address(&self, address: &Address) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Net),
            Self::Unix(_) => Ok(address.clone()),
        }
    }

    fn share_port(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => SockRef::from(listener).set_reuse_port(on),
            Self::Unix(_) => Ok(()),
        }
    }

    /// The same socket for another thread: each connection is accepted by one of them.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        match self {
            Self::Tcp(listener) => {
                let copy = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
                Ok(Self::Tcp(TcpListener::from_std(copy)))
            }
            Self::Unix(listener) => {
                let copy = std::os::unix::net::UnixListener::from(listener.as_fd().try_clone_to_owned()?);
                Ok(Self::Unix(UnixListener::from_std(copy)))
            }
        }
    }
}

impl Source for Listener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, interests),
            Self::Unix(listener) => listener.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.reregister(registry, token, interests),
            Self::Unix(listener) => listener.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.deregister(registry),
            Self::Unix(listener) => listener.deregister(registry),
        }
    }
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
    open_socket(address, false)
}

fn bind_sharing(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = open_socket(address, true)?;
    SockRef::from(&listener).set_reuse_port(false)?;
    Ok(listener)
}

fn open_socket(address: SocketAddr, share_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share_port {
        socket.set_reuse_port(true)?;
    }
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

/// Opens a non-blocking listening socket at `path`. The file is never open to more than `mode` says: nobody can
/// connect before the socket listens, and by then its permissions are set.
///
/// A socket file on which nobody listens, as a crash leaves it behind, is replaced.
///
/// # Errors
/// `AddrInUse` when somebody listens there; `AlreadyExists` when the file is no socket; those of the system.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from_std(socket.into()))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is not a socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "somebody listens there already")),
    }
}

/// Takes the socket file away when the listener ends, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Of a listener that was opened just now; `None` if it has no file.
    pub fn of(address: &Address) -> Option<Self> {
        let Address::Unix { path, .. } = address else { return None };
        let inode = fs::symlink_metadata(path).ok()?.ino();
        Some(Self { path: path.clone(), inode })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            // A file that stays is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connections that may wait to be accepted. Large, because after a restart all devices return in the same second;
/// the system cuts it down to its own limit (`net.core.somaxconn`, 4096 on today's Linux).
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::{Address, Listen, SocketFile, Transport, bind};
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{Ipv6Addr, SocketAddr, TcpStream};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

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
    fn a_port_moves_to_another_address_without_a_gap() {
        let here =
            |text: &str| Listen { wrap: Transport::Tcp.into(), address: Address::Net(text.parse().unwrap()) };
        let old = here("127.0.0.1:0").open().unwrap();
        let Address::Net(at) = old.address(&here("127.0.0.1:0").address).unwrap() else { panic!("no port") };
        let wide = here(&format!("0.0.0.0:{}", at.port()));
        assert_eq!(wide.open().unwrap_err().kind(), ErrorKind::AddrInUse);
        let new = wide.open_beside(&[&old]).unwrap();
        let client = TcpStream::connect(at).unwrap();
        let taken = |listener: &super::Listener| listener.accept().is_ok();
        assert!(taken(&old) || taken(&new), "one of them has the client");
        drop((client, old));
        let _client = TcpStream::connect(at).unwrap();
        assert!(taken(&new));
        let narrow = here(&at.to_string());
        assert_eq!(narrow.open().unwrap_err().kind(), ErrorKind::AddrInUse, "and it is not shared any more");
        drop(narrow.open_beside(&[&new]).unwrap());
        assert_eq!(narrow.open_beside(&[]).unwrap_err().kind(), ErrorKind::AddrInUse);
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

    /// A path for a socket, in a folder that is removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("cork-net-{}-{name}", std::process::id()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn listen(&self, mode: u32) -> Listen {
            let address = Address::Unix { path: self.0.join("s"), mode };
            Listen { wrap: Transport::Tcp.into(), address }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_goes_with_its_listener() {
        let folder = Folder::new("mode");
        for mode in [0o660, 0o600, 0o666] {
            let listen = folder.listen(mode);
            let listener = listen.open().unwrap();
            let file = SocketFile::of(&listen.address).unwrap();
            let path = folder.0.join("s");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
            let _client = UnixStream::connect(&path).unwrap();
            listener.try_clone().unwrap().accept().unwrap();
            drop((listener, file));
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else() {
        let folder = Folder::new("stale");
        let path = folder.0.join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind as by a crash");
        let listen = folder.listen(0o660);
        let first = listen.open().unwrap();
        assert_eq!(listen.open().unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok(), "the one that is in use is still there");
        drop(first);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "notes").unwrap();
        assert_eq!(listen.open().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
    }

    #[test]
    fn a_socket_file_of_another_is_not_removed() {
        let folder = Folder::new("other");
        let listen = folder.listen(0o660);
        let path = folder.0.join("s");
        let listener = listen.open().unwrap();
        let file = SocketFile::of(&listen.address).unwrap();
        // Made beside it first, so that it has another inode.
        let _other = UnixListener::bind(folder.0.join("t")).unwrap();
        fs::rename(folder.0.join("t"), &path).unwrap();
        drop((listener, file));
        assert!(UnixStream::connect(&path).is_ok());
    }
}
