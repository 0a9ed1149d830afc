//! What carries a connection, for an operator's questions: looked up in the socket when somebody asks.

use cork_core::{Answer, Carrier, Encryption, Transport};
use cork_net::{Peer, Stream, Transport as Framing};

use crate::connections::Connections;

/// Adds to an answer of the shard what only the sockets know.
pub(crate) fn add_carriers(answer: &mut Answer, connections: &Connections) {
    for view in answer.connections_mut() {
        view.carrier = connections.look(view.conn).map(|connection| carrier(&connection.stream));
    }
}

fn carrier(stream: &Stream) -> Carrier {
    let transport = match (stream.transport(), stream.neighbour()) {
        (Framing::WebSocket, _) => Transport::WebSocket,
        (Framing::Tcp, Peer::Net(_)) => Transport::Tcp,
        (Framing::Tcp, Peer::Unix) => Transport::Unix,
        (Framing::Tcp, Peer::InProcess | Peer::Inside) => Transport::InProcess,
    };
    let encryption = stream.tls().map(|tls| Encryption {
        version: tls.version,
        cipher_suite: tls.cipher_suite,
        client_subject: tls.client_subject.map(String::into_boxed_str),
    });
    Carrier { transport, encryption }
}
