//! Echo servers to compare with: one thread, mio, nothing but the socket; with TLS rustls' own buffers, as its examples
//! have it.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

struct Connection {
    socket: TcpStream,
    tls: Option<ServerConnection>,
    /// What the socket did not take.
    waiting: Vec<u8>,
}

/// `echo`, or `echo CERT KEY`.
pub(crate) fn serve() -> io::Result<()> {
    let mut files = env::args().skip(2);
    let config = match (files.next(), files.next()) {
        (Some(cert), Some(key)) => {
            Some(Arc::new(tls(&fs::read(cert)?, &fs::read(key)?).map_err(io::Error::other)?))
        }
        _ => None,
    };
    let address = "127.0.0.1:0".parse().map_err(io::Error::other)?;
    let mut listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    let (mut connections, mut next) = (BTreeMap::new(), 1);
    let mut buffer = vec![0; 256 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == Token(0) {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    poll.registry().register(
                        &mut socket,
                        Token(next),
                        Interest::READABLE | Interest::WRITABLE,
                    )?;
                    let tls =
                        config.clone().map(ServerConnection::new).transpose().map_err(io::Error::other)?;
                    connections.insert(next, Connection { socket, tls, waiting: Vec::new() });
                    next += 1;
                }
            } else if let Some(connection) = connections.get_mut(&event.token().0)
                && !connection.echo(&mut buffer).unwrap_or(false)
            {
                connections.remove(&event.token().0);
            }
        }
    }
}

impl Connection {
    /// False at the end.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            self.flush()?;
            let read = match &mut self.tls {
                None => self.socket.read(buffer),
                Some(tls) => match tls.read_tls(&mut self.socket) {
                    Ok(0) => Ok(0),
                    Ok(_) => {
                        tls.process_new_packets().map_err(io::Error::other)?;
                        while let Ok(plain @ 1..) = tls.reader().read(buffer) {
                            tls.writer().write_all(&buffer[..plain])?;
                        }
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(0) => return Ok(false),
                Ok(read) => self.waiting.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = match &mut self.tls {
            Some(tls) => {
                let mut sent = Ok(0);
                while tls.wants_write() && sent.is_ok() {
                    sent = tls.write_tls(&mut self.socket);
                }
                sent
            }
            None if self.waiting.is_empty() => Ok(0),
            None => self.socket.write(&self.waiting).inspect(|sent| drop(self.waiting.drain(..*sent))),
        };
        match sent {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

fn tls(cert: &[u8], key: &[u8]) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from_pem_slice(cert)?], PrivateKeyDer::from_pem_slice(key)?)?;
    Ok(config)
}
