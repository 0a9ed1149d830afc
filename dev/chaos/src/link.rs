//! One connection to the broker: a socket that never blocks, and packets.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use cork_packet::{FixedHeader, Packet, ProtocolVersion};

#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Link {
    /// Connects to a port of this machine.
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: Vec::new(), output: Vec::new() })
    }

    /// Appends a packet to what goes out with the next [`Link::pump`].
    pub(crate) fn send(&mut self, version: ProtocolVersion, packet: &Packet<'_>) {
        packet.encode(version, &mut self.output).expect("the chaos sends packets that can be encoded");
    }

    /// Moves bytes both ways, as far as that goes without waiting; false when the connection is over.
    pub(crate) fn pump(&mut self) -> bool {
        self.write() && self.read()
    }

    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(bytes) => drop(self.output.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0; 16_384];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(bytes) => self.input.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// The bytes of the whole packets that have come.
    pub(crate) fn packets(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let (mut packets, mut at) = (Vec::new(), 0);
        while let Some(header) =
            FixedHeader::decode(&self.input[at..]).map_err(|error| format!("bad header: {error}"))?
        {
            let end = at + header.packet_len();
            if end > self.input.len() {
                break;
            }
            packets.push(self.input[at..end].to_vec());
            at = end;
        }
        self.input.drain(..at);
        Ok(packets)
    }
}
