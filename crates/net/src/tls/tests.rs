use super::{ClientFiles, Identity, TlsAcceptor, TlsError, TlsFile, TlsFiles, TlsSettings, TlsView};
use crate::link::{Link, Socket};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

mod authorities;
mod withdrawal;

/// A certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, PEM.
struct Pair {
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Pair { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A client's certificate.
    fn client(&self, name: &str) -> Pair {
        self.sign(|params| params.distinguished_name.push(DnType::CommonName, name))
    }

    fn revoke(&self, serials: &[u64]) -> String {
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
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A broker's side: its own authority and whose clients it believes.
struct Setup {
    authority: Authority,
    own: Pair,
    clients: Authority,
    crl: Option<String>,
    required: bool,
    identity: Identity,
}

impl Setup {
    fn new() -> Self {
        let authority = Authority::new("brokers");
        let own = authority.sign(|_| {});
        let (clients, identity) = (Authority::new("clients"), Identity::CommonName);
        Self { authority, own, clients, crl: None, required: true, identity }
    }

    fn files(&self, mutual: bool) -> TlsFiles<'_> {
        let clients = mutual.then_some(ClientFiles {
            ca: self.clients.pem.as_bytes(),
            crl: self.crl.as_deref().map(str::as_bytes),
            required: self.required,
            identity: self.identity,
        });
        TlsFiles { cert: self.own.cert.as_bytes(), key: self.own.key.as_bytes(), clients }
    }

    fn acceptor(&self, mutual: bool) -> Arc<TlsAcceptor> {
        Arc::new(TlsAcceptor::new(TlsSettings::new(&self.files(mutual), false).unwrap()))
    }

    fn client(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        shown: Option<&Pair>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        config
    }
}

/// A socket in memory that gives and takes a few bytes at a time.
#[derive(Debug)]
struct Duct {
    incoming: VecDeque<u8>,
    hung_up: bool,
    /// Bytes per reading.
    gives: usize,
    /// Bytes that it takes until it is full.
    room: usize,
    sent: Vec<u8>,
    ended: bool,
}

impl Default for Duct {
    fn default() -> Self {
        Self {
            incoming: VecDeque::new(),
            hung_up: false,
            gives: usize::MAX,
            room: usize::MAX,
            sent: Vec::new(),
            ended: false,
        }
    }
}

impl Read for Duct {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() && !self.hung_up {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = buffer.len().min(self.gives);
        self.incoming.read(&mut buffer[..len])
    }
}

impl Write for Duct {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.ended, "nothing is written after the end");
        let taken = bytes.len().min(self.room);
        self.sent.extend_from_slice(&bytes[..taken]);
        if self.room != usize::MAX {
            self.room -= taken;
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Duct {
    fn end_output(&mut self) {
        self.ended = true;
    }
}

/// Both ends of a connection.
struct Ends {
    client: ClientConnection,
    link: Link<Duct>,
    /// What the broker heard, and the client.
    heard: Vec<u8>,
    answered: Vec<u8>,
    eof: bool,
}

impl Ends {
    fn new(acceptor: &Arc<TlsAcceptor>, config: &Arc<ClientConfig>) -> Self {
        let client = ClientConnection::new(Arc::clone(config), "broker.example".try_into().unwrap()).unwrap();
        let link = Link::new(Duct::default(), false, Some(Arc::clone(acceptor))).unwrap();
        Self { client, link, heard: Vec::new(), answered: Vec::new(), eof: false }
    }

    /// Lets bytes flow until nobody has any; the client's fault counts only if the broker finds none.
    fn run(&mut self) -> io::Result<()> {
        let mut fault = Ok(());
        loop {
            while self.client.wants_write() {
                self.client.write_tls(&mut self.link.socket.incoming).unwrap();
            }
            let before = self.link.socket.incoming.len();
            self.read()?;
            self.link.flush_held()?;
            let sent = std::mem::take(&mut self.link.socket.sent);
            let mut rest = sent.as_slice();
            while !rest.is_empty() && fault.is_ok() {
                self.client.read_tls(&mut rest).unwrap();
                fault = self.client.process_new_packets().map_err(io::Error::other).map(|_| ());
                let mut plain = Vec::new();
                let _ = self.client.reader().read_to_end(&mut plain); // until it would block
                self.answered.extend(plain);
            }
            if before == 0 && sent.is_empty() && !self.client.wants_write() {
                return fault;
            }
        }
    }

    /// Reads as the runtime does.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 100_000];
        loop {
            let was_settled = self.link.is_settled();
            let empty = self.link.socket.incoming.is_empty();
            let filled = self.link.fill(&mut buffer)?;
            assert!(was_settled || filled.bytes == 0, "who it is must be known first");
            self.heard.extend_from_slice(&buffer[..filled.bytes]);
            self.eof |= filled.eof;
            if !filled.more && empty {
                return Ok(());
            }
        }
    }
}

/// Why the broker gave up.
fn reason(result: io::Result<()>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let tls: &TlsError = error.get_ref().unwrap().downcast_ref().unwrap();
    assert!(tls.is_handshake());
    tls.to_string()
}

#[test]
fn bytes_pass_both_ways_in_both_versions() {
    let setup = Setup::new();
    let acceptor = setup.acceptor(false);
    for (version, number) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut ends = Ends::new(&acceptor, &Arc::new(setup.client(version, None)));
        assert!(ends.link.is_encrypted() && !ends.link.is_settled());
        assert_eq!(ends.link.tls(), None);
        assert_eq!(ends.link.write(b"too early").unwrap_err().kind(), ErrorKind::WouldBlock);
        ends.client.writer().write_all(b"hello").unwrap();
        ends.run().unwrap();
        assert_eq!((ends.client.protocol_version(), ends.link.user()), (Some(number), None));
        let TlsView { version, cipher_suite, client_subject } = ends.link.tls().unwrap();
        let expected =
            if number == ProtocolVersion::TLSv1_3 { ("1.3", "TLS_A") } else { ("1.2", "TLS_ECDHE_") };
        assert_eq!((version, client_subject), (expected.0, None));
        assert!(cipher_suite.starts_with(expected.1) && !cipher_suite.contains("TLS13"), "{cipher_suite}");
        assert_eq!(ends.client.alpn_protocol(), Some(&b"mqtt"[..]));
        assert_eq!(ends.heard, b"hello");
        let slices = [&b"w"[..], b"", b"orld"].map(IoSlice::new);
        assert_eq!(ends.link.write_vectored(&slices).unwrap(), 5);
        ends.run().unwrap();
        assert_eq!(ends.answered, b"world");
    }
}

#[test]
fn the_name_in_a_client_certificate_is_the_user() {
    let mut setup = Setup::new();
    let pair = setup.clients.sign(|params| {
        params.distinguished_name.push(DnType::CommonName, "lamp 7");
        params.subject_alt_names = vec![
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::Rfc822Name("lamp@home.example".try_into().unwrap()),
        ];
    });
    for (identity, user) in
        [(Identity::CommonName, "lamp 7"), (Identity::AlternativeName, "lamp@home.example")]
    {
        setup.identity = identity;
        for version in [&TLS12, &TLS13] {
            let mut ends = Ends::new(&setup.acceptor(true), &Arc::new(setup.client(version, Some(&pair))));
            ends.client.writer().write_all(b"hello").unwrap();
            ends.run().unwrap();
            assert_eq!((ends.link.user(), ends.heard.as_slice()), (Some(user), &b"hello"[..]));
            assert_eq!(ends.link.tls().unwrap().client_subject.as_deref(), Some("CN=lamp 7"));
        }
    }
    setup.required = false;
    let mut ends = Ends::new(&setup.acceptor(true), &Arc::new(setup.client(&TLS13, None)));
    ends.run().unwrap();
    assert!(ends.link.is_settled());
    assert_eq!(ends.link.user(), None);
}

#[test]
fn bad_client_certificates_are_refused_with_the_reason() {
    let mut setup = Setup::new();
    let serial = |params: &mut CertificateParams, number: u64| {
        params.serial_number = Some(SerialNumber::from(number));
        params.distinguished_name.push(DnType::CommonName, "lamp");
    };
    setup.crl = Some(setup.clients.revoke(&[7]));
    let cases = [
        (None, "shows no certificate"),
        (Some(Authority::new("others").client("lamp")), "issued by nobody in `client_ca`"),
        (
            Some(setup.clients.sign(|params| {
                serial(params, 1);
                params.not_after = date_time_ymd(2020, 1, 1);
            })),
            "has expired",
        ),
        (
            Some(setup.clients.sign(|params| {
                serial(params, 1);
                params.not_before = date_time_ymd(2090, 1, 1);
            })),
            "is not valid yet",
        ),
        (Some(setup.clients.sign(|params| serial(params, 7))), "is revoked"),
        (Some(setup.clients.sign(|_| {})), "has no common name"),
        (
            Some(setup.clients.sign(|params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
                serial(params, 1);
            })),
            "is not made for clients",
        ),
        (Some(setup.clients.client("a\nb")), "cannot be a user name"),
    ];
    // Optional means that none may be shown, not that a bad one may.
    for required in [true, false] {
        setup.required = required;
        let acceptor = setup.acceptor(true);
        for (pair, expected) in cases.iter().filter(|(pair, _)| required || pair.is_some()) {
            for version in [&TLS12, &TLS13] {
                let mut ends = Ends::new(&acceptor, &Arc::new(setup.client(version, pair.as_ref())));
                ends.client.writer().write_all(b"secret").unwrap();
                let why = reason(ends.run());
                assert!(why.contains(expected), "{why}, not {expected}");
                assert!(!ends.link.is_settled() && ends.link.user().is_none() && ends.heard.is_empty());
                assert_eq!(ends.link.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
                ends.link.end_output();
                assert!(ends.link.socket.ended);
                // What still comes is thrown away, without another error.
                ends.link.socket.incoming.extend(b"garbage");
                ends.read().unwrap();
                assert!(ends.heard.is_empty());
            }
        }
        let mut good = setup.clients.sign(|params| serial(params, 8));
        let mut ends = Ends::new(&acceptor, &Arc::new(setup.client(&TLS13, Some(&good))));
        ends.run().unwrap();
        assert_eq!(ends.link.user(), Some("lamp"));
        good.cert.clear();
    }
}

#[test]
fn the_client_is_told_by_an_alert() {
    let setup = Setup::new();
    let mut ends = Ends::new(&setup.acceptor(true), &Arc::new(setup.client(&TLS12, None)));
    let why = reason(ends.run());
    assert!(why.contains("shows no certificate"), "{why}");
    let mut sent = ends.link.socket.sent.as_slice();
    ends.client.read_tls(&mut sent).unwrap();
    let error = ends.client.process_new_packets().unwrap_err();
    assert!(matches!(error, rustls::Error::AlertReceived(_)), "{error}");
}

#[test]
fn what_is_no_handshake_is_named() {
    let setup = Setup::new();
    let acceptor = setup.acceptor(false);
    let mut config = setup.client(&TLS13, None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let why = reason(Ends::new(&acceptor, &Arc::new(config)).run());
    assert!(why.contains("ALPN"), "{why}");

    let begin = || Ends::new(&acceptor, &Arc::new(setup.client(&TLS13, None)));
    let mut plain = begin();
    plain.link.socket.incoming.extend(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0");
    let why = reason(plain.read());
    assert_eq!(why, "the client does not speak TLS");

    let other = Setup { authority: Authority::new("others"), ..Setup::new() };
    let mut distrustful = Ends::new(&acceptor, &Arc::new(other.client(&TLS13, None)));
    let why = reason(distrustful.run());
    assert!(why.contains("does not know who issued this broker's certificate"), "{why}");

    let mut gone = begin();
    gone.link.socket.incoming.extend(b"\x16\x03\x01");
    gone.link.socket.hung_up = true;
    let why = reason(gone.read());
    assert!(why.contains("hung up"), "{why}");

    let mut silent = begin();
    silent.link.socket.hung_up = true;
    silent.read().unwrap();
    assert!(silent.eof, "who says nothing did nothing wrong");
}

#[test]
fn a_full_socket_gets_the_rest_later() {
    let setup = Setup::new();
    let mut ends = Ends::new(&setup.acceptor(false), &Arc::new(setup.client(&TLS13, None)));
    ends.run().unwrap();
    let message = vec![7; 200_000];
    ends.link.socket.room = 1000;
    let taken = ends.link.write(&message).unwrap();
    assert!(taken < message.len() && ends.link.wants_write());
    assert_eq!(ends.link.write(&message[taken..]).unwrap_err().kind(), ErrorKind::WouldBlock);
    ends.link.end_output();
    assert!(!ends.link.socket.ended, "first what was taken");
    ends.link.socket.room = usize::MAX;
    ends.link.flush_held().unwrap();
    assert!(ends.link.socket.ended && !ends.link.wants_write());
    ends.run().unwrap();
    assert_eq!(ends.answered, message[..taken]);
    assert!(ends.client.process_new_packets().unwrap().peer_has_closed(), "close_notify was sent");
}

#[test]
fn a_farewell_is_the_end_of_the_stream() {
    let setup = Setup::new();
    for version in [&TLS12, &TLS13] {
        let mut ends = Ends::new(&setup.acceptor(false), &Arc::new(setup.client(version, None)));
        ends.run().unwrap();
        ends.client.writer().write_all(b"last words").unwrap();
        ends.client.send_close_notify();
        ends.run().unwrap();
        assert_eq!((ends.heard.as_slice(), ends.eof), (&b"last words"[..], true));
        // The other direction may go on.
        assert_eq!(ends.link.write(b"bye").unwrap(), 3);
        ends.run().unwrap();
        assert_eq!(ends.answered, b"bye");
    }
    // All in one segment: handshake, words, farewell.
    let mut ends = Ends::new(&setup.acceptor(false), &Arc::new(setup.client(&TLS13, None)));
    ends.client.writer().write_all(b"hello").unwrap();
    ends.client.write_tls(&mut ends.link.socket.incoming).unwrap();
    ends.read().unwrap();
    let sent = std::mem::take(&mut ends.link.socket.sent);
    ends.client.read_tls(&mut sent.as_slice()).unwrap();
    ends.client.process_new_packets().unwrap();
    ends.client.send_close_notify();
    ends.run().unwrap();
    assert_eq!((ends.heard.as_slice(), ends.eof), (&b"hello"[..], true));
}

#[test]
fn idle_connections_hold_no_buffers() {
    let setup = Setup::new();
    let mut ends =
        Ends::new(&setup.acceptor(true), &Arc::new(setup.client(&TLS13, Some(&setup.clients.client("a")))));
    ends.client.writer().write_all(&[1; 50_000]).unwrap();
    ends.run().unwrap();
    assert_eq!(ends.link.write(&[2; 50_000]).unwrap(), 50_000);
    ends.run().unwrap();
    let shown = format!("{:?}", ends.link);
    assert!(shown.contains("early: []"), "{shown}");
    assert_eq!(ends.link.held_capacity(), 0);
}

#[test]
fn new_certificates_are_for_new_connections() {
    let mut setup = Setup::new();
    let acceptor = setup.acceptor(true);
    let pair = setup.clients.sign(|params| {
        params.serial_number = Some(SerialNumber::from(9));
        params.distinguished_name.push(DnType::CommonName, "lamp");
    });
    for version in [&TLS12, &TLS13] {
        // One configuration remembers its sessions.
        let config = Arc::new(setup.client(version, Some(&pair)));
        let mut first = Ends::new(&acceptor, &config);
        first.run().unwrap();
        assert_eq!(first.client.handshake_kind(), Some(HandshakeKind::Full));
        let mut second = Ends::new(&acceptor, &config);
        second.run().unwrap();
        assert_eq!(second.client.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_eq!(second.link.user(), Some("lamp"), "a resumed session knows who it is");

        setup.own = setup.authority.sign(|_| {});
        acceptor.replace(TlsSettings::new(&setup.files(true), false).unwrap());
        first.client.writer().write_all(b"still here").unwrap();
        first.run().unwrap();
        assert_eq!(first.heard, b"still here");
        let mut third = Ends::new(&acceptor, &config);
        third.run().unwrap();
        assert_eq!(
            third.client.handshake_kind(),
            Some(HandshakeKind::Full),
            "nobody slips by on old tickets"
        );
        let shown = third.client.peer_certificates().unwrap()[0].clone();
        assert_eq!(shown, CertificateDer::from_pem_slice(setup.own.cert.as_bytes()).unwrap());

        setup.crl = Some(setup.clients.revoke(&[9]));
        acceptor.replace(TlsSettings::new(&setup.files(true), false).unwrap());
        let why = reason(Ends::new(&acceptor, &config).run());
        assert!(why.contains("is revoked"), "{why}");
        setup.crl = None;
        let bad = TlsFiles { cert: b"nothing", ..setup.files(true) };
        acceptor.replace(TlsSettings::new(&setup.files(true), false).unwrap());
        assert!(TlsSettings::new(&bad, false).is_err());
        Ends::new(&acceptor, &config).run().unwrap();
    }
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let setup = Setup::new();
    let other = setup.authority.sign(|_| {});
    let expired = setup.authority.sign(|params| params.not_after = date_time_ymd(2020, 5, 6));
    let early = setup.authority.sign(|params| params.not_before = date_time_ymd(2090, 5, 6));
    let der = CertificateDer::from_pem_slice(setup.own.cert.as_bytes()).unwrap();
    let key_der = PrivateKeyDer::from_pem_slice(setup.own.key.as_bytes()).unwrap();
    let damaged = setup.own.cert.replacen("MII", "AAA", 1);
    let cut = &setup.own.cert[..200];
    let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old_sealed =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END RSA PRIVATE KEY-----\n";
    let crl = setup.clients.revoke(&[]);
    let cases: [(TlsFile, &[u8], &str); 20] = [
        (TlsFile::Cert, b"", "is empty"),
        (TlsFile::Cert, b"hello", "is not PEM"),
        (TlsFile::Cert, &der, "is DER, not PEM; `openssl x509 "),
        (TlsFile::Cert, setup.own.key.as_bytes(), "has no certificate in it, but a private key"),
        (TlsFile::Cert, damaged.as_bytes(), "certificate 1 in it can't be read"),
        (TlsFile::Cert, cut.as_bytes(), "is damaged"),
        (TlsFile::Cert, include_bytes!("tests/version1.pem"), "X.509 version 1, which TLS clients refuse"),
        (TlsFile::Cert, expired.cert.as_bytes(), "expired on 2020-05-06"),
        (TlsFile::Cert, early.cert.as_bytes(), "not valid before 2090-05-06"),
        (TlsFile::Key, b"\n", "is empty"),
        (TlsFile::Key, key_der.secret_der(), "is DER, not PEM; `openssl pkey "),
        (TlsFile::Key, setup.own.cert.as_bytes(), "has no private key in it, but a certificate"),
        (TlsFile::Key, sealed.as_bytes(), "is encrypted"),
        (TlsFile::Key, old_sealed.as_bytes(), "is encrypted"),
        (TlsFile::Key, other.key.as_bytes(), "is not the key of the certificate"),
        (TlsFile::ClientCa, b"", "is empty"),
        (TlsFile::ClientCa, crl.as_bytes(), "has no certificate in it, but a revocation list"),
        (TlsFile::Crl, b"", "is empty"),
        (TlsFile::Crl, setup.own.cert.as_bytes(), "has no revocation list in it, but a certificate"),
        (TlsFile::Crl, b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n", "can't be used"),
    ];
    for (file, content, expected) in cases {
        let mut files = setup.files(true);
        let clients = files.clients.as_mut().unwrap();
        match file {
            TlsFile::Cert => files.cert = content,
            TlsFile::Key => files.key = content,
            TlsFile::ClientCa => clients.ca = content,
            TlsFile::Crl => clients.crl = Some(content),
        }
        let faults = TlsSettings::new(&files, false).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].file, file);
        assert!(faults[0].message.contains(expected), "{}, not {expected}", faults[0].message);
    }
    let bad = TlsFiles { cert: b"", key: b"", clients: None };
    assert_eq!(TlsSettings::new(&bad, false).unwrap_err().len(), 2, "all faults at once");
    let mut files = setup.files(true);
    files.clients.as_mut().unwrap().crl = Some(crl.as_bytes());
    TlsSettings::new(&files, true).unwrap();
}

#[test]
fn a_proxy_header_comes_before_tls() {
    let setup = Setup::new();
    let config = Arc::new(setup.client(&TLS13, None));
    let source: SocketAddr = "192.0.2.7:50000".parse().unwrap();
    for gives in [1, 3, usize::MAX] {
        let mut ends = Ends::new(&setup.acceptor(false), &config);
        ends.link = Link::new(Duct { gives, ..Duct::default() }, true, Some(setup.acceptor(false))).unwrap();
        ends.link.socket.incoming.extend(b"PROXY TCP4 192.0.2.7 127.0.0.1 50000 8883\r\n");
        ends.client.writer().write_all(b"hello").unwrap();
        ends.run().unwrap();
        assert_eq!((ends.link.source(), ends.heard.as_slice()), (Some(source), &b"hello"[..]));
    }
    let mut plain = Link::new(Duct::default(), true, None).unwrap();
    plain.socket.incoming.extend(b"PROXY TCP4 192.0.2.7 127.0.0.1 50000 1883\r\nhello");
    let mut buffer = [0; 64];
    assert_eq!(plain.write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
    let settling = plain.fill(&mut buffer).unwrap();
    assert_eq!((settling.bytes, settling.more, plain.is_settled()), (0, true, true));
    assert_eq!(plain.source(), Some(source));
    assert_eq!(plain.fill(&mut buffer).unwrap().bytes, 5);
    assert_eq!(&buffer[..5], b"hello");
    assert_eq!(plain.write(b"x").unwrap(), 1);

    let mut bare = Link::new(Duct::default(), true, None).unwrap();
    bare.socket.incoming.extend(b"\x10\x0c\0\x04MQTT");
    assert_eq!(bare.fill(&mut buffer).unwrap_err().kind(), ErrorKind::InvalidData);
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// However the bytes are cut, the same is heard on both sides.
    #[test]
    fn any_split_gives_the_same(
        gives in 1_usize..40_000,
        rooms in proptest::collection::vec(0_usize..30_000, 0..20),
        there in 0_usize..120_000,
        back in proptest::collection::vec(0_usize..40_000, 0..6),
        old in any::<bool>(),
    ) {
        let setup = Setup::new();
        let version = if old { &TLS12 } else { &TLS13 };
        let mut ends = Ends::new(&setup.acceptor(false), &Arc::new(setup.client(version, None)));
        ends.link.socket.gives = gives;
        let upward: Vec<u8> = (0..there).map(|at| at.to_le_bytes()[0]).collect();
        ends.client.set_buffer_limit(None);
        ends.client.writer().write_all(&upward).unwrap();
        ends.run().unwrap();
        prop_assert_eq!(&ends.heard, &upward);

        let pieces: Vec<Vec<u8>> = back.iter().map(|len| vec![len.to_le_bytes()[0]; *len]).collect();
        let downward = pieces.concat();
        let mut rooms = rooms.into_iter();
        let mut taken = 0;
        while taken < downward.len() {
            ends.link.socket.room = rooms.next().unwrap_or(usize::MAX);
            let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut left = slices.as_mut_slice();
            IoSlice::advance_slices(&mut left, taken);
            match ends.link.write_vectored(left) {
                Ok(more) => {
                    prop_assert!(more > 0 && taken + more <= downward.len());
                    // Less than all means that the socket is full, or no event would ever come.
                    prop_assert!(taken + more == downward.len() || ends.link.wants_write());
                    taken += more;
                }
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        ends.link.socket.room = usize::MAX;
        ends.run().unwrap();
        prop_assert_eq!(&ends.answered, &downward);
    }

    /// A stranger's bytes in place of a handshake harm nobody.
    #[test]
    fn any_bytes_are_refused_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..600), gives in 1_usize..600) {
        let setup = Setup::new();
        let mut ends = Ends::new(&setup.acceptor(false), &Arc::new(setup.client(&TLS13, None)));
        ends.link.socket.gives = gives;
        ends.link.socket.incoming.extend([&[0x16, 3, 1][..], &bytes].concat());
        let _ = ends.read();
        prop_assert!(ends.heard.is_empty() && !ends.link.is_settled());
        ends.link.end_output();
    }
}
