use super::frame::{Control, put_control, unmask};
use super::{HandshakeError, WebSocket, WsError, close_frame, encode_header};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// The example key of RFC 6455, 1.3, whose answer is known.
const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Everything that comes out of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    payload: Vec<u8>,
    replies: Vec<u8>,
    error: Option<WsError>,
    closed: bool,
}

/// Feeds `bytes` in pieces of the given sizes, the last size repeating.
fn feed(websocket: &mut WebSocket, bytes: &[u8], sizes: &[usize]) -> Heard {
    let (mut heard, mut rest, mut turn) = (Heard::default(), bytes, 0);
    while !rest.is_empty() {
        let size =
            sizes.get(turn).or_else(|| sizes.last()).copied().unwrap_or(rest.len()).clamp(1, rest.len());
        let mut piece = rest[..size].to_vec();
        let result = websocket.receive(&mut piece, &mut heard.replies, &mut |payload| {
            assert!(!payload.is_empty(), "the sink is never called for nothing");
            heard.payload.extend_from_slice(payload);
        });
        if let Err(error) = result {
            assert_eq!(heard.error, None, "input after an error is ignored");
            heard.error = Some(error);
        }
        (rest, turn) = (&rest[size..], turn + 1);
    }
    heard.closed = websocket.closed();
    heard
}

fn open() -> WebSocket {
    let mut websocket = WebSocket::new();
    assert_eq!(feed(&mut websocket, REQUEST.as_bytes(), &[]).error, None);
    assert!(websocket.is_open() && websocket.can_send() && !websocket.is_handshaking());
    websocket
}

/// A client's frame: first byte, the masked payload in the shortest form.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x1F, 0xE2, 0x33, 0x84];
    let mut header = [0; 10];
    let len = encode_header(payload.len(), &mut header);
    header[0] = first;
    header[1] |= 0x80;
    let mut frame = header[..len].to_vec();
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[test]
fn a_connection_is_small() {
    assert!(size_of::<WebSocket>() <= 56, "{}", size_of::<WebSocket>());
}

#[test]
fn opens_as_the_rfc_says() {
    let heard = feed(&mut WebSocket::new(), REQUEST.as_bytes(), &[]);
    assert_eq!(String::from_utf8(heard.replies).unwrap(), ANSWER);
    assert_eq!(heard.error, None);
}

#[test]
fn frames_may_follow_the_request_at_once() {
    let bytes = [REQUEST.as_bytes(), &client(0x82, b"connect"), &client(0x89, b"")].concat();
    for size in [1, 2, 3, 7, bytes.len()] {
        let heard = feed(&mut WebSocket::new(), &bytes, &[size]);
        assert_eq!(heard.payload, b"connect", "{size}");
        assert_eq!(heard.replies, [ANSWER.as_bytes(), &[0x8A, 0]].concat(), "{size}");
    }
}

