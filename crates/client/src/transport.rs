//! What carries the bytes: sockets, or whatever a [`Connector`] makes.

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{ConnectError, server::Server};

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

/// Sockets.
#[derive(Debug)]
pub(crate) struct Sockets;

impl Connector for Sockets {
    fn connect<'a>(&'a self, server: &'a Server) -> Connecting<'a> {
        Box::pin(async move {
            let failed = |error| ConnectError::Io { server: server.to_string(), error: Arc::new(error) };
            if server.scheme == crate::Scheme::Unix {
                let stream = tokio::net::UnixStream::connect(&server.path).await.map_err(failed)?;
                return Ok(Box::new(stream) as Box<dyn Transport>);
            }
            let stream = tcp(server).await?;
            Ok(Box::new(stream) as Box<dyn Transport>)
        })
    }
}

/// Tries every address of the host, in the order the system gives.
async fn tcp(server: &Server) -> Result<tokio::net::TcpStream, ConnectError> {
    let addresses = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
    let addresses =
        addresses.map_err(|error| ConnectError::Dns { host: server.host.clone(), error: Arc::new(error) })?;
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match tokio::net::TcpStream::connect(address).await {
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
