//! How a listener judges the certificates of clients.

use super::certificate::Certificate;
use super::crl;
use super::files::Read;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// Who issues the certificates of clients, and what was revoked.
#[derive(Debug)]
pub(super) struct Issuers {
    certificates: Vec<Read>,
    /// Authorities that others of them have revoked. They lead to those others as intermediate certificates do, so that a
    /// client with a certificate of theirs hears why it is refused.
    revoked: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    required: bool,
}

/// Judges clients as rustls does, and besides that the authorities, too, count at the time: rustls does not ask.
#[derive(Debug)]
pub(super) struct ClientJudge {
    all: Arc<dyn ClientCertVerifier>,
    issuers: Issuers,
    provider: Arc<CryptoProvider>,
}

impl Issuers {
    pub(super) fn new(
        certificates: Vec<Read>,
        lists: Vec<CertificateRevocationListDer<'static>>,
        required: bool,
    ) -> Self {
        let fallen = crl::revoked(&lists, &certificates);
        let (revoked, certificates): (Vec<_>, Vec<_>) =
            certificates.into_iter().zip(fallen).partition(|(_, fallen)| *fallen);
        let certificates = certificates.into_iter().map(|(read, _)| read).collect();
        let revoked = revoked.into_iter().map(|((der, _), _)| der).collect();
        Self { certificates, revoked, lists, required }
    }

    /// By those that `counts` says.
    fn verifier(
        &self,
        counts: impl Fn(&Certificate) -> bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        let chosen = self.certificates.iter().filter(|(_, read)| counts(read));
        roots.add_parsable_certificates(chosen.map(|(der, _)| der.clone()));
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = builder.with_crls(self.lists.iter().cloned());
        let builder = if self.required { builder } else { builder.allow_unauthenticated() };
        builder.build()
    }
}

impl ClientJudge {
    pub(super) fn new(
        issuers: Issuers,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let all = issuers.verifier(|_| true, provider)?;
        Ok(Self { all, issuers, provider: Arc::clone(provider) })
    }
}

impl ClientCertVerifier for ClientJudge {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let shown = intermediates.iter().chain(&self.issuers.revoked);
        let intermediates: Vec<_> = shown.map(|der| CertificateDer::from(&**der)).collect();
        let intermediates = &intermediates[..];
        let verified = self.all.verify_client_cert(certificate, intermediates, now)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let counts = |read: &Certificate| read.out_of_date(seconds).is_none();
        if self.issuers.certificates.iter().all(|(_, read)| counts(read)) {
            return Ok(verified);
        }
        // One has expired since its file was read, and that is rare enough to begin anew for each client.
        let expired = || Error::from(CertificateError::Other(rustls::OtherError(Arc::new(IssuerExpired))));
        let verifier = self.issuers.verifier(counts, &self.provider).map_err(|_| expired())?;
        verifier.verify_client_cert(certificate, intermediates, now).map_err(|_| expired())
    }

    fn offer_client_auth(&self) -> bool {
        self.all.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.all.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.all.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.all.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.all.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.all.supported_verify_schemes()
    }
}

/// The authority that issued a certificate has expired since its file was read.
#[derive(Debug)]
struct IssuerExpired;

impl std::fmt::Display for IssuerExpired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("its authority in `client_ca` has expired")
    }
}

impl std::error::Error for IssuerExpired {}
