//! Listeners, TCP, Unix domain sockets, TLS and WebSocket, turned into one kind of byte stream.
//!
//! What happens here: a [`Listen`] says where and how to listen, [`bind`] opens the socket, and a [`Stream`] is one
//! accepted Network Connection, of which the caller sees only the bytes of MQTT. What does not happen here: waiting
//! (the caller owns the event loop and tells when a socket is ready), buffering of application bytes (they stay the
//! caller's until the kernel took them), and anything that knows an MQTT Control Packet.
//!
//! [`WebSocket`] is usable alone: it takes bytes and gives bytes, without a socket.
//!
//! ```
//! use cork_net::{Stream, Transport, bind};
//! use std::io::{IoSlice, Read, Write};
//!
//! let listener = bind("127.0.0.1:0".parse().unwrap())?;
//! let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
//! client.write_all(b"ping")?;
//!
//! // An event loop would wait for the listener and the stream; the loopback needs only patience.
//! let (tcp, peer) = loop {
//!     match listener.accept() {
//!         Ok(accepted) => break accepted,
//!         Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
//!         Err(error) => return Err(error),
//!     }
//! };
//! let mut stream = Stream::new(tcp, peer, Transport::Tcp);
//! let (mut buffer, mut heard) = (vec![0; 65_536], Vec::new());
//! while heard.len() < 4 {
//!     stream.read(&mut buffer, &mut |bytes| heard.extend_from_slice(bytes))?;
//! }
//! assert_eq!(stream.write(&[IoSlice::new(b"po"), IoSlice::new(b"ng")])?, 4);
//! stream.shutdown();
//!
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!((heard.as_slice(), answer.as_str()), (&b"ping"[..], "pong"));
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod link;
mod listener;
mod proxy;
mod stream;
mod tls;
mod websocket;
mod wire;

pub use listener::{Address, Listen, Listener, SocketFile, Transport, Wrap, bind, bind_unix};
pub use proxy::{ProxyError, ProxyHeader};
pub use rustls::ServerConfig;
pub use stream::{ReadOutcome, Stream};
pub use tls::{
    Authorities, ClientFiles, Identity, Remedy, ServerJudge, TlsAcceptor, TlsError, TlsFailure, TlsFault,
    TlsFile, TlsFiles, TlsSettings, TlsView, client_identity,
};
pub use websocket::{
    HandshakeError, WebSocket, WebSocketClient, WsClientError, WsError, close_frame, encode_header,
};
pub use wire::{Peer, Wire};
