//! What belongs to the transport (sections 6 and 7.1.1), tested against the code that carries the bytes.

use std::{
    io::{IoSlice, Read as _, Write as _},
    thread,
};

use cork_conform::{
    Lab,
    wire::{self, Connect, V311},
};
use cork_net::{Stream, Transport, WebSocket, WsError, bind, encode_header};

use crate::support::{Raw, open_with, raw};

/// An opening handshake that offers these subprotocols.
fn request(subprotocols: &str) -> Vec<u8> {
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
    );
    request.into_bytes()
}

/// A client's frame of less than 126 bytes: first byte and payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x3C, 0xA5, 0x11, 0x80];
    let length = u8::try_from(payload.len()).expect("a short payload");
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x80 | first, 0x80 | length].into_iter().chain(mask).chain(masked).collect()
}

/// What a connection hands on of these bytes, and whether it goes on after them.
fn feed(websocket: &mut WebSocket, bytes: &[u8]) -> (Vec<u8>, Result<(), WsError>) {
    let (mut input, mut replies, mut payload) = (bytes.to_vec(), Vec::new(), Vec::new());
    let result = websocket.receive(&mut input, &mut replies, &mut |piece| payload.extend_from_slice(piece));
    (payload, result)
}

fn open() -> WebSocket {
    let mut websocket = WebSocket::new();
    // A refusal shows in what follows.
    let _ = feed(&mut websocket, &request("mqtt"));
    websocket
}

#[test]
fn mqtt311_6_0_0_1_packets_come_in_binary_frames_and_no_others() {
    let ping = wire::pingreq();
    let (payload, result) = feed(&mut open(), &frame(0x2, &ping));
    assert_eq!((payload, result), (ping.clone(), Ok(())));
    // Text, and the opcodes reserved for further kinds of data.
    for opcode in [0x1, 0x3, 0x4, 0x5, 0x6, 0x7] {
        let mut websocket = open();
        let (payload, result) = feed(&mut websocket, &[frame(opcode, &ping), frame(0x2, &ping)].concat());
        assert!(result.is_err() && websocket.closed(), "opcode {opcode}");
        assert!(payload.is_empty());
    }
    for length in [0, 2, 125, 126, 65_535, 65_536] {
        let mut header = [0; 10];
        encode_header(length, &mut header);
        assert_eq!(header[0], 0x82, "a whole binary frame");
    }
}

/// Without their order: some answers wait for the store.
fn sorted(mut packets: Vec<Raw>) -> Vec<Raw> {
    packets.sort();
    packets
}

#[test]
fn mqtt311_6_0_0_2_packets_and_frames_are_not_aligned() {
    let packets = [
        Connect::new(V311, "a").bytes(),
        wire::subscribe(V311, 1, &[("t", 0)]),
        wire::publish(V311, 0, "t", None, b"payload"),
        wire::pingreq(),
    ];
    let bytes = packets.concat();
    let answers = {
        let mut lab = Lab::new();
        let client = open_with(&mut lab, &bytes);
        sorted(raw(&mut lab, client))
    };
    // Frames of any length: one for all, one for each byte, and between; also as fragments of one message.
    for size in (1..=bytes.len()).rev() {
        for fragmented in [false, true] {
            let (mut websocket, mut lab) = (open(), Lab::new());
            let client = lab.open(V311);
            let mut handed_on = Vec::new();
            let pieces = bytes.chunks(size).count();
            for (at, piece) in bytes.chunks(size).enumerate() {
                let mut data = frame(if fragmented && at > 0 { 0x0 } else { 0x2 }, piece);
                if fragmented && at + 1 < pieces {
                    data[0] &= 0x7F;
                }
                let (payload, _) = feed(&mut websocket, &data);
                lab.send(client, &payload);
                handed_on.extend(payload);
            }
            assert_eq!(handed_on, bytes, "frames of {size}");
            // Neither are frames and reads.
            let mut websocket = open();
            let stream: Vec<u8> = bytes.chunks(7).flat_map(|piece| frame(0x2, piece)).collect();
            let handed_on: Vec<u8> =
                stream.chunks(size).flat_map(|read| feed(&mut websocket, read).0).collect();
            assert_eq!(handed_on, bytes, "reads of {size}");
            assert_eq!(sorted(raw(&mut lab, client)), answers, "frames of {size}");
        }
    }
}

#[test]
fn mqtt311_6_0_0_4_the_answer_names_the_subprotocol_mqtt() {
    for offer in ["mqtt", "mqtt, chat", "chat, mqtt", "mqttv3.1, mqtt", "a,b,mqtt,c"] {
        let (mut input, mut replies) = (request(offer), Vec::new());
        let result = WebSocket::new().receive(&mut input, &mut replies, &mut |_| {});
        let answer = String::from_utf8_lossy(&replies);
        let named: Vec<_> =
            answer.lines().filter_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: ")).collect();
        assert_eq!((result, named.as_slice()), (Ok(()), &["mqtt"][..]), "{offer}");
    }
}

#[test]
fn mqtt311_7_1_1_1_tcp_carries_the_bytes_in_order_and_completely_both_ways() {
    let sent: Vec<u8> = (0..=250).cycle().zip(0..1 << 20).map(|(byte, _)| byte).collect();
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let bytes = sent.clone();
    let client = thread::spawn(move || {
        let mut tcp = std::net::TcpStream::connect(address).unwrap();
        let mut writer = tcp.try_clone().unwrap();
        let out = thread::spawn(move || writer.write_all(&bytes).unwrap());
        let mut back = Vec::new();
        tcp.read_to_end(&mut back).unwrap();
        out.join().unwrap();
        back
    });
    let (tcp, peer) = loop {
        match listener.accept() {
            Ok(accepted) => break accepted,
            Err(_) => thread::yield_now(),
        }
    };
    let mut stream = Stream::new(tcp, peer, Transport::Tcp);
    let (mut buffer, mut heard, mut returned) = (vec![0; 10_007], Vec::new(), 0);
    // Sends back what it hears.
    while returned < sent.len() {
        let read = stream.read(&mut buffer, &mut |bytes| heard.extend_from_slice(bytes)).unwrap();
        let taken = if returned < heard.len() {
            let (one, two) = heard[returned..].split_at((heard.len() - returned) / 2);
            stream.write(&[IoSlice::new(one), IoSlice::new(two)]).unwrap_or(0)
        } else {
            0
        };
        returned += taken;
        assert!(!read.eof || heard.len() == sent.len(), "the stream ended after {} bytes", heard.len());
        if read.bytes == 0 && taken == 0 {
            thread::yield_now();
        }
    }
    stream.shutdown();
    assert!(heard == sent, "from client to server");
    assert!(client.join().unwrap() == sent, "from server to client");
}
