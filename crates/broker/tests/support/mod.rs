//! What the tests on real sockets share: a folder, certificates, and a client that speaks MQTT byte by byte.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cork_broker::{Address, Broker, Config, config::ConfigErrors};
use cork_conform::wire::{self, V5, V311, Version};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// How long an answer may take; far longer than it ever should.
const PATIENCE: Duration = Duration::from_secs(10);

/// A folder of its own, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cork-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file");
    }

    pub(crate) fn config(&self, text: &str) -> Result<Config, ConfigErrors> {
        Config::from_toml(text, &self.path("cork.toml").display().to_string())
    }

    pub(crate) fn start(&self, text: &str) -> Broker {
        let config = self.config(text).unwrap_or_else(|error| panic!("{error}"));
        Broker::start(&config).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn password(&self, user: &str, password: &str) {
        cork_broker::passwd::set_password(&self.path("passwords"), user, password.as_bytes(), false)
            .expect("a password");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The address of the n-th listener.
pub(crate) fn address(broker: &Broker, n: usize) -> SocketAddr {
    match &broker.addresses()[n].1 {
        Address::Net(address) => *address,
        Address::Unix { .. } => panic!("a Unix socket"),
    }
}

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its key, PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `localhost`, and for a client of this name.
    pub(crate) fn sign(&self, name: &str, serial: u64) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { cert, key: key.serialize_pem() }
    }

    pub(crate) fn revoke(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }
}

trait Bytes: Read + Write + Send {}
impl<T: Read + Write + Send> Bytes for T {}

/// A client on a real socket.
pub(crate) struct Client {
    version: Version,
    bytes: Box<dyn Bytes>,
    received: Vec<u8>,
    web: bool,
    /// Bytes of MQTT out of WebSocket frames.
    frames: Vec<u8>,
    /// A WebSocket CLOSE came.
    closed: bool,
}

impl Client {
    pub(crate) fn tcp(address: SocketAddr, version: Version) -> Self {
        let socket = TcpStream::connect(address).expect("somebody listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        Self::over(socket, version)
    }

    pub(crate) fn unix(path: &Path, version: Version) -> Self {
        let socket = UnixStream::connect(path).expect("somebody listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self::over(socket, version)
    }

    pub(crate) fn tls(
        address: SocketAddr,
        version: Version,
        authority: &Authority,
        shown: Option<&Pair>,
    ) -> Self {
        let socket = TcpStream::connect(address).expect("somebody listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![cert], key).expect("a pair")
            }
        };
        let name = "localhost".try_into().expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        Self::over(StreamOwned::new(connection, socket), version)
    }

    fn over(bytes: impl Read + Write + Send + 'static, version: Version) -> Self {
        Self {
            version,
            bytes: Box::new(bytes),
            received: Vec::new(),
            web: false,
            frames: Vec::new(),
            closed: false,
        }
    }

    /// Goes on with WebSocket.
    pub(crate) fn upgrade(self) -> Self {
        self.try_upgrade().expect("somebody answers")
    }

    /// The same; `None` when the broker closed instead of answering.
    pub(crate) fn try_upgrade(mut self) -> Option<Self> {
        let request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        self.bytes.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.bytes.read_exact(&mut byte).ok()?;
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        self.web = true;
        Some(self)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let framed;
        let mut bytes = bytes;
        if self.web {
            let head = match u8::try_from(bytes.len()) {
                Ok(len @ 0..=125) => vec![0x82, 0x80 | len],
                _ => {
                    let len = u16::try_from(bytes.len()).expect("a short frame");
                    [&[0x82, 0xFE], &len.to_be_bytes()[..]].concat()
                }
            };
            // Masked with zeros, which changes nothing.
            framed = [&head, &[0; 4][..], bytes].concat();
            bytes = &framed;
        }
        // Where the broker has closed, the answer that does not come tells.
        let _ = self.bytes.write_all(bytes).and_then(|()| self.bytes.flush());
    }

    /// One packet; `None` when the broker has closed.
    pub(crate) fn packet(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = wire::packet_length(&self.received).filter(|len| self.received.len() >= *len) {
                return Some(self.received.drain(..len).collect());
            }
            if self.closed {
                return None;
            }
            let mut buffer = [0; 4096];
            match self.bytes.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) if self.web => {
                    self.frames.extend_from_slice(&buffer[..read]);
                    self.closed |= !self.unframe();
                }
                Ok(read) => self.received.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("no answer within {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    /// Takes whole frames apart; false after a CLOSE.
    fn unframe(&mut self) -> bool {
        loop {
            let [first, second, rest @ ..] = self.frames.as_slice() else { return true };
            let (len, head) = match (second & 0x7F, rest) {
                (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 4),
                (126 | 127, _) => return true,
                (short, _) => (usize::from(short), 2),
            };
            if self.frames.len() < head + len {
                return true;
            }
            let is_close = first & 0x0F == 8;
            let frame: Vec<u8> = self.frames.drain(..head + len).collect();
            if is_close {
                return false;
            }
            if first_is_data(frame[0]) {
                self.received.extend_from_slice(&frame[head..]);
            }
        }
    }

    /// Sends a CONNECT; the code of the CONNACK, or `None` when the broker closed instead.
    pub(crate) fn connect(&mut self, connect: &wire::Connect) -> Option<u8> {
        self.send(&connect.bytes());
        let packet = self.packet()?;
        assert_eq!(packet[0], 0x20, "{packet:02x?}");
        Some(packet[3])
    }

    /// The same with bytes that are perhaps no CONNECT.
    pub(crate) fn connect_raw(&mut self, bytes: &[u8]) -> Option<u8> {
        self.send(bytes);
        self.packet().map(|packet| packet[3])
    }

    /// All packets that come before the answer to a PINGREQ, or before the end.
    pub(crate) fn until_answered(&mut self) -> Vec<Vec<u8>> {
        self.send(&wire::pingreq());
        let mut packets = Vec::new();
        while let Some(packet) = self.packet().filter(|packet| packet[0] != 0xD0) {
            packets.push(packet);
        }
        packets
    }

    /// With this Client Identifier, and nothing else.
    pub(crate) fn named(mut self, client_id: &str) -> Self {
        let connect = wire::Connect::new(self.version, client_id);
        assert_eq!(self.connect(&connect), Some(0), "{client_id} may in");
        self
    }

    /// Whether it is still served; what comes before the answer is dropped.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.send(&wire::pingreq());
        loop {
            match self.packet() {
                None => return false,
                Some(packet) if packet[0] == 0xD0 => return true,
                Some(_) => {}
            }
        }
    }

    /// Waits for the broker to close; the reason in its DISCONNECT, if it sent one.
    pub(crate) fn wait_for_end(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some(packet) = self.packet() {
            if packet[0] == 0xE0 {
                reason = Some(packet.get(2).copied().unwrap_or(0));
            }
        }
        reason
    }
}

fn first_is_data(first: u8) -> bool {
    matches!(first & 0x0F, 0..=2)
}

/// Both versions that matter.
pub(crate) const VERSIONS: [Version; 2] = [V311, V5];
