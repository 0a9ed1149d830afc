//! The floor under all brokers: it copies the bytes of messages from publishers to subscribers and knows nothing of
//! them. What it reaches is what this machine's sockets, TLS and the generator allow.
//!
//! It answers CONNECT, SUBSCRIBE and PINGREQ, and acknowledges. Who gets a publisher's messages is decided once, by the
//! topic of its first one; from then on whole runs of packets are copied. So it fits `pairs`, `fan-in`, `fan-out` and
//! `connections`, and nothing where topics change, QoS differ or anything is stored.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use cork_net::{Stream, TlsAcceptor, TlsFiles, TlsSettings, Transport, Wrap, bind};
use cork_packet::{
    Ack, ConnAck, Packet, PacketId, PacketType, Properties, ProtocolVersion, QoS, Receiver, SubAck, decode,
    decode_connect, matches,
};
use cork_proto::split_packet;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::Failure;
use crate::args::FloorArgs;

/// Serves until the process is ended.
///
/// # Errors
/// A port is taken, a file cannot be read, the system refuses something.
pub(crate) fn serve(args: &FloorArgs) -> Result<(), Failure> {
    let mut doors = vec![(args.port, Wrap::from(Transport::Tcp))];
    if let (Some(port), Some(cert), Some(key)) = (args.tls_port, &args.cert, &args.key) {
        let read = |file: &std::path::Path| {
            std::fs::read(file)
                .map_err(|error| Failure::system(&format!("cannot read {}", file.display()), &error))
        };
        let (cert, key) = (read(cert)?, read(key)?);
        let settings = TlsSettings::new(&TlsFiles { cert: &cert, key: &key, clients: None }, false)
            .map_err(|faults| Failure::run(format!("the certificate cannot be used: {faults:?}")))?;
        let acceptor = TlsAcceptor::new(settings);
        let wrap = Wrap { transport: Transport::Tcp, tls: Some(Arc::new(acceptor)), proxy: false };
        doors.push((port, wrap));
    }
    doors.extend(args.ws_port.map(|port| (port, Wrap::from(Transport::WebSocket))));
    let mut floor = Floor::open(doors)?;
    floor.run().map_err(|error| Failure::system("the floor broke", &error))
}

struct Client {
    stream: Stream,
    state: State,
    out: Vec<u8>,
    sent: usize,
    dirty: bool,
}

/// What the floor knows of a client.
struct State {
    version: ProtocolVersion,
    /// The beginning of a packet that is not complete.
    kept: Vec<u8>,
    filters: Vec<String>,
    /// Who gets what it publishes, and in which generation of subscriptions that was decided.
    receivers: Arc<[usize]>,
    decided: u64,
    /// Answers to the client itself, moved to its output at the end of the read.
    answers: Vec<u8>,
    over: bool,
}

struct Floor {
    poll: Poll,
    doors: Vec<(TcpListener, Wrap)>,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    dirty: Vec<usize>,
    /// Counts SUBSCRIBE packets.
    generation: u64,
}

