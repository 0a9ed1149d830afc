//! What is said of who is at the other end of a socket.

use std::io;

use cork_core::Peer;
use cork_net::{ProxyError, Stream, TlsError};

/// Who is at the other end, for the log and for limits per address.
pub(crate) fn peer_of(stream: &Stream) -> Peer {
    match stream.peer() {
        // A balancer's address is not the client's.
        peer if stream.is_behind_balancer() => format!("proxy {peer}").into(),
        cork_net::Peer::Net(address) => address.into(),
        peer => peer.to_string().into(),
    }
}

/// What a peer broke below MQTT, for the log.
pub(crate) fn broken_rule(error: &io::Error) -> Box<str> {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(tls) if tls.is_handshake() => format!("TLS handshake failed: {tls}").into(),
        Some(tls) => format!("TLS: {tls}").into(),
        None if inner.is_some_and(|inner| inner.is::<ProxyError>()) => {
            format!("PROXY header refused: {error}").into()
        }
        None => error.to_string().into(),
    }
}
