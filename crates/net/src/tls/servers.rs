//! How a client judges the certificate of a server.

use super::certificate::{Certificate, OutOfDate};
use super::files::{certificates, now};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Whose certificates a client believes.
///
/// A certificate that may issue others (`CA:TRUE`) vouches for the servers it issued one to. Any other stands for
/// itself alone: a server that shows that very certificate is believed, one that was issued by its key is not. Those
/// that have expired, or are not valid yet, count for nothing.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: RootCertStore,
    /// Every certificate that was given, for servers that show it as their own.
    given: Vec<CertificateDer<'static>>,
    /// Why the first of them that may not issue others may not.
    unfit: Option<String>,
}

impl Authorities {
    /// Reads PEM.
    ///
    /// # Errors
    /// What is wrong with the text, to follow on its name: it has no certificate, or one that can't be read, or none
    /// that counts today.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let (mut this, mut useless) = (Self::none(), None);
        for (index, (der, read)) in certificates(pem)?.into_iter().enumerate() {
            match read.out_of_date(now()) {
                Some(why) => {
                    let fault = || format!("has a certificate, number {}, that {why}", index + 1);
                    this.unfit.get_or_insert_with(fault);
                    useless = Some(why);
                }
                None => this.add(der, &read, index + 1)?,
            }
        }
        match useless {
            Some(why) if this.given.is_empty() => Err(format!("has nothing but a certificate that {why}")),
            _ => Ok(this),
        }
    }

    /// Takes what can be used of these, as a system has them; in the others nobody is believed.
    #[must_use]
    pub fn from_system(certificates: Vec<CertificateDer<'static>>) -> Self {
        let mut this = Self::none();
        for (index, der) in certificates.into_iter().enumerate() {
            if let Some(read) = Certificate::parse(&der).filter(|read| read.out_of_date(now()).is_none()) {
                let _ = this.add(der, &read, index + 1); // one of hundreds
            }
        }
        this
    }

    fn none() -> Self {
        Self { roots: RootCertStore::empty(), given: Vec::new(), unfit: None }
    }

    fn add(&mut self, der: CertificateDer<'static>, read: &Certificate, number: usize) -> Result<(), String> {
        if read.is_authority() {
            self.roots.add(der.clone()).map_err(|error| {
                format!("has a certificate, number {number}, that can't be used: {error}")
            })?;
        } else {
            let fault = || {
                format!(
                    "has a certificate, number {number}, that may not issue others (`CA:FALSE`); name the one that issued it"
                )
            };
            self.unfit.get_or_insert_with(fault);
        }
        self.given.push(der);
        Ok(())
    }

    /// Nobody is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// For a library that takes every certificate for an authority: whether all of them are, today.
    ///
    /// # Errors
    /// That one is not, to follow on the file's name.
    pub fn all_issue(&self) -> Result<(), String> {
        self.unfit.clone().map_or(Ok(()), Err)
    }
}

/// How a client judges a server. In any case it must have the key of the certificate it shows.
#[derive(Debug)]
pub struct ServerJudge {
    /// `None`: anybody.
    believed: Option<Believed>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Believed {
    /// `None`: no certificate may issue others.
    issued: Option<Arc<WebPkiServerVerifier>>,
    given: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl ServerJudge {
    /// Any certificate will do.
    #[must_use]
    pub const fn any_server(provider: Arc<CryptoProvider>) -> Self {
        Self { believed: None, provider }
    }

    /// A server must show a certificate that these vouch for, made for the name by which it is reached; with
    /// `any_name` for any.
    ///
    /// # Errors
    /// Those of rustls.
    pub fn new(
        authorities: Authorities,
        any_name: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let Authorities { roots, given, .. } = authorities;
        let verifier =
            |roots| WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let issued = (!roots.is_empty()).then(|| verifier(Arc::new(roots))).transpose();
        let issued = issued.map_err(|error| error.to_string())?;
        Ok(Self { believed: Some(Believed { issued, given, any_name }), provider })
    }
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(believed) = &self.believed else { return Ok(ServerCertVerified::assertion()) };
        let judged = match &believed.issued {
            _ if believed.given.contains(certificate) => judge_given(certificate, name, now),
            Some(verifier) => {
                verifier.verify_server_cert(certificate, intermediates, name, ocsp, now).map(drop)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match judged {
            // The name is looked at last: the certificate is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if believed.any_name => Ok(ServerCertVerified::assertion()),
            judged => judged.map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Judges a certificate that needs nobody to vouch for it.
fn judge_given(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
    let read = Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match read.out_of_date(seconds) {
        Some(OutOfDate::Expired(_)) => return Err(CertificateError::Expired.into()),
        Some(OutOfDate::NotYet(_)) => return Err(CertificateError::NotValidYet.into()),
        None => {}
    }
    if !read.is_for_servers() {
        return Err(CertificateError::InvalidPurpose.into());
    }
    // Certificates that people sign themselves often have their name where it stood before there were alternative names.
    let common = read.common_names();
    if read.alternative_names.is_empty()
        && matches!(common[..], [Some(common)] if common.eq_ignore_ascii_case(&name.to_str()))
    {
        return Ok(());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
}
