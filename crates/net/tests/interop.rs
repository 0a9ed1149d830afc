//! A client that others wrote (tungstenite) talks to a `Stream` over a real loopback socket.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use cork_net::{Stream, Transport, WsError, bind};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{ClientRequestBuilder, Error, Message, WebSocket};

type Client = WebSocket<TcpStream>;

/// How the server saw the connection end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Eof,
    Broken(WsError),
}

const LISTENER: Token = Token(0);
const STREAM: Token = Token(1);

/// Accepts one connection and sends back every byte of MQTT it hears, until the connection ends.
fn echo_server() -> (SocketAddr, JoinHandle<End>) {
    let mut listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = spawn(move || {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(8);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        let (tcp, from) = listener.accept().unwrap();
        let mut stream = Stream::new(tcp, from, Transport::WebSocket);
        assert_eq!(
            (stream.peer(), stream.transport(), stream.is_open()),
            (from.into(), Transport::WebSocket, false)
        );
        poll.registry().register(stream.source(), STREAM, Interest::READABLE | Interest::WRITABLE).unwrap();
        let mut queue = Vec::new();
        loop {
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "nothing happened for ten seconds");
            if let Some(end) = turn(&mut stream, &mut queue) {
                finish(&mut stream, &mut poll, &mut events);
                return end;
            }
        }
    });
    (address, server)
}

