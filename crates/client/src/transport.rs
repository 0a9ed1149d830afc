//! What carries the bytes: sockets, or whatever a [`Connector`] makes.

use std::{
    fmt::Debug,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    pin::Pin,
    sync::Arc,
};

use cork_net::TlsFailure;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    ConnectError, Tls,
    server::{Scheme, Server},
    websocket::WebSocket,
};

/// A byte stream both ways.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection on its way.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, ConnectError>> + Send + 'a>>;

/// Makes connections to servers. The client's own one knows TCP, TLS, WebSocket and Unix sockets; another one may
/// hand out pipes into the same program, or go through a proxy.
pub trait Connector: Debug + Send + Sync {
    /// A new connection to `server`, ready for CONNECT.
    fn connect<'a>(&'a self, server: &'a Server) -> Connecting<'a>;
}

/// Sockets, with TLS and WebSocket where the URL says so.
#[derive(Debug)]
pub(crate) struct Sockets {
    tls: Tls,
    bind: Option<IpAddr>,
    config: Option<Arc<rustls::ClientConfig>>,
}

impl Sockets {
    /// Reads the certificates, if one of the servers needs them.
    pub(crate) fn new(tls: Tls, bind: Option<IpAddr>, servers: &[Server]) -> Result<Self, ConnectError> {
        let secure = servers.iter().any(|server| matches!(server.scheme, Scheme::Tls | Scheme::Wss));
        let config = if secure { Some(tls.client_config()?) } else { None };
        Ok(Self { tls, bind, config })
    }

    async fn open(&self, server: &Server) -> Result<Box<dyn Transport>, ConnectError> {
        match server.scheme {
            Scheme::Unix => {
                let stream = tokio::net::UnixStream::connect(&server.path).await;
                let failed = |error| ConnectError::Io { server: server.to_string(), error: Arc::new(error) };
                Ok(Box::new(stream.map_err(failed)?))
            }
            Scheme::InProcess => {
                Err(ConnectError::Options("sockets do not lead to a broker in this program".into()))
            }
            Scheme::Tcp => Ok(Box::new(tcp(server, self.bind).await?)),
            Scheme::Tls => Ok(Box::new(self.secure(server).await?)),
            Scheme::Ws => websocket(tcp(server, self.bind).await?, server).await,
            Scheme::Wss => websocket(self.secure(server).await?, server).await,
        }
    }

    async fn secure(&self, server: &Server) -> Result<TlsStream<tokio::net::TcpStream>, ConnectError> {
        let unread = || ConnectError::Options("the options name no server with TLS".into());
        let config = self.config.clone().ok_or_else(unread)?;
        let name = self.tls.name(&server.host)?;
        let stream = tcp(server, self.bind).await?;
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| ConnectError::Tls {
            server: server.to_string(),
            cause: TlsFailure::of_handshake(&error),
        })
    }
}

impl Connector for Sockets {
    fn connect<'a>(&'a self, server: &'a Server) -> Connecting<'a> {
        Box::pin(self.open(server))
    }
}

/// Opens the client's end of a pipe.
pub(crate) type Open = dyn Fn() -> io::Result<UnixStream> + Send + Sync;

/// Pipes that the program makes.
pub(crate) struct Pipes(pub(crate) Box<Open>);

impl Debug for Pipes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pipes").finish_non_exhaustive()
    }
}

impl Pipes {
    fn open(&self) -> io::Result<tokio::net::UnixStream> {
        let pipe = (self.0)()?;
        pipe.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(pipe)
    }
}

impl Connector for Pipes {
    fn connect<'a>(&'a self, server: &'a Server) -> Connecting<'a> {
        let failed = |error| ConnectError::Io { server: server.to_string(), error: Arc::new(error) };
        Box::pin(async move { Ok(Box::new(self.open().map_err(failed)?) as Box<dyn Transport>) })
    }
}

async fn websocket(
    stream: impl Transport + 'static,
    server: &Server,
) -> Result<Box<dyn Transport>, ConnectError> {
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
    let host = format!("{host}:{}", server.port);
    match WebSocket::connect(stream, &host, &server.path).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(cause) => Err(ConnectError::WebSocket { server: server.to_string(), cause }),
    }
}

/// Tries every address of the host, in the order the system gives.
async fn tcp(server: &Server, bind: Option<IpAddr>) -> Result<tokio::net::TcpStream, ConnectError> {
    let addresses = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
    let addresses =
        addresses.map_err(|error| ConnectError::Dns { host: server.host.clone(), error: Arc::new(error) })?;
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match dial(address, bind).await {
            Ok(stream) => {
                // Packets go out together anyway; a lone one must not wait.
                stream.set_nodelay(true).unwrap_or_default();
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Io { server: server.to_string(), error: Arc::new(last) })
}

async fn dial(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<tokio::net::TcpStream> {
    let Some(local) = bind else { return tokio::net::TcpStream::connect(address).await };
    let socket = match local {
        IpAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        IpAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(address).await
}