impl Floor {
    fn open(doors: Vec<(u16, Wrap)>) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(|error| Failure::system("cannot set up the event loop", &error))?;
        let mut open = Vec::new();
        for (number, (port, wrap)) in doors.into_iter().enumerate() {
            let mut listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
                .map_err(|error| Failure::system(&format!("cannot listen on 127.0.0.1:{port}"), &error))?;
            poll.registry()
                .register(&mut listener, Token(number), Interest::READABLE)
                .map_err(|error| Failure::system("cannot wait for connections", &error))?;
            open.push((listener, wrap));
        }
        Ok(Self {
            poll,
            doors: open,
            clients: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            generation: 1,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                let Token(token) = event.token();
                let Some(id) = token.checked_sub(self.doors.len()) else {
                    self.accept(token)?;
                    continue;
                };
                if event.is_writable()
                    && let Some(client) = self.clients[id].as_mut()
                {
                    client.flush();
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(id, &mut buffer);
                }
            }
            self.flush();
        }
    }

    fn accept(&mut self, door: usize) -> io::Result<()> {
        loop {
            let (listener, wrap) = &self.doors[door];
            let (socket, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut stream = Stream::accept(socket, peer, wrap)?;
            let id = self.free.pop().unwrap_or(self.clients.len());
            let token = Token(id + self.doors.len());
            self.poll.registry().register(stream.source(), token, Interest::READABLE | Interest::WRITABLE)?;
            let client = Client {
                stream,
                state: State {
                    version: ProtocolVersion::V311,
                    kept: Vec::new(),
                    filters: Vec::new(),
                    receivers: Arc::from([]),
                    decided: 0,
                    answers: Vec::new(),
                    over: false,
                },
                out: Vec::new(),
                sent: 0,
                dirty: false,
            };
            if id == self.clients.len() {
                self.clients.push(Some(client));
            } else {
                self.clients[id] = Some(client);
            }
        }
    }

    fn read(&mut self, id: usize, buffer: &mut [u8]) {
        // Out of its place while it works, for its packets go to others.
        let Some(mut client) = self.clients[id].take() else { return };
        loop {
            let Client { stream, state, .. } = &mut client;
            let outcome = stream.read(buffer, &mut |bytes| self.take_in(state, bytes));
            client.out.append(&mut client.state.answers);
            match outcome {
                Ok(outcome) if !outcome.eof && !client.state.over => {
                    if client.stream.wants_write() {
                        client.flush();
                    }
                    if !outcome.more {
                        break;
                    }
                }
                _ => {
                    self.free.push(id);
                    self.generation += 1;
                    return;
                }
            }
        }
        if !client.out.is_empty() && !client.dirty {
            client.dirty = true;
            self.dirty.push(id);
        }
        self.clients[id] = Some(client);
    }

    /// Looks at bytes where they lie; only the beginning of a packet that is not complete is kept.
    fn take_in(&mut self, state: &mut State, bytes: &[u8]) {
        if state.kept.is_empty() {
            let used = self.packets(state, bytes);
            state.kept.extend_from_slice(&bytes[used..]);
        } else {
            let mut input = std::mem::take(&mut state.kept);
            input.extend_from_slice(bytes);
            let used = self.packets(state, &input);
            input.drain(..used);
            state.kept = input;
        }
    }

    /// Handles whole packets; returns how many bytes they were. Runs of PUBLISH are copied in one piece.
    fn packets(&mut self, state: &mut State, input: &[u8]) -> usize {
        let mut rest = input;
        // The run of PUBLISH packets that is not copied yet.
        let mut run = 0..0;
        loop {
            let at = input.len() - rest.len();
            let packet = match split_packet(&mut rest, usize::MAX) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(_) => {
                    state.over = true;
                    break;
                }
            };
            if packet[0] >> 4 == PacketType::Publish as u8 {
                if state.decided != self.generation {
                    self.decide(state, packet);
                }
                acknowledge(state, packet);
                run = if run.is_empty() { at..at + packet.len() } else { run.start..at + packet.len() };
            } else {
                self.copy(state, &input[std::mem::replace(&mut run, 0..0)]);
                self.answer(state, packet);
            }
        }
        self.copy(state, &input[run]);
        input.len() - rest.len()
    }

    /// Who gets what this client publishes.
    fn decide(&mut self, state: &mut State, packet: &[u8]) {
        state.decided = self.generation;
        let Ok(Packet::Publish(publish)) = decode(state.version, Receiver::Server, packet) else {
            state.over = true;
            return;
        };
        let wants =
            |client: &Client| client.state.filters.iter().any(|filter| matches(filter, publish.topic));
        let clients = self.clients.iter().enumerate();
        state.receivers =
            clients.filter(|(_, client)| client.as_ref().is_some_and(wants)).map(|(id, _)| id).collect();
    }

    fn copy(&mut self, state: &State, packets: &[u8]) {
        if packets.is_empty() {
            return;
        }
        for &id in state.receivers.iter() {
            let Some(client) = &mut self.clients[id] else { continue };
            client.out.extend_from_slice(packets);
            if !client.dirty {
                client.dirty = true;
                self.dirty.push(id);
            }
        }
    }

    fn answer(&mut self, state: &mut State, packet: &[u8]) {
        if packet[0] >> 4 == PacketType::Connect as u8 {
            let Ok(connect) = decode_connect(packet) else {
                state.over = true;
                return;
            };
            state.version = connect.version;
            let welcome = ConnAck { session_present: false, code: 0, properties: Properties::EMPTY };
            return state.put(&Packet::ConnAck(welcome));
        }
        match decode(state.version, Receiver::Server, packet) {
            Ok(Packet::Subscribe(subscribe)) => {
                let codes: Vec<u8> = subscribe.filters().map(|filter| filter.options.qos.bits()).collect();
                state.filters.extend(subscribe.filters().map(|filter| filter.filter.to_owned()));
                self.generation += 1;
                let (packet_id, properties) = (subscribe.packet_id, Properties::EMPTY);
                state.put(&Packet::SubAck(SubAck { packet_id, properties, codes: &codes }));
            }
            Ok(Packet::PubRec(ack)) => state.put(&Packet::PubRel(Ack::success(ack.packet_id))),
            Ok(Packet::PubRel(ack)) => state.put(&Packet::PubComp(Ack::success(ack.packet_id))),
            Ok(Packet::PingReq) => state.put(&Packet::PingResp),
            Ok(Packet::PubAck(_) | Packet::PubComp(_)) => {}
            _ => state.over = true,
        }
    }

    fn flush(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            if let Some(client) = &mut self.clients[id] {
                client.dirty = false;
                client.flush();
            }
        }
    }
}

/// Acknowledges a PUBLISH by its identifier alone, which stands behind the topic.
fn acknowledge(state: &mut State, packet: &[u8]) {
    let qos = QoS::from_bits(packet[0] >> 1 & 3).unwrap_or(QoS::AtMostOnce);
    if qos == QoS::AtMostOnce {
        return;
    }
    let head = 1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).unwrap_or(0) + 1;
    let id = || {
        let topic = u16::from_be_bytes(*packet.get(head..)?.first_chunk()?);
        let id = packet.get(head + 2 + usize::from(topic)..)?.first_chunk()?;
        PacketId::new(u16::from_be_bytes(*id))
    };
    match id() {
        Some(id) if qos == QoS::AtLeastOnce => state.put(&Packet::PubAck(Ack::success(id))),
        Some(id) => state.put(&Packet::PubRec(Ack::success(id))),
        None => state.over = true,
    }
}

impl State {
    fn put(&mut self, packet: &Packet<'_>) {
        self.over |= packet.encode(self.version, &mut self.answers).is_err();
    }
}

impl Client {
    /// Sends as much as the socket takes; what fails is told by the next read.
    fn flush(&mut self) {
        while self.sent < self.out.len() {
            match self.stream.write(&[IoSlice::new(&self.out[self.sent..])]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.sent = self.out.len(),
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        } else if self.sent > 1024 * 1024 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        if self.stream.wants_write() {
            // A broken connection is told by the next read.
            let _ = self.stream.flush_control();
        }
    }
}
