//! A blocking client: bytes out, packets in.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use cork_conform::wire::{self, Connect, V311};
use socket2::{Domain, Socket, Type};

use crate::broker::{PASSWORD, USER};

/// How long anybody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client says of itself.
#[derive(Clone, Default)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) will: Option<(String, Vec<u8>)>,
}

impl Login {
    /// With the right password, if one is needed.
    pub(crate) fn of(users: bool) -> Self {
        let user = users.then(|| USER.to_owned());
        Self { user, password: users.then(|| PASSWORD.into()), will: None }
    }
}

/// CONNECT of 3.1.1 with a clean Session.
pub(crate) fn connect_bytes(client_id: &str, login: &Login) -> Vec<u8> {
    let mut connect = Connect::new(V311, client_id);
    if let Some((topic, payload)) = &login.will {
        connect = connect.with_will(topic, payload);
    }
    (connect.user, connect.password) = (login.user.clone(), login.password.clone());
    connect.bytes()
}

/// A socket to the broker from one of the many addresses of loopback.
pub(crate) fn open(port: u16, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if from != Ipv4Addr::LOCALHOST {
        socket.bind(&SocketAddr::from((from, 0)).into())?;
    }
    socket.connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(), PATIENCE)?;
    socket.set_tcp_nodelay(true)?;
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    kept: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects and waits for CONNACK; one that refuses is an error.
    pub(crate) fn connect(port: u16, client_id: &str, login: &Login) -> io::Result<Self> {
        let mut client = Self::new(open(port, Ipv4Addr::LOCALHOST)?);
        client.send(&connect_bytes(client_id, login))?;
        client.expect_connack()?;
        Ok(client)
    }

    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, kept: Vec::new(), buffer: vec![0; 4096] }
    }

    pub(crate) fn expect_connack(&mut self) -> io::Result<()> {
        let answer = self.packet()?;
        if answer == [0x20, 2, 0, 0] { Ok(()) } else { Err(io::Error::other(format!("answer {answer:?}"))) }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Subscribes and waits for SUBACK.
    pub(crate) fn subscribe(&mut self, id: u16, filters: &[(&str, u8)]) -> io::Result<()> {
        self.send(&wire::subscribe(V311, id, filters))?;
        self.wait_for(0x90).map(drop)
    }

    /// The next packet whose first byte is this one; others are dropped.
    pub(crate) fn wait_for(&mut self, first: u8) -> io::Result<Vec<u8>> {
        loop {
            let packet = self.packet()?;
            if packet.first() == Some(&first) {
                return Ok(packet);
            }
        }
    }

    /// The next packet.
    pub(crate) fn packet(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = wire::packet_length(&self.kept).filter(|length| *length <= self.kept.len())
            {
                let rest = self.kept.split_off(length);
                return Ok(std::mem::replace(&mut self.kept, rest));
            }
            match self.socket.read(&mut self.buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.kept.extend_from_slice(&self.buffer[..read]),
            }
        }
    }
}
