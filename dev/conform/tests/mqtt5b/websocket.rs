//! MQTT over WebSocket: section 6.

use cork_conform::{
    Lab,
    wire::{self, Connect, V5},
};
use cork_net::{WebSocket, WsError, encode_header};

/// The opening handshake with these `Sec-WebSocket-Protocol` offers.
fn request(offers: &str) -> Vec<u8> {
    format!(
        "GET /any/path?x=1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {offers}\r\n\r\n"
    )
    .into_bytes()
}

/// A masked frame of a client: first byte and payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let length = u16::try_from(payload.len()).expect("no test sends more");
    let [_, short] = length.to_be_bytes();
    let mut frame = if length <= 125 { vec![first, 0x80 | short] } else { vec![first, 0x80 | 126] };
    if length > 125 {
        frame.extend(length.to_be_bytes());
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Feeds bytes; the payload pieces as they are handed on, and how it ended.
fn feed(websocket: &mut WebSocket, bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>, Result<(), WsError>) {
    let (mut input, mut pieces, mut replies) = (bytes.to_vec(), Vec::new(), Vec::new());
    let result = websocket.receive(&mut input, &mut replies, &mut |piece| pieces.push(piece.to_vec()));
    (pieces, replies, result)
}

fn open() -> WebSocket {
    let mut websocket = WebSocket::new();
    feed(&mut websocket, &request("mqtt")).2.expect("a good request");
    websocket
}

#[test]
fn mqtt5_6_0_0_1_packets_travel_in_binary_frames_only() {
    let connect = Connect::new(V5, "a").bytes();
    // Text, unassigned data opcodes, and text that begins after binary.
    for first in [0x81, 0x01, 0x83, 0x84, 0x85, 0x86, 0x87] {
        let mut websocket = open();
        feed(&mut websocket, &frame(0x82, &wire::pingreq())).2.unwrap();
        let (pieces, _, result) = feed(&mut websocket, &frame(first, &connect));
        assert!(result.is_err() && websocket.closed(), "opcode {first:#x} goes on");
        assert!(pieces.is_empty(), "opcode {first:#x} is taken for MQTT");
        assert!(feed(&mut websocket, &frame(0x82, &wire::pingreq())).0.is_empty(), "after opcode {first:#x}");
    }
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        let mut header = [0; 10];
        encode_header(length, &mut header);
        assert_eq!(header[0] & 0x0F, 0x02, "the broker's own frame of {length} bytes");
    }
}

#[test]
fn mqtt5_6_0_0_2_packets_need_not_end_where_frames_do() {
    let stream = [
        Connect::new(V5, "a").bytes(),
        wire::subscribe(V5, 1, &[("t", 0)]),
        wire::publish(V5, 0, "t", None, &[7; 300]),
        wire::pingreq(),
        wire::pingreq(),
    ]
    .concat();
    for size in [1, 2, 3, 7, 20, 100, 333, stream.len()] {
        // All frames in one piece, each in its own, and byte by byte; also as fragments of one message.
        for (step, fragments) in [(usize::MAX, false), (1, false), (5, true)] {
            let mut bytes = request("mqtt");
            let last = stream.len().div_ceil(size) - 1;
            for (n, part) in stream.chunks(size).enumerate() {
                let first = match fragments {
                    false => 0x82,
                    true => u8::from(n == last) << 7 | u8::from(n == 0) << 1,
                };
                bytes.extend(frame(first, part));
            }
            let (mut lab, mut websocket, mut received) = (Lab::new(), WebSocket::new(), Vec::new());
            let client = lab.open(V5);
            for part in bytes.chunks(step.min(bytes.len())) {
                let (pieces, _, result) = feed(&mut websocket, part);
                assert_eq!(result, Ok(()));
                for piece in pieces {
                    lab.send(client, &piece);
                    received.extend(piece);
                }
            }
            assert!(received == stream, "frames of {size}");
            assert!(!lab.is_closed(client), "frames of {size}");
        }
    }
}

#[test]
fn mqtt5_6_0_0_4_the_server_selects_the_subprotocol_mqtt() {
    for offers in ["mqtt", "chat, mqtt", "mqtt,chat", "mqttv3.1, mqtt", "a , b,mqtt , c"] {
        let mut websocket = WebSocket::new();
        let (_, replies, _) = feed(&mut websocket, &request(offers));
        let answer = String::from_utf8(replies).unwrap();
        let named: Vec<&str> =
            answer.lines().filter_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: ")).collect();
        assert_eq!(named, ["mqtt"], "{offers}: {answer}");
    }
}
