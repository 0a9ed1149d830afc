//! Any bytes from a WebSocket client, in any split: no panic, and the split changes nothing.
#![no_main]

use cork_net::{WebSocket, WsError};
use libfuzzer_sys::fuzz_target;

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Payload, replies, the first error.
type Heard = (Vec<u8>, Vec<u8>, Option<WsError>);

fn feed(websocket: &mut WebSocket, bytes: &[u8], size: usize) -> Heard {
    let (mut payload, mut replies, mut error) = (Vec::new(), Vec::new(), None);
    for piece in bytes.chunks(size.max(1)) {
        let mut piece = piece.to_vec();
        let result =
            websocket.receive(&mut piece, &mut replies, &mut |bytes| payload.extend_from_slice(bytes));
        assert!(error.is_none() || result.is_ok(), "input after an error is ignored");
        error = error.or(result.err());
    }
    (payload, replies, error)
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (handshake_done, size, bytes) = input;
    let connection = || {
        let mut websocket = WebSocket::new();
        if handshake_done {
            feed(&mut websocket, REQUEST, REQUEST.len());
            assert!(websocket.is_open());
        }
        websocket
    };
    let whole = feed(&mut connection(), bytes, bytes.len());
    assert_eq!(feed(&mut connection(), bytes, usize::from(size)), whole);
    // Payload and replies come out of the input; only the one answer to the handshake may be longer.
    assert!(whole.0.len() + whole.1.len() <= bytes.len() + 512);
});