/// One turn of an event loop: read all, write all that the socket takes.
fn turn(stream: &mut Stream, queue: &mut Vec<u8>) -> Option<End> {
    let mut buffer = vec![0; 65_536];
    let mut end = None;
    loop {
        match stream.read(&mut buffer, &mut |payload| queue.extend_from_slice(payload)) {
            Ok(outcome) if outcome.eof => end = Some(End::Eof),
            Ok(outcome) if outcome.more => continue,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                end = Some(End::Broken(*error.get_ref().unwrap().downcast_ref().unwrap()));
            }
            Err(error) => panic!("{error}"),
        }
        break;
    }
    if end.is_none() && !queue.is_empty() {
        match stream.write(&[IoSlice::new(queue)]) {
            Ok(taken) => drop(queue.drain(..taken)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    stream.flush_control().unwrap();
    end
}

/// Ends the output and waits for the client to do the same, so that it can read what was said last.
fn finish(stream: &mut Stream, poll: &mut Poll, events: &mut Events) {
    stream.shutdown();
    let mut buffer = vec![0; 65_536];
    while let Ok(outcome) = stream.read(&mut buffer, &mut |_| {}) {
        if outcome.bytes == 0 {
            if outcome.eof {
                break;
            }
            poll.poll(events, Some(Duration::from_secs(10))).unwrap();
            stream.flush_control().unwrap();
        }
    }
}

fn connect(address: SocketAddr, subprotocols: &[&str]) -> Result<(Client, Response), String> {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut request = ClientRequestBuilder::new(format!("ws://{address}/mqtt").parse().unwrap());
    for subprotocol in subprotocols {
        request = request.with_sub_protocol(*subprotocol);
    }
    tungstenite::client(request, tcp).map_err(|error| match error {
        tungstenite::HandshakeError::Failure(Error::Http(response)) => {
            format!(
                "{} {}",
                response.status().as_u16(),
                String::from_utf8(response.into_body().unwrap()).unwrap()
            )
        }
        other => other.to_string(),
    })
}

/// Reads binary messages until `len` bytes arrived.
fn read_bytes(client: &mut Client, len: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < len {
        match client.read().unwrap() {
            Message::Binary(bytes) => heard.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    heard
}

/// Reads until the connection is over; the CLOSE that came before that, if any.
fn read_close(client: &mut Client) -> Option<u16> {
    let mut code = None;
    loop {
        match client.read() {
            Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code.into()),
            Ok(other) => panic!("{other:?}"),
            Err(Error::ConnectionClosed) => return code,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_subprotocol_is_chosen_from_the_list() {
    for (offered, chosen) in
        [(&["mqtt"][..], "mqtt"), (&["amqp", "mqttv3.1", "mqtt"], "mqtt"), (&["mqttv3.1"], "mqttv3.1")]
    {
        let (address, server) = echo_server();
        let (mut client, response) = connect(address, offered).unwrap();
        assert_eq!(response.status().as_u16(), 101);
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], chosen);
        client.close(None).unwrap();
        read_close(&mut client);
        drop(client);
        assert_eq!(server.join().unwrap(), End::Eof);
    }
}

#[test]
fn a_client_without_the_subprotocol_reads_why() {
    for (offered, reason) in [(&[][..], "is missing [MQTT-6.0.0-3]"), (&["amqp"], "must offer mqtt")] {
        let (address, server) = echo_server();
        let refusal = connect(address, offered).unwrap_err();
        assert!(refusal.starts_with("400 ") && refusal.contains(reason), "{refusal}");
        assert!(matches!(server.join().unwrap(), End::Broken(WsError::Handshake(_))));
    }
}

#[test]
fn messages_of_any_size_come_back() {
    let (address, server) = echo_server();
    let (mut client, _) = connect(address, &["mqtt"]).unwrap();
    for len in [1, 2, 125, 126, 127, 4096, 65_535, 65_536, 200_000] {
        let message = (0..len).map(|n: usize| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect::<Vec<_>>();
        client.send(Message::binary(message.clone())).unwrap();
        assert!(read_bytes(&mut client, len) == message, "{len}");
    }
    client.close(None).unwrap();
    assert_eq!(read_close(&mut client), None);
    drop(client);
    assert_eq!(server.join().unwrap(), End::Eof);
}

#[test]
fn a_large_message_meets_full_sockets() {
    const LEN: usize = 1 << 20;
    let (address, server) = echo_server();
    let (mut client, _) = connect(address, &["mqtt"]).unwrap();
    let message = (0..LEN).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[2]).collect::<Vec<_>>();
    // All four are sent before the first byte is read back, pings among them, so that the server's socket fills up.
    for _ in 0..4 {
        client.send(Message::binary(message.clone())).unwrap();
        client.send(Message::Ping("still there".into())).unwrap();
    }
    let (mut heard, mut pongs) = (Vec::new(), 0);
    while heard.len() < 4 * LEN || pongs < 4 {
        match client.read().unwrap() {
            Message::Binary(bytes) => heard.extend_from_slice(&bytes),
            Message::Pong(payload) => {
                assert_eq!(payload, "still there");
                pongs += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(heard.chunks(LEN).all(|chunk| chunk == message));
    client.close(None).unwrap();
    read_close(&mut client);
    drop(client);
    assert_eq!(server.join().unwrap(), End::Eof);
}

#[test]
fn fragments_with_a_ping_between() {
    let (address, server) = echo_server();
    let (mut client, _) = connect(address, &["mqtt"]).unwrap();
    let fragment = |opcode, payload: &'static str, fin| {
        Message::Frame(Frame::message(payload, OpCode::Data(opcode), fin))
    };
    client.send(fragment(Data::Binary, "one ", false)).unwrap();
    client.send(Message::Ping("?".into())).unwrap();
    client.send(fragment(Data::Continue, "", false)).unwrap();
    client.send(fragment(Data::Continue, "two", true)).unwrap();
    let (mut heard, mut pongs) = (Vec::new(), 0);
    while heard.len() < 7 || pongs < 1 {
        match client.read().unwrap() {
            Message::Binary(bytes) => heard.extend_from_slice(&bytes),
            Message::Pong(payload) => pongs += usize::from(payload == "?"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, b"one two");
    client.close(Some(CloseFrame { code: CloseCode::Away, reason: "good night".into() })).unwrap();
    assert_eq!(read_close(&mut client), Some(1001));
    drop(client);
    assert_eq!(server.join().unwrap(), End::Eof);
}

#[test]
fn text_is_refused_with_1003() {
    let (address, server) = echo_server();
    let (mut client, _) = connect(address, &["mqtt"]).unwrap();
    client.send(Message::text("hello")).unwrap();
    assert_eq!(read_close(&mut client), Some(1003));
    drop(client);
    assert_eq!(server.join().unwrap(), End::Broken(WsError::Text));
}

#[test]
fn a_client_that_vanishes_is_an_end() {
    let (address, server) = echo_server();
    let (client, _) = connect(address, &["mqtt"]).unwrap();
    drop(client);
    assert_eq!(server.join().unwrap(), End::Eof);
}
