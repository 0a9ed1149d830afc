//! What a listener needs for TLS: certificate, key, and whose certificates clients may show.

use super::certificate::Certificate;
use super::clients::{ClientJudge, Issuers};
use super::crl;
use super::error::TlsError;
use super::files::{issuers, own_chain, private_key, revocation_lists};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, VerifierBuilderError};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

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
            Self::CommonName => match certificate.common_names()[..] {
                [name] => name.ok_or("has a common name that is not plain text")?,
                [] => return Err("has no common name to be the user name"),
                _ => return Err("has more than one common name"),
            },
            Self::AlternativeName => certificate
                .alternative_names
                .first()
                .map(String::as_str)
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

/// The TLS side of a listener: what connections begin with, and what tells whether those that are there may stay.
pub struct TlsAcceptor {
    current: RwLock<Current>,
}

/// Files that were judged and found good, to be used by a [`TlsAcceptor`].
pub struct TlsSettings {
    config: Arc<ServerConfig>,
    /// Who judges the certificates of clients; `None`: they are not asked.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    identity: Option<Identity>,
}

/// What a new connection starts with.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) config: Arc<ServerConfig>,
    pub(super) identity: Option<Identity>,
    /// Goes up with each change.
    pub(super) generation: u64,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Current {
    fn new(settings: TlsSettings, generation: u64) -> Self {
        let TlsSettings { config, verifier, identity } = settings;
        Self { config, identity, generation, verifier }
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl TlsSettings {
    /// Judges the files. `web`: it is for WebSocket, so clients that name a protocol by ALPN name HTTP.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(files: &TlsFiles<'_>, web: bool) -> Result<Self, Vec<TlsFault>> {
        build(files, web)
    }

    /// The same for a server that drives rustls itself.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

impl TlsAcceptor {
    /// Begins with these settings.
    #[must_use]
    pub fn new(settings: TlsSettings) -> Self {
        Self { current: RwLock::new(Current::new(settings, 0)) }
    }

    /// Uses other settings from the next connection on. TLS sessions begun before can not be resumed. Whether the
    /// connections that are there would still be let in, [`Stream::check_certificate`](crate::Stream) tells.
    pub fn replace(&self, settings: TlsSettings) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current::new(settings, current.generation + 1);
    }

    pub(super) fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the settings were replaced.
    pub(super) fn generation(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Whether a client that showed this chain at this time would be let in today, as the same user. Time goes on, so
    /// that a certificate has expired since is no reason; everything else is.
    pub(super) fn check(
        &self,
        chain: &[CertificateDer<'_>],
        user: Option<&str>,
        at: UnixTime,
    ) -> Result<(), TlsError> {
        let current = self.current();
        let Some(verifier) = current.verifier else { return Ok(()) };
        let Some((own, rest)) = chain.split_first() else {
            let needed = verifier.client_auth_mandatory();
            return if needed {
                Err(TlsError::of(&rustls::Error::NoCertificatesPresented, true))
            } else {
                Ok(())
            };
        };
        verifier.verify_client_cert(own, rest, at).map_err(|error| TlsError::of(&error, true))?;
        let name = current.identity.map(|identity| identity.user(own)).transpose();
        match name {
            Ok(name) if name.as_deref() == user => Ok(()),
            Ok(_) => Err(TlsError::new(true, "the client's certificate stands for another user now")),
            Err(why) => Err(TlsError::new(true, format!("the client's certificate {why}"))),
        }
    }
}

fn build(files: &TlsFiles<'_>, web: bool) -> Result<TlsSettings, Vec<TlsFault>> {
    let mut faults = Vec::new();
    let note = |file| move |message| TlsFault { file, message };
    let chain = own_chain(files.cert).map_err(note(TlsFile::Cert));
    let key = private_key(files.key).map_err(note(TlsFile::Key));
    let mut keep = |fault| faults.push(fault);
    let (chain, key) = (chain.map_err(&mut keep).ok(), key.map_err(&mut keep).ok());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut judge = None;
    if let Some(clients) = &files.clients {
        let issuers =
            issuers(clients.ca).map_err(|message| keep(TlsFault { file: TlsFile::ClientCa, message })).ok();
        let mut lists = Vec::new();
        if let Some(crl) = clients.crl {
            let known = issuers.as_deref().unwrap_or_default();
            lists = revocation_lists(crl)
                .and_then(|lists| crl::newest(&lists, known, &provider))
                .map_err(|message| keep(TlsFault { file: TlsFile::Crl, message }))
                .unwrap_or_default();
        }
        let required = clients.required;
        judge = issuers.map(|certificates| Issuers::new(certificates, lists, required));
    }
    let certified = match (chain, key) {
        (Some(chain), Some(key)) => CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
            .map_err(|error| keep(unusable(&error, &chain, &key, &provider))),
        _ => Err(()),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| vec![TlsFault { file: TlsFile::Cert, message: error.to_string() }])?;
    let verifier = judge.and_then(|issuers| judge_of_clients(issuers, &provider).map_err(&mut keep).ok());
    let builder = match &verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let Some(certified) = certified.ok().filter(|_| faults.is_empty()) else { return Err(faults) };
    let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![if web { b"http/1.1".to_vec() } else { b"mqtt".to_vec() }];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| {
        vec![TlsFault { file: TlsFile::Key, message: format!("can't be used: no randomness ({error})") }]
    })?;
    let identity = files.clients.map(|clients| clients.identity);
    Ok(TlsSettings { config: Arc::new(config), verifier, identity })
}

fn judge_of_clients(
    issuers: Issuers,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsFault> {
    let judge = ClientJudge::new(issuers, provider);
    judge.map(|judge| Arc::new(judge) as Arc<dyn ClientCertVerifier>).map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => {
            let message = format!("has a revocation list that can't be used ({error:?})");
            TlsFault { file: TlsFile::Crl, message }
        }
        _ => TlsFault { file: TlsFile::ClientCa, message: "has no certificate that can be used".to_owned() },
    })
}

/// Certificate and key were both read, but together they are of no use: which one is to blame?
fn unusable(
    error: &rustls::Error,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> TlsFault {
    let fits = |own: &CertificateDer<'static>| {
        CertifiedKey::from_der(vec![own.clone()], key.clone_key(), provider).is_ok()
    };
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)
            if let Some(at) = chain.iter().position(fits) =>
        {
            let message = format!(
                "has the broker's own certificate, that of the key in `key`, as number {}; it must come first, then \
                 those that lead to its issuer",
                at + 1
            );
            TlsFault { file: TlsFile::Cert, message }
        }
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsFault { file: TlsFile::Key, message: "is not the key of the certificate in `cert`".to_owned() }
        }
        rustls::Error::InvalidCertificate(_) => TlsFault {
            file: TlsFile::Cert,
            message: "holds a certificate that breaks the rules of X.509, so that no client would take it; \
                      make a new one"
                .to_owned(),
        },
        _ => TlsFault {
            file: TlsFile::Key,
            message: "holds a key that can't be used; RSA from 2048 bits, ECDSA P-256, P-384 and Ed25519 can"
                .to_owned(),
        },
    }
}

/// Sessions of TLS 1.2 kept for clients that know no tickets.
const SESSIONS_MAX: usize = 1024;

/// A common name has up to 64 characters by X.520; mail addresses and URIs more.
const USER_BYTES_MAX: usize = 1024;
