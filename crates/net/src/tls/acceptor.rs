//! What a listener needs for TLS: certificate, key, and whose certificates clients may show.

use super::certificate::{Certificate, date};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The contents of the files of a listener with TLS, all of them PEM.
#[derive(Clone, Copy)]
pub struct TlsFiles<'a> {
    /// The broker's certificate, then those that lead to its issuer.
    pub cert: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// Whether and how clients show certificates. `None`: they are not asked.
    pub clients: Option<ClientFiles<'a>>,
}

/// How clients show certificates.
#[derive(Clone, Copy)]
pub struct ClientFiles<'a> {
    /// Who issues them.
    pub ca: &'a [u8],
    /// Revocation lists. `None`: no certificate is ever revoked.
    pub crl: Option<&'a [u8]>,
    /// Nobody may in without.
    pub required: bool,
    /// Where the user name stands.
    pub identity: Identity,
}

/// Where in a client's certificate its user name stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The subject's common name; a certificate with two is refused.
    #[default]
    CommonName,
    /// The first of the alternative names that is a DNS name, a mail address or a URI.
    AlternativeName,
}

impl Identity {
    /// The user name in a certificate that was verified.
    pub(super) fn user(self, der: &[u8]) -> Result<Box<str>, &'static str> {
        let certificate = Certificate::parse(der).ok_or("cannot be read")?;
        let name = match self {
            Self::CommonName => match <[_; 1]>::try_from(certificate.common_names) {
                Ok([name]) => name.ok_or("has a common name that is not plain text")?,
                Err(names) if names.is_empty() => return Err("has no common name to be the user name"),
                Err(_) => return Err("has more than one common name"),
            },
            Self::AlternativeName => certificate
                .alternative_names
                .into_iter()
                .next()
                .ok_or("has no alternative name to be the user name")?,
        };
        if name.is_empty() || name.len() > USER_BYTES_MAX || name.chars().any(char::is_control) {
            return Err("has a name that cannot be a user name");
        }
        Ok(name.into())
    }
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// [`TlsFiles::cert`].
    Cert,
    /// [`TlsFiles::key`].
    Key,
    /// [`ClientFiles::ca`].
    ClientCa,
    /// [`ClientFiles::crl`].
    Crl,
}

/// What is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// Which.
    pub file: TlsFile,
    /// What, to follow on the file's name; and what to do.
    pub message: String,
}

/// The TLS side of a listener. Connections that are accepted use what was given last; those that are there already
/// stay as they are.
pub struct TlsAcceptor {
    web: bool,
    current: RwLock<Current>,
}

/// What a new connection starts with.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) config: Arc<ServerConfig>,
    pub(super) identity: Option<Identity>,
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("web", &self.web).finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    /// Judges the files. `web`: it is for WebSocket, so clients that name a protocol by ALPN name HTTP.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(files: &TlsFiles<'_>, web: bool) -> Result<Self, Vec<TlsFault>> {
        Ok(Self { web, current: RwLock::new(build(files, web)?) })
    }

    /// Judges other files and, if they are good, uses them from the next connection on. Sessions begun before can not
    /// be resumed: whoever was let in by the old files is looked at again.
    ///
    /// # Errors
    /// Everything that is wrong; then the old ones stay.
    pub fn replace(&self, files: &TlsFiles<'_>) -> Result<(), Vec<TlsFault>> {
        let new = build(files, self.web)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(super) fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn build(files: &TlsFiles<'_>, web: bool) -> Result<Current, Vec<TlsFault>> {
    let mut faults = Vec::new();
    let note = |file| move |message| TlsFault { file, message };
    let chain = own_chain(files.cert).map_err(note(TlsFile::Cert));
    let key = private_key(files.key).map_err(note(TlsFile::Key));
    let mut keep = |fault| faults.push(fault);
    let (chain, key) = (chain.map_err(&mut keep).ok(), key.map_err(&mut keep).ok());
    let (mut roots, mut lists) = (None, Vec::new());
    if let Some(clients) = &files.clients {
        roots =
            issuers(clients.ca).map_err(|message| keep(TlsFault { file: TlsFile::ClientCa, message })).ok();
        if let Some(crl) = clients.crl {
            lists = revocation_lists(crl)
                .map_err(|message| keep(TlsFault { file: TlsFile::Crl, message }))
                .unwrap_or_default();
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certified = match (chain, key) {
        (Some(chain), Some(key)) => CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                keep(TlsFault { file: TlsFile::Key, message: "is not the key of the certificate in `cert`".to_owned() });
            }
            other => {
                let message = format!("holds a key that can't be used ({other}); RSA from 2048 bits, ECDSA P-256, P-384 and Ed25519 can");
                keep(TlsFault { file: TlsFile::Key, message });
            }
        }),
        _ => Err(()),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| vec![TlsFault { file: TlsFile::Cert, message: error.to_string() }])?;
    let builder = match (&files.clients, roots) {
        (Some(clients), Some(roots)) => {
            let mut verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .with_crls(lists);
            if !clients.required {
                verifier = verifier.allow_unauthenticated();
            }
            match verifier.build() {
                Ok(verifier) => builder.with_client_cert_verifier(verifier),
                Err(error) => {
                    let (file, message) = match error {
                        VerifierBuilderError::InvalidCrl(error) => {
                            (TlsFile::Crl, format!("has a revocation list that can't be used ({error:?})"))
                        }
                        other => (TlsFile::ClientCa, other.to_string()),
                    };
                    keep(TlsFault { file, message });
                    return Err(faults);
                }
            }
        }
        _ => builder.with_no_client_auth(),
    };
    let Some(certified) = certified.ok().filter(|_| faults.is_empty()) else { return Err(faults) };
    let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![if web { b"http/1.1".to_vec() } else { b"mqtt".to_vec() }];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| {
        vec![TlsFault { file: TlsFile::Key, message: format!("can't be used: no randomness ({error})") }]
    })?;
    Ok(Current { config: Arc::new(config), identity: files.clients.map(|clients| clients.identity) })
}