#[test]
fn accepts_what_clients_send() {
    let cases = [
        ("header names in any case", "Sec-WebSocket-Key", "sec-websocket-KEY", "mqtt"),
        ("values in any case", "Upgrade: websocket", "upgrade: WebSocket", "mqtt"),
        ("Firefox lists two", "Connection: Upgrade", "Connection: keep-alive, upgrade", "mqtt"),
        ("two lines for one list", "Connection: Upgrade", "Connection: foo\r\nConnection:Upgrade", "mqtt"),
        ("any path", "/mqtt HTTP", "/ HTTP", "mqtt"),
        ("a query", "/mqtt HTTP", "/a/b?c=%20 HTTP", "mqtt"),
        ("spaces around values", "Version: 13", "Version: \t13 \t", "mqtt"),
        ("cookies and the like", "Host:", "Cookie: a=b; c=\"d:e\"\r\nEmpty:\r\nHost:", "mqtt"),
        (
            "extensions, not agreed on",
            "Host:",
            "Sec-WebSocket-Extensions: permessage-deflate\r\nHost:",
            "mqtt",
        ),
        ("a key with loose bits", "bm9uY2U", "bm9uY2V", "mqtt"),
        ("an old client", "Protocol: mqtt", "Protocol: mqttv3.1", "mqttv3.1"),
        ("the registered name first", "Protocol: mqtt", "Protocol: mqttv3.1, chat,mqtt", "mqtt"),
        ("offers in two lines", "Protocol: mqtt", "Protocol: chat\r\nSec-WebSocket-Protocol: mqtt", "mqtt"),
    ];
    for (name, from, to, subprotocol) in cases {
        let heard = feed(&mut WebSocket::new(), REQUEST.replace(from, to).as_bytes(), &[]);
        assert_eq!(heard.error, None, "{name}");
        let replies = String::from_utf8(heard.replies).unwrap();
        assert!(replies.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{name}: {replies}");
        assert!(
            replies.ends_with(&format!("\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n")),
            "{name}: {replies}"
        );
    }
}

#[test]
fn refuses_and_says_why() {
    use HandshakeError::{
        Connection, Host, HttpVersion, Key, Malformed, Method, NoSubprotocol, OtherSubprotocol, Upgrade,
        Version,
    };
    let cases = [
        ("another method", "GET ", "POST ", 405, Method),
        ("a lower-case method, whole", "GET ", "Get ", 405, Method),
        ("HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 400, HttpVersion),
        ("no HTTP", "HTTP/1.1", "MQTT/1.1", 400, Malformed),
        ("no path", "GET /mqtt", "GET ", 400, Malformed),
        ("a space too many", "GET /mqtt", "GET /mqtt x", 400, Malformed),
        ("a browser's plain request", "Upgrade: websocket\r\nConnection: Upgrade\r\n", "", 400, Upgrade),
        ("an upgrade to HTTP/2", "Upgrade: websocket", "Upgrade: h2c", 400, Upgrade),
        ("a name that only begins alike", "Upgrade: websocket", "Upgrade: websocket2", 400, Upgrade),
        ("a proxy that eats Connection", "Connection: Upgrade", "Connection: close", 400, Connection),
        ("no host", "Host: broker.example\r\n", "", 400, Host),
        ("two hosts", "Host: ", "Host: other\r\nHost: ", 400, Host),
        ("an older version", "Version: 13", "Version: 8", 426, Version),
        ("two versions", "Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", 426, Version),
        ("no version", "Sec-WebSocket-Version: 13\r\n", "", 426, Version),
        ("no key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, Key),
        ("a short key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 400, Key),
        ("a long key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQAA", 400, Key),
        ("a key that is not base64", "dGhlIHNh", "dGhl*HNh", 400, Key),
        ("two keys", "Host: ", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nHost: ", 400, Key),
        ("no subprotocol", "Sec-WebSocket-Protocol: mqtt\r\n", "", 400, NoSubprotocol),
        ("another subprotocol", "Protocol: mqtt", "Protocol: MQTT, mqttv5, amqp", 400, OtherSubprotocol),
        ("a header without colon", "Host: broker.example", "Host", 400, Malformed),
        ("a space before the colon", "Host:", "Host :", 400, Malformed),
        ("a folded line", "Host: ", "Host: a\r\n b", 400, Malformed),
        ("a line feed alone", "Host: ", "Host: a\nb: ", 400, Malformed),
        ("a nul", "Host: ", "Host: \0", 400, Malformed),
        ("an empty name", "Host: ", ": ", 400, Malformed),
        ("an empty request line", "GET /mqtt HTTP/1.1\r\n", "X\r\n", 400, Malformed),
    ];
    for (name, from, to, status, error) in cases {
        let request = REQUEST.replacen(from, to, 1);
        assert_ne!(request, REQUEST, "{name}");
        let mut websocket = WebSocket::new();
        let heard = feed(&mut websocket, &[request.as_bytes(), &client(0x82, b"lost")].concat(), &[]);
        assert_eq!(heard.error, Some(WsError::Handshake(error)), "{name}");
        assert_eq!((heard.payload.as_slice(), heard.closed), (&b""[..], true), "{name}");
        let replies = String::from_utf8(heard.replies).unwrap();
        let (header, body) = replies.split_once("\r\n\r\n").unwrap();
        assert!(header.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {header}");
        assert!(header.contains("\r\nConnection: close"), "{name}: {header}");
        assert!(header.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{name}: {header}");
        assert_eq!(body, format!("{error}\n"), "{name}");
        assert_eq!(header.contains("\r\nSec-WebSocket-Version: 13"), status == 426, "{name}: {header}");
        assert_eq!(header.contains("\r\nAllow: GET"), status == 405, "{name}: {header}");

        let mut more = Vec::new();
        websocket.close(1002, &mut more);
        assert!(more.is_empty() && !websocket.can_send(), "{name}: no frames without a connection");
    }
}

#[test]
fn a_client_of_another_protocol_is_refused_at_its_first_byte() {
    for first in [0x10, 0x16, b'g', b'\r', 0] {
        let heard = feed(&mut WebSocket::new(), &[first], &[]);
        assert_eq!(heard.error, Some(WsError::Handshake(HandshakeError::Malformed)), "{first:#x}");
        assert!(heard.replies.starts_with(b"HTTP/1.1 400 "), "{first:#x}");
    }
}

#[test]
fn the_request_has_a_limit() {
    let padded = |len: usize| {
        let filler = len - REQUEST.len() - "X-Pad: \r\n".len();
        REQUEST.replace("Host:", &format!("X-Pad: {}\r\nHost:", "p".repeat(filler)))
    };
    for sizes in [&[][..], &[1000], &[8191, 1]] {
        let heard = feed(&mut WebSocket::new(), padded(8192).as_bytes(), sizes);
        assert_eq!((heard.error, heard.replies.as_slice()), (None, ANSWER.as_bytes()), "{sizes:?}");
        let heard = feed(&mut WebSocket::new(), padded(8193).as_bytes(), sizes);
        assert_eq!(heard.error, Some(WsError::Handshake(HandshakeError::TooLong)), "{sizes:?}");
    }
}

/// Frames that end a connection: the name, the bytes, the error, the code sent.
fn violations() -> Vec<(&'static str, Vec<u8>, WsError, u16)> {
    let start = client(0x02, b"begin");
    vec![
        ("no mask", vec![0x82, 0x01, 0x00], WsError::Unmasked, 1002),
        ("RSV1, compression that nobody agreed on", client(0xC2, b"x"), WsError::ReservedBits, 1002),
        ("RSV2", client(0xA2, b"x"), WsError::ReservedBits, 1002),
        ("RSV3", client(0x92, b"x"), WsError::ReservedBits, 1002),
        ("opcode 3", client(0x83, b"x"), WsError::UnknownOpcode, 1002),
        ("opcode 7", client(0x87, b"x"), WsError::UnknownOpcode, 1002),
        ("opcode 0xB", client(0x8B, b""), WsError::UnknownOpcode, 1002),
        ("opcode 0xF", client(0x8F, b""), WsError::UnknownOpcode, 1002),
        ("text", client(0x81, b"x"), WsError::Text, 1003),
        ("the begin of a text", client(0x01, b"x"), WsError::Text, 1003),
        ("text inside a message", [start.clone(), client(0x81, b"x")].concat(), WsError::Text, 1003),
        ("a fragmented ping", client(0x09, b""), WsError::ControlFragmented, 1002),
        ("a ping of 126 bytes", client(0x89, &[0; 126]), WsError::ControlTooLong, 1002),
        ("a close of 70,000 bytes", client(0x88, &[0; 70_000]), WsError::ControlTooLong, 1002),
        ("a continuation of nothing", client(0x80, b"x"), WsError::ContinuationWithoutStart, 1002),
        (
            "a continuation after the end",
            [start.clone(), client(0x80, b"end"), client(0x80, b"x")].concat(),
            WsError::ContinuationWithoutStart,
            1002,
        ),
        ("a message in a message", [start, client(0x82, b"x")].concat(), WsError::MessageInsideMessage, 1002),
        ("125 in two bytes", vec![0x82, 0xFE, 0, 125, 1, 2, 3, 4], WsError::LengthNotMinimal, 1002),
        (
            "65,535 in eight bytes",
            vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 1, 2, 3, 4],
            WsError::LengthNotMinimal,
            1002,
        ),
        (
            "the top bit of the length",
            vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
            WsError::LengthTooLarge,
            1002,
        ),
        ("a close of one byte", client(0x88, &[3]), WsError::CloseCode, 1002),
        ("a close with 999", client(0x88, &999_u16.to_be_bytes()), WsError::CloseCode, 1002),
        ("a close with 1005", client(0x88, &1005_u16.to_be_bytes()), WsError::CloseCode, 1002),
        ("a close with 2999", client(0x88, &2999_u16.to_be_bytes()), WsError::CloseCode, 1002),
        ("a close with 5000", client(0x88, &5000_u16.to_be_bytes()), WsError::CloseCode, 1002),
        ("a close with a broken reason", client(0x88, b"\x03\xE8\xC3\x28"), WsError::CloseReason, 1007),
    ]
}

#[test]
fn broken_rules_end_the_connection() {
    for (name, bytes, error, code) in violations() {
        let mut expected = Vec::new();
        close_frame(code, &mut expected);
        let bytes = [bytes, client(0x82, b"after")].concat();
        for size in [1, 2, 3, 5, bytes.len()] {
            let mut websocket = open();
            let mut heard = feed(&mut websocket, &bytes, &[size]);
            assert_eq!(heard.error, Some(error), "{name} in pieces of {size}");
            assert!(!heard.payload.ends_with(b"after") && websocket.closed(), "{name}");
            websocket.close(error.close_code().unwrap(), &mut heard.replies);
            websocket.close(1000, &mut heard.replies);
            assert_eq!(heard.replies, expected, "{name}: one close, and the right one");
        }
    }
}

#[test]
fn messages_and_replies() {
    let large = (0..70_000_u32).map(|n| n.to_be_bytes()[3]).collect::<Vec<_>>();
    // Name, what the client sends, the payload, the replies.
    let cases = [
        ("nothing", client(0x82, b""), vec![], vec![]),
        ("a short message", client(0x82, b"x"), b"x".to_vec(), vec![]),
        ("125 bytes", client(0x82, &large[..125]), large[..125].to_vec(), vec![]),
        ("126 bytes", client(0x82, &large[..126]), large[..126].to_vec(), vec![]),
        ("65,536 bytes", client(0x82, &large[..65_536]), large[..65_536].to_vec(), vec![]),
        (
            "fragments, one of them empty, with a ping between",
            [
                client(0x02, b""),
                client(0x00, b"one "),
                client(0x89, b"now"),
                client(0x00, b""),
                client(0x80, b"two"),
                client(0x82, b" three"),
            ]
            .concat(),
            b"one two three".to_vec(),
            b"\x8A\x03now".to_vec(),
        ),
        ("the longest ping", client(0x89, &large[..125]), vec![], [&[0x8A, 125], &large[..125]].concat()),
        ("a pong nobody asked for", client(0x8A, b"?"), vec![], vec![]),
        ("a close without a code", client(0x88, b""), vec![], vec![0x88, 0]),
        ("a close with a reason", client(0x88, b"\x03\xE9bye"), vec![], vec![0x88, 2, 0x03, 0xE9]),
    ];
    for (name, bytes, payload, replies) in cases {
        for size in [1, 3, 8, 13, 4096, bytes.len()] {
            let heard = feed(&mut open(), &bytes, &[size]);
            let closed = name.starts_with("a close");
            let expected = Heard { payload: payload.clone(), replies: replies.clone(), error: None, closed };
            assert!(heard == expected, "{name} in pieces of {size}");
        }
    }
}

#[test]
fn every_allowed_close_code_is_repeated() {
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        let heard = feed(&mut open(), &client(0x88, &u16::to_be_bytes(code)), &[]);
        let mut expected = Vec::new();
        close_frame(code, &mut expected);
        assert_eq!((heard.replies, heard.error, heard.closed), (expected, None, true), "{code}");
    }
}

#[test]
fn nothing_is_said_after_a_close() {
    let mut websocket = open();
    let mut replies = Vec::new();
    websocket.close(1001, &mut replies);
    assert_eq!(replies, [0x88, 2, 0x03, 0xE9]);
    assert!(websocket.is_open() && !websocket.can_send());
    // The peer may still finish what it was saying.
    let bytes =
        [client(0x89, b"?"), client(0x82, b"last"), client(0x88, b""), client(0x82, b"lost")].concat();
    let heard = feed(&mut websocket, &bytes, &[]);
    let expected = Heard { payload: b"last".to_vec(), closed: true, ..Heard::default() };
    assert_eq!(heard, expected);
}

#[test]
fn a_close_cannot_precede_the_handshake() {
    let mut replies = Vec::new();
    let mut websocket = WebSocket::new();
    websocket.close(1000, &mut replies);
    assert!(replies.is_empty() && websocket.is_handshaking());
}

#[test]
fn headers_take_the_shortest_form() {
    let cases: [(usize, &[u8]); 7] = [
        (0, &[0x82, 0]),
        (1, &[0x82, 1]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (255, &[0x82, 126, 0, 255]),
        (65_535, &[0x82, 126, 0xFF, 0xFF]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ];
    for (payload_len, expected) in cases {
        let mut out = [0xEE; 10];
        let len = encode_header(payload_len, &mut out);
        assert_eq!(&out[..len], expected, "{payload_len}");
    }
}

/// What a client may send after the handshake, and what must come of it.
#[derive(Clone, Debug)]
enum Sent {
    Message(Vec<Vec<u8>>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let control = || vec(any::<u8>(), 0..=125);
    let message = vec(prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 100..300)], 1..4);
    let one = prop_oneof![
        3 => message.prop_map(Sent::Message),
        1 => control().prop_map(Sent::Ping),
        1 => control().prop_map(Sent::Pong)
    ];
    vec(one, 0..12)
}

fn play(sent: &[Sent], bytes: &mut Vec<u8>, expected: &mut Heard) {
    for one in sent {
        match one {
            Sent::Message(fragments) => {
                for (index, fragment) in fragments.iter().enumerate() {
                    let opcode = if index == 0 { 0x02 } else { 0x00 };
                    let fin = if index + 1 == fragments.len() { 0x80 } else { 0x00 };
                    bytes.extend(client(fin | opcode, fragment));
                    expected.payload.extend_from_slice(fragment);
                }
            }
            Sent::Ping(payload) => {
                bytes.extend(client(0x89, payload));
                put_control(Control::Pong, payload, &mut expected.replies);
            }
            Sent::Pong(payload) => bytes.extend(client(0x8A, payload)),
        }
    }
}

/// Bytes that are often nearly right: pieces of valid traffic, with one byte changed, and noise.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        sent().prop_map(|sent| {
            let mut bytes = Vec::new();
            play(&sent, &mut bytes, &mut Heard::default());
            bytes
        }),
        Just(client(0x88, b"\x03\xE8")),
        vec(any::<u8>(), 0..40)
    ];
    (vec(piece, 0..4), any::<proptest::sample::Index>(), any::<u8>()).prop_map(|(pieces, index, noise)| {
        let mut bytes = pieces.concat();
        if !bytes.is_empty() {
            let at = index.index(bytes.len());
            bytes[at] ^= noise;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_split_gives_what_was_sent(sent in sent(), sizes in vec(1_usize..60, 1..40)) {
        let mut expected = Heard { replies: ANSWER.into(), ..Heard::default() };
        let mut bytes = REQUEST.as_bytes().to_vec();
        play(&sent, &mut bytes, &mut expected);
        prop_assert_eq!(feed(&mut WebSocket::new(), &bytes, &sizes), expected);
    }

    #[test]
    fn any_bytes_mean_the_same_in_any_split(bytes in nearly(), sizes in vec(1_usize..30, 1..20)) {
        let whole = feed(&mut open(), &bytes, &[]);
        prop_assert!(whole.payload.len() + whole.replies.len() <= bytes.len() + ANSWER.len());
        prop_assert_eq!(feed(&mut open(), &bytes, &sizes), whole);
    }

    #[test]
    fn any_request_means_the_same_in_any_split(
        at in 0..REQUEST.len(), noise in vec(any::<u8>(), 0..4), cut in 0_usize..4, sizes in vec(1_usize..90, 1..9)
    ) {
        let mut request = REQUEST.as_bytes().to_vec();
        request.splice(at..(at + cut).min(REQUEST.len()), noise);
        request.extend(client(0x82, b"payload"));
        let whole = feed(&mut WebSocket::new(), &request, &[]);
        prop_assert_eq!(feed(&mut WebSocket::new(), &request, &sizes), whole);
    }

    #[test]
    fn masking_twice_changes_nothing(payload in vec(any::<u8>(), 0..100), mask: [u8; 4]) {
        let mut masked = payload.clone();
        unmask(&mut masked, mask);
        for (index, byte) in masked.iter().enumerate() {
            prop_assert_eq!(*byte, payload[index] ^ mask[index % 4]);
        }
        unmask(&mut masked, mask);
        prop_assert_eq!(masked, payload);
    }
}
