//! The client: one connection of each kind, and messages that come back.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned};

use crate::server::Servers;

/// What is measured; in the order of [`Servers::address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Ws,
    Tls,
    Wss,
    EchoTcp,
    EchoTls,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::EchoTcp, Self::Tcp, Self::Ws, Self::EchoTls, Self::Tls, Self::Wss];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "cork, `mqtt`",
            Self::Ws => "cork, `ws`",
            Self::Tls => "cork, `mqtts`",
            Self::Wss => "cork, `wss`",
            Self::EchoTcp => "echo, TCP",
            Self::EchoTls => "echo, rustls",
        }
    }

    fn is_mqtt(self) -> bool {
        !matches!(self, Self::EchoTcp | Self::EchoTls)
    }

    fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::EchoTls)
    }
}

trait Bytes: Read + Write {}
impl<T: Read + Write> Bytes for T {}

/// An open connection: the handshakes are over, and so are CONNECT and SUBSCRIBE where there is MQTT.
pub(crate) struct Peer {
    bytes: Box<dyn Bytes>,
    /// A message as it is sent, and how long it is when it comes back.
    message: Vec<u8>,
    returned: usize,
    buffer: Vec<u8>,
}

/// A sensor's reading, with its topic.
const PAYLOAD: [u8; 40] = [b'7'; 40];

impl Peer {
    pub(crate) fn open(kind: Kind, servers: &Servers) -> Result<Self, Box<dyn Error>> {
        let socket = TcpStream::connect(servers.address(kind))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let bytes: Box<dyn Bytes> = if kind.is_encrypted() {
            let connection = ClientConnection::new(servers.client.clone(), "localhost".try_into()?)?;
            Box::new(StreamOwned::new(connection, socket))
        } else {
            Box::new(socket)
        };
        let mut peer = Self { bytes, message: Vec::new(), returned: 0, buffer: vec![0; 64 << 10] };
        if kind.is_web() {
            peer.upgrade()?;
        }
        if kind.is_mqtt() {
            peer.begin_mqtt(kind)?;
        } else {
            // As long as the PUBLISH of the others.
            peer.message = publish("bench/0000000000");
            peer.returned = peer.message.len();
            peer.bytes.write_all(b"x")?;
            peer.take(1)?;
        }
        Ok(peer)
    }

    fn upgrade(&mut self) -> io::Result<()> {
        self.bytes.write_all(
            b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Protocol: mqtt\r\n\r\n",
        )?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.bytes.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        if answer.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err(io::Error::other("no upgrade")) }
    }

    /// Connects, and subscribes to a topic of its own, so that each message comes back once.
    fn begin_mqtt(&mut self, kind: Kind) -> io::Result<()> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let topic = format!("bench/{:010}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let frame = |packet: Vec<u8>| if kind.is_web() { framed(&packet) } else { packet };
        let head = if kind.is_web() { 2 } else { 0 };
        let mut connect = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
        put_text(&mut connect, &topic);
        self.bytes.write_all(&frame(with_length(connect)))?;
        self.take(head + 4)?;
        let mut subscribe = vec![0x82, 0, 0, 1];
        put_text(&mut subscribe, &topic);
        subscribe.push(0);
        self.bytes.write_all(&frame(with_length(subscribe)))?;
        self.take(head + 5)?;
        let publish = publish(&topic);
        self.returned = publish.len();
        self.message = frame(publish);
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> io::Result<()> {
        self.bytes.read_exact(&mut self.buffer[..bytes])
    }

    /// Sends so many messages and waits until all are back; at most `window` are on their way.
    ///
    /// WebSocket: how the broker cuts the stream into frames is its affair, so the window is counted in what must come
    /// back at least.
    pub(crate) fn exchange(&mut self, count: usize, window: usize) -> Result<(), Box<dyn Error>> {
        let batch = self.message.repeat(window);
        let mut frames = Frames { web: self.message.len() != self.returned, ..Frames::default() };
        for _ in 0..count / window {
            self.bytes.write_all(&batch)?;
            self.bytes.flush()?;
            let mut due = window * self.returned;
            while due > 0 {
                let read = self.bytes.read(&mut self.buffer)?;
                if read == 0 {
                    return Err("the server closed".into());
                }
                due = due.saturating_sub(frames.payload(&self.buffer[..read]));
            }
        }
        Ok(())
    }
}

/// Counts the payload in the frames of a server.
#[derive(Default)]
struct Frames {
    web: bool,
    /// Bytes left of the frame's payload.
    left: usize,
    /// Beginning of a frame's header.
    head: Vec<u8>,
}

impl Frames {
    fn payload(&mut self, mut bytes: &[u8]) -> usize {
        if !self.web {
            return bytes.len();
        }
        let mut sum = 0;
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let len = self.left.min(bytes.len());
                (self.left, sum, bytes) = (self.left - len, sum + len, &bytes[len..]);
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            self.left = match self.head[..] {
                [_, 126, high, low] => usize::from(u16::from_be_bytes([high, low])),
                [_, short] if short < 126 => usize::from(short),
                _ => continue,
            };
            self.head.clear();
        }
        sum
    }
}

fn publish(topic: &str) -> Vec<u8> {
    let mut packet = vec![0x30, 0];
    put_text(&mut packet, topic);
    packet.extend(PAYLOAD);
    with_length(packet)
}

fn put_text(packet: &mut Vec<u8>, text: &str) {
    packet.extend([0, u8::try_from(text.len()).unwrap_or(u8::MAX)]);
    packet.extend(text.as_bytes());
}

/// Fills in the length of a short packet.
fn with_length(mut packet: Vec<u8>) -> Vec<u8> {
    packet[1] = u8::try_from(packet.len() - 2).unwrap_or(u8::MAX) & 0x7F;
    packet
}

/// One frame of a client. The mask is no zero: the server has to do its work.
fn framed(packet: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut frame = vec![0x82, 0x80 | u8::try_from(packet.len()).unwrap_or(0)];
    frame.extend(MASK);
    frame.extend(packet.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