/// The certificates of a file, at least one, each of which can be read.
fn certificates(file: &[u8]) -> Result<Vec<(CertificateDer<'static>, Certificate)>, String> {
    is_pem(file, "x509")?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(file) {
        let der = certificate.map_err(|error| damaged(&error))?;
        let read = Certificate::parse(&der)
            .ok_or_else(|| format!("is damaged: certificate {} in it can't be read", found.len() + 1))?;
        found.push((der, read));
    }
    if found.is_empty() {
        return Err(format!("has no certificate in it{}", what_else(file)));
    }
    Ok(found)
}

fn own_chain(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = certificates(file)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let own = &certificates[0].1;
    if own.not_after < now {
        return Err(format!("holds a certificate that expired on {}; renew it", date(own.not_after)));
    }
    if own.not_before > now {
        return Err(format!(
            "holds a certificate that is not valid before {}; is the clock right?",
            date(own.not_before)
        ));
    }
    Ok(certificates.into_iter().map(|(der, _)| der).collect())
}

fn private_key(file: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    is_pem(file, "pkey")?;
    let has = |text: &str| memchr::memmem::find(file, text.as_bytes()).is_some();
    if has("-----BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "is encrypted, and nobody is there to type its passphrase; `openssl pkey -in FILE -out NEW` decrypts it"
                .to_owned(),
        );
    }
    match PrivateKeyDer::from_pem_slice(file) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(format!("has no private key in it{}", what_else(file))),
        Err(error) => Err(damaged(&error)),
    }
}

fn issuers(file: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (index, (der, _)) in certificates(file)?.into_iter().enumerate() {
        roots.add(der).map_err(|error| {
            format!("has a certificate, number {}, that can't be used ({error})", index + 1)
        })?;
    }
    Ok(roots)
}

fn revocation_lists(file: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    is_pem(file, "crl")?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(file).collect();
    let lists = lists.map_err(|error| damaged(&error))?;
    if lists.is_empty() {
        return Err(format!("has no revocation list in it{}", what_else(file)));
    }
    Ok(lists)
}

/// `tool`: the command of openssl that makes PEM of the other form.
fn is_pem(file: &[u8], tool: &str) -> Result<(), String> {
    if file.iter().all(u8::is_ascii_whitespace) {
        return Err("is empty".to_owned());
    }
    if memchr::memmem::find(file, b"-----BEGIN ").is_some() {
        return Ok(());
    }
    if file.starts_with(&[0x30]) {
        return Err(format!(
            "is DER, not PEM; `openssl {tool} -inform der -in FILE -out NEW` makes PEM of it"
        ));
    }
    Err("is not PEM: there is no line `-----BEGIN ...`".to_owned())
}

fn damaged(error: &pem::Error) -> String {
    format!("is damaged ({error})")
}

/// Names what is in a file where something else was looked for.
fn what_else(file: &[u8]) -> &'static str {
    let has = |text: &str| memchr::memmem::find(file, text.as_bytes()).is_some();
    match () {
        () if has("PRIVATE KEY-----") => ", but a private key; are the files swapped?",
        () if has("CERTIFICATE-----") => ", but a certificate; are the files swapped?",
        () if has("X509 CRL-----") => ", but a revocation list",
        () => "",
    }
}

/// Sessions of TLS 1.2 kept for clients that know no tickets.
const SESSIONS_MAX: usize = 1024;

/// A common name has up to 64 characters by X.520; mail addresses and URIs more.
const USER_BYTES_MAX: usize = 1024;
