//! Whom to trust, and who we are.

use std::{fmt, path::Path, sync::Arc};

use rustls::{ClientConfig, SupportedProtocolVersion, crypto::aws_lc_rs, pki_types::ServerName};

use cork_net::{Authorities, ServerJudge, TlsFailure, client_identity};

use crate::ConnectError;

/// TLS as a client: `mqtts://` and `wss://` use it. Unless said otherwise the system's certificate authorities are
/// trusted and no client certificate is shown.
///
/// ```no_run
/// use cork_client::{Options, Tls};
///
/// let tls = Tls::new().ca_file("ca.pem")?.client_certificate_files("lamp.pem", "lamp.key")?;
/// let options = Options::new("mqtts://broker.example")?.tls(tls);
/// # let _ = options;
/// # Ok::<(), cork_client::ConnectError>(())
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    /// PEM; empty: the system's.
    authorities: Vec<u8>,
    /// Certificates and key, PEM.
    identity: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<String>,
    alpn: Vec<Vec<u8>>,
    trust: Trust,
    only: Option<TlsVersion>,
}

/// How the server's certificate is judged.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    AuthorityAndName,
    Authority,
    Anybody,
}

/// A version of TLS.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

const ONLY_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl Tls {
    /// The system's authorities, no client certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities of this PEM file, and no longer the system's. May be called again. A certificate in it
    /// that is no authority (`CA:FALSE`) stands for the server that shows it itself.
    ///
    /// # Errors
    /// That the file cannot be read.
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        let pem = read(path.as_ref())?;
        Ok(self.ca_pem(&pem))
    }

    /// Trusts the authorities of this PEM text, and no longer the system's. May be called again.
    #[must_use]
    pub fn ca_pem(mut self, pem: &[u8]) -> Self {
        self.authorities.extend_from_slice(pem);
        self.authorities.push(b'\n');
        self
    }

    /// Shows this certificate (with what leads to its authority) and proves it with this key; PEM files.
    ///
    /// # Errors
    /// That a file cannot be read.
    pub fn client_certificate_files(
        self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, ConnectError> {
        let (certificate, key) = (read(certificate.as_ref())?, read(key.as_ref())?);
        Ok(self.client_certificate_pem(certificate, key))
    }

    /// As [`Tls::client_certificate_files`], from PEM text.
    #[must_use]
    pub fn client_certificate_pem(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// The name the server's certificate must be for, when it is not the host of the URL.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Offers this protocol (ALPN); some clouds want `mqtt` or their own. May be called again.
    #[must_use]
    pub fn alpn(mut self, protocol: impl Into<Vec<u8>>) -> Self {
        self.alpn.push(protocol.into());
        self
    }

    /// Speaks this version and no other.
    #[must_use]
    pub const fn only_version(mut self, version: TlsVersion) -> Self {
        self.only = Some(version);
        self
    }

    /// Takes any certificate that an authority vouches for, whatever server it is for. For a server that is reached by
    /// an address its certificate does not name; whoever else has a certificate of the same authority can pass for it.
    #[must_use]
    pub const fn dangerously_trust_any_name(mut self) -> Self {
        self.trust = Trust::Authority;
        self
    }

    /// Talks to whoever answers: the server's certificate is not checked at all. For tests.
    #[must_use]
    pub const fn dangerously_trust_any_server(mut self) -> Self {
        self.trust = Trust::Anybody;
        self
    }

    pub(crate) fn name(&self, host: &str) -> Result<ServerName<'static>, ConnectError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| ConnectError::Options(format!("`{name}` is no name that a certificate can be for")))
    }

    /// All of this but the server's name, for other protocols than MQTT.
    ///
    /// # Errors
    /// A certificate or key that can't be used.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        let bad = |what: String| ConnectError::Options(format!("TLS: {what}"));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(match self.only {
                None => rustls::DEFAULT_VERSIONS,
                Some(TlsVersion::V1_2) => ONLY_1_2,
                Some(TlsVersion::V1_3) => ONLY_1_3,
            })
            .map_err(|error| bad(error.to_string()))?;
        let judge = match self.trust {
            Trust::Anybody => ServerJudge::any_server(provider),
            Trust::AuthorityAndName | Trust::Authority => {
                ServerJudge::new(self.authorities()?, self.trust == Trust::Authority, provider)
                    .map_err(bad)?
            }
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(judge));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, key) = client_identity(certificate, key).map_err(bad)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| bad(format!("client certificate: {}", TlsFailure::of_own(&error))))?
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(Arc::new(config))
    }

    /// Whether each certificate that was given as authority may issue others today: for a library that makes its own
    /// of the file, and would take any of them for an authority.
    ///
    /// # Errors
    /// That one may not.
    pub fn all_issue(&self) -> Result<(), ConnectError> {
        self.authorities()?.all_issue().map_err(|what| unfit(&what))
    }

    fn authorities(&self) -> Result<Authorities, ConnectError> {
        if !self.authorities.is_empty() {
            return Authorities::from_pem(&self.authorities).map_err(|what| {
                ConnectError::Options(format!("what was given as certificate authority {what}"))
            });
        }
        let system = rustls_native_certs::load_native_certs();
        let authorities = Authorities::from_system(system.certs);
        if authorities.is_empty() {
            let why = system.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
            return Err(ConnectError::Options(format!(
                "the system has no certificate authorities{why}; name them, as with Tls::ca_file"
            )));
        }
        Ok(authorities)
    }
}

/// `what`: to follow on the name of the file.
fn unfit(what: &str) -> ConnectError {
    ConnectError::Options(format!("what was given as certificate authority {what}"))
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path)
        .map_err(|error| ConnectError::Options(format!("cannot read {}: {error}", path.display())))
}

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own_authorities", &!self.authorities.is_empty())
            .field("client_certificate", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
